"""The change list of big tables: newest first, by an index in every state of its filters.

Without a filter the primary key orders, and it rises with time. Within an account (or another scope that an index
begins with) and between days the moment orders. Rows beyond the count are reached by `before`: the key of the last row
seen, from which the next block starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db import connections
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.utils import timezone

from django_token_pricing.admin.base.filters import DaysFilter, ScopeFilter
from django_token_pricing.admin.base.paginator import MOST_COUNTED, CappedPaginator

BEFORE = "before"
# How far back the newest rows of a period are looked for, step by step.
WINDOWS = (*(timedelta(hours=n) for n in (1, 3, 8, 24)), *(timedelta(days=n) for n in (7, 31, 366)))


class BigChangeList(ChangeList):
    """Sorting by columns is off: no column that people would sort by has an index."""

    # The moment that days are chosen by, or "" for tables in which the key alone orders.
    moment: ClassVar[str] = ""
    # Only its block ranges are indexed, so rows cannot be read in its order (see `_narrowed`).
    is_moment_in_ranges: ClassVar[bool] = False

    older_url: str | None = None
    # Rows beyond the count can be reached.
    goes_on = True

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(BEFORE, None)
        return found

    def get_query_string(self, new_params: dict[str, Any] | None = None, remove: Iterable[str] | None = None) -> str:
        """Links to other filters start at the newest row again; links to pages stay in their block."""
        new_params = new_params or {}
        if BEFORE not in new_params and PAGE_VAR not in new_params:
            new_params = {**new_params, BEFORE: None}
        return super().get_query_string(new_params, remove)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        if self.moment and (self.scope or self.days):
            return [f"-{self.moment}", "-pk"]
        return ["-pk"]

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        queryset = super().get_queryset(request, *args, **kwargs)
        before = self._row_before(request)
        if before is not None:
            queryset = queryset.filter(self.older_than(before, queryset))
        days = self.days
        if self.is_moment_in_ranges and days and not self.scope and not self.query:
            queryset = self._narrowed(queryset, days, before)
        return queryset

    @property
    def days(self) -> DaysFilter | None:
        return next((spec for spec in self.filter_specs if isinstance(spec, DaysFilter) and spec.is_set), None)

    @property
    def scope(self) -> ScopeFilter | None:
        return next((spec for spec in self.filter_specs if isinstance(spec, ScopeFilter)), None)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = self.model_admin.loaded(request, self.result_list)  # type: ignore[attr-defined]
        paginator = self.paginator
        self.is_at_end = self.is_capped and self.page_num == paginator.num_pages
        if self.is_at_end and self.goes_on:
            self.older_url = self.get_query_string({BEFORE: self.result_list[-1].pk, PAGE_VAR: None})

    @property
    def is_capped(self) -> bool:
        return isinstance(self.paginator, CappedPaginator) and self.paginator.is_capped

    def _row_before(self, request: HttpRequest) -> Model | None:
        """The row that the list goes on from, found by its key; nonsense starts at the newest row."""
        try:
            number = int(request.GET.get(BEFORE, ""))
        except ValueError:
            return None
        if not 0 < number < 2**63:
            return None
        fields = ["pk", self.moment] if self.moment else ["pk"]
        return self.root_queryset.only(*fields).filter(pk=number).first()

    def older_than(self, row: Model, queryset: QuerySet[Any]) -> Q:
        """What comes after this row in the order of that queryset."""
        if not self.moment or queryset.query.order_by[0] != f"-{self.moment}":
            return Q(pk__lt=row.pk)
        moment = getattr(row, self.moment)
        # The first condition is the one that an index serves; the second breaks ties.
        return Q(**{f"{self.moment}__lte": moment}) & (Q(**{f"{self.moment}__lt": moment}) | Q(pk__lt=row.pk))

    def _narrowed(self, queryset: QuerySet[Any], days: DaysFilter, before: Model | None) -> QuerySet[Any]:
        """The end of the period in which the newest 10,000 rows are, when all of them could be millions.

        PostgreSQL has a block range index on the moment, which finds the rows of a period and not their order: all
        would be sorted for the first page. So the period is searched from its end in windows that grow, each counted
        up to the cap, until one holds more rows than the list can show.
        """
        if connections[queryset.db].vendor != "postgresql":
            return queryset
        until = getattr(before, self.moment) if before else days.until or timezone.now()
        for window in WINDOWS:
            since: datetime = until - window
            if days.since and since <= days.since:
                break
            recent = queryset.filter(**{f"{self.moment}__gte": since})
            found = recent.order_by().values("pk")[: MOST_COUNTED + 1].count()
            if found > MOST_COUNTED:
                recent.capped_count = partial(int, found)  # type: ignore[attr-defined]
                return recent
        return queryset
