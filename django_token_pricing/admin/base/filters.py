"""Filters that an index serves: days, a scope such as one account, and choices within that scope."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.filters import ChoicesFieldListFilter, ListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

FROM, TO = "from", "to"
EARLIEST, LATEST = date(1970, 1, 1), date(9998, 12, 31)


class DaysFilter(ListFilter):
    """From one day to another, both included, as days of the site's zone; half-open inside. A form, so no script.

    A subclass names the field.
    """

    title = gettext_lazy("day")
    template = "django_token_pricing/admin/filters/days.html"
    field: ClassVar[str]

    def __init__(
        self, request: HttpRequest, params: dict[str, list[str]], model: type[Model], model_admin: ModelAdmin[Any]
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.request = request
        self.problems: list[str] = []
        self.texts = {name: (params.pop(name, None) or [""])[-1].strip() for name in (FROM, TO)}
        self.first, self.last = self._day(FROM), self._day(TO)
        if self.first and self.last and self.first > self.last:
            self.problems.append(_("The first day is after the last."))
        for problem in self.problems:
            messages.error(request, problem)

    def expected_parameters(self) -> list[str | None]:
        return [FROM, TO]

    def has_output(self) -> bool:
        return True

    @property
    def is_set(self) -> bool:
        return bool(self.first or self.last)

    @property
    def since(self) -> datetime | None:
        return _start(self.first) if self.first else None

    @property
    def until(self) -> datetime | None:
        return _start(self.last + timedelta(days=1)) if self.last else None

    @property
    def zone(self) -> str:
        return timezone.get_default_timezone_name()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.problems:
            return queryset.none()
        wanted = Q()
        if self.since:
            wanted &= Q(**{f"{self.field}__gte": self.since})
        if self.until:
            wanted &= Q(**{f"{self.field}__lt": self.until})
        return queryset.filter(wanted)

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        """The presets; the form's hidden fields come from `others`."""
        self.others = [
            (name, value)
            for name, values in changelist.filter_params.items()
            if name not in (FROM, TO, "before", "p", "e")
            for value in values
        ]
        today = timezone.localdate(timezone=timezone.get_default_timezone())
        yield self._choice(changelist, _("Any day"), None, None)
        yield self._choice(changelist, _("Today"), today, None)
        yield self._choice(changelist, _("Last 7 days"), today - timedelta(days=6), None)
        yield self._choice(changelist, _("Last 30 days"), today - timedelta(days=29), None)

    def _choice(self, changelist: ChangeList, name: str, first: date | None, last: date | None) -> dict[str, Any]:
        days = {FROM: first.isoformat() if first else None, TO: last.isoformat() if last else None}
        return {
            "display": name,
            "selected": (self.first, self.last) == (first, last) and not self.problems,
            "query_string": changelist.get_query_string(days),
        }

    def _day(self, name: str) -> date | None:
        text = self.texts[name]
        if not text:
            return None
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = None
        if day is None or not EARLIEST <= day <= LATEST:
            self.problems.append(_("“%(text)s” is not a day. Write it like 2026-02-28.") % {"text": text})
            return None
        return day


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone())


class ScopeFilter(ListFilter):
    """Rows of one other row, such as an account, that an index begins with. Links lead here; it shows what is set.

    A subclass names the parameter and says how the scope is called.
    """

    template = "django_token_pricing/admin/filters/scope.html"
    parameter: ClassVar[str]

    def __init__(
        self, request: HttpRequest, params: dict[str, list[str]], model: type[Model], model_admin: ModelAdmin[Any]
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.request = request
        self.model_admin = model_admin
        text = (params.pop(self.parameter, None) or [""])[-1]
        self.is_given = bool(text)
        self.value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter]

    def has_output(self) -> bool:
        return self.is_given

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter: self.value})

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        yield {"display": self.label(), "query_string": changelist.get_query_string({self.parameter: None})}

    def label(self) -> str:
        return _("Number %(number)s") % {"number": self.value}


class ChoicesInScope(ChoicesFieldListFilter):
    """Choices of a field that no index begins with: offered once a scope makes the rows few, and ignored without."""

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, list[str]],
        model: type[Model],
        model_admin: ModelAdmin[Any],
        field_path: str,
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        scopes = getattr(model_admin, "scopes", ())
        self.is_offered = any(request.GET.get(name) for name in scopes)

    def has_output(self) -> bool:
        return self.is_offered
