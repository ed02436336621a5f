"""The list of accounts: sorted and filtered by the summaries of the last refresh, whose age stands above it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from django.contrib.admin.views.main import ORDER_VAR
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.changelist import BEFORE, BigChangeList
from django_token_pricing.admin.base.paginator import MOST_COUNTED
from django_token_pricing.admin.base.wording import clock
from django_token_pricing.admin.tokens.filters import SummaryFilter, latest_refresh
from django_token_pricing.models import AccountSummary, PoolMember
from django_token_pricing.models.summaries import late_first

OLD = timedelta(hours=1)
# How far rows are counted that no index names alone.
MOST_JOINED = 1_000
# Moments that an account may not have; it comes last then, whichever way the list is sorted.
MOMENTS = ("summary__next_expiry", "summary__last_used_at")
MEMBERSHIP = "user__token_pool_membership__pk"


class AccountList(BigChangeList):
    """Newest first by number; by one column of the summaries where it is clicked, both ways by an index of theirs."""

    @property
    def sorting(self) -> tuple[int, str, bool] | None:
        """The column that sorts as (its number, the field, whether from the top): the first of those in the URL."""
        for part in self.params.get(ORDER_VAR, "").split("."):
            text = part.removeprefix("-")
            index = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else len(self.list_display)
            if index < len(self.list_display) and self.list_display[index] in (self.sortable_by or ()):
                return index, str(self.get_ordering_field(self.list_display[index])), part != text
        return None

    @property
    def goes_on(self) -> bool:  # type: ignore[override]
        """Beyond the count, rows are found by their number alone."""
        return self.sorting is None

    def get_ordering_field_columns(self) -> dict[int, Literal["desc", "asc"]]:
        sorting = self.sorting
        return {sorting[0]: "desc" if sorting[2] else "asc"} if sorting else {}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        if self.sorting is None:
            # Members are in the order in which they came: by number, all accounts would be looked through for them.
            return [f"-{MEMBERSHIP}"] if self.scope else super().get_ordering(request, queryset)
        _index, field, is_descending = self.sorting
        # An index is read forwards or backwards as a whole, so the number turns with the column.
        if field in MOMENTS:
            return late_first(field, account="pk") if is_descending else [F(field).asc(nulls_last=True), "pk"]
        return [f"-{field}", "-pk"] if is_descending else [field, "pk"]

    def older_than(self, row: Model, queryset: QuerySet[Any]) -> Q:
        if queryset.query.order_by != (f"-{MEMBERSHIP}",):
            return super().older_than(row, queryset)
        return Q(**{f"{MEMBERSHIP}__lt": PoolMember.objects.filter(user__token_account=row.pk).values("pk")})

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        queryset = super().get_queryset(request, *args, **kwargs)
        if self.sorting is not None:
            # With accounts that have no summary yet, no index would serve the order.
            queryset = queryset.filter(summary__isnull=False)
        if self.by_figures and self._only_by_figures(request):
            # An index of the summaries counts them without a look at each account.
            summaries = AccountSummary.objects.using(queryset.db).order_by()
            for spec in self._summary_filters:
                summaries = summaries.none() if spec.conditions is None else summaries.filter(**spec.conditions)
            counted = summaries.values("pk")[: MOST_COUNTED + 1]
            queryset.capped_count = counted.count  # type: ignore[attr-defined]
        return queryset

    def get_results(self, request: HttpRequest) -> None:
        if self.goes_on and (self.by_figures or self.scope) and not hasattr(self.queryset, "capped_count"):
            self.queryset.most_counted = MOST_JOINED
        super().get_results(request)
        self.refresh = latest_refresh(request)
        self.now = timezone.now()
        self.has_new_rows = any(row.month_used is None for row in self.result_list)

    @property
    def by_figures(self) -> bool:
        """Accounts that are newer than the figures are left out."""
        return self.sorting is not None or bool(self._summary_filters)

    @property
    def age(self) -> str:
        if self.refresh is None:
            return _("No refresh has run yet: start a worker and beat, or run token_pricing_refresh_summaries.")
        since = self.refresh.started_at
        words = _("Figures for sorting and filtering are of %(time)s, %(age)s ago; what is available and held is live.")
        is_new = self.now - since < timedelta(minutes=1)
        age = _("less than a minute") if is_new else timesince(since, self.now)
        return words % {"time": clock(since, self.now), "age": age}

    @property
    def warning(self) -> str:
        if self.refresh is None:
            return _("No figures")
        return _("Old figures") if self.now - self.refresh.started_at > OLD else ""

    def _row_before(self, request: HttpRequest) -> Model | None:
        return super()._row_before(request) if self.goes_on else None

    @property
    def _summary_filters(self) -> list[SummaryFilter]:
        return [spec for spec in self.filter_specs if isinstance(spec, SummaryFilter) and spec.value() is not None]

    def _only_by_figures(self, request: HttpRequest) -> bool:
        others = [spec for spec in self.filter_specs if not isinstance(spec, SummaryFilter)]
        is_older = self.goes_on and BEFORE in request.GET
        return not self.query and not is_older and not any(spec.used_parameters for spec in others) and not self.scope
