"""Who did what, to which row, from what to what, and why."""

from __future__ import annotations

import re
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.audit.exports import EventsExport
from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.charts import clipped
from django_token_pricing.admin.base.exports import ExportMixin
from django_token_pricing.admin.base.filters import DaysFilter
from django_token_pricing.admin.base.markup import link
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, exact_moment, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.filters import AccountFilter
from django_token_pricing.models import AuditEvent, LedgerEntry, TokenAccount, TokenAllocation

ACTION = re.compile(r"[a-z_]+(\.[a-z_]+)+|[a-z_]+\.")
MOST_EVENTS = 1_000


class AtFilter(DaysFilter):
    title = _("day")
    field = "at"


class DeedsOnAccount(AccountFilter):
    """Deeds on the account itself, and deeds on many accounts that gave it a lot."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        given = (
            TokenAllocation.objects.filter(account=self.value, event__isnull=False)
            .order_by("-pk")
            .values_list("event", flat=True)
        )
        target = Q(target_type=TokenAccount._meta.label_lower, target_id=str(self.value))
        return queryset.filter(target | Q(pk__in=list(given[:MOST_EVENTS])))


class EventList(BigChangeList):
    moment = "at"


@admin.register(AuditEvent)
class AuditEventAdmin(ExportMixin, ReadOnlyAdmin):
    export = EventsExport
    changelist = EventList
    section = [(AuditEvent, _("Audit events"))]
    section_name = _("Security")
    list_display = ["when", "who", "action", "target", "why", "rows"]
    list_filter = [DeedsOnAccount, AtFilter]
    scopes = ["account"]
    parameters = ["from", "to"]
    search_fields = ["action"]
    search_help_text = _("Who, from the first letters of the login; or what, such as tokens.grant or tokens.")
    readonly_fields = ["when", "who", "target", "rows", "difference"]
    fields = ["when", "who", "action", "target", "reason", "rows", "difference"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if ACTION.fullmatch(term):
            below = term if term.endswith(".") else f"{term}."
            return queryset.filter(Q(action=term) | Q(action__startswith=below)), False
        return queryset.filter(actor__in=owners.find_users(term)), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        viewable: dict[str, bool] = {}
        for row in rows:
            if row.target_type not in viewable:
                model = _model(row.target_type)
                viewable[row.target_type] = model is not None and may_view(self.admin_site, request, model)
            row.target_url = self._target_url(row) if viewable[row.target_type] else ""

    def tools(self, request: HttpRequest, object_id: str) -> list[Link]:
        if not may_view(self.admin_site, request, LedgerEntry):
            return []
        return [Link(str(_("Entries")), list_url(self.admin_site, LedgerEntry, event=object_id))]

    def _target_url(self, row: AuditEvent) -> str:
        model = _model(row.target_type)
        return object_url(self.admin_site, model, row.target_id) if model and row.target_id else ""

    @admin.display(description=_("when"))
    def when(self, row: Any) -> str:
        return exact_moment(row.at)

    @admin.display(description=_("who"))
    def who(self, row: Any) -> str:
        return row.actor_label or str(_("The system"))

    @admin.display(description=_("to which row"))
    def target(self, row: Any) -> SafeString | str:
        text = row.target_label or row.target_id or NOTHING
        return link(row.target_url, text)

    @admin.display(description=_("why"))
    def why(self, row: Any) -> str:
        return clipped(row.reason, 80) or NOTHING

    @admin.display(description=_("rows"))
    def rows(self, row: Any) -> str:
        return number(row.count)

    @admin.display(description=_("from and to"))
    def difference(self, row: Any) -> SafeString | str:
        lines = [(name, _value(before), _value(after)) for name, before, after in row.diff()]
        if not lines:
            return NOTHING
        return render_to_string("django_token_pricing/admin/audit/difference.html", {"lines": lines})


def _model(label: str) -> type[Model] | None:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def _value(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
