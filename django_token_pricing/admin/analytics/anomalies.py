"""Alerts as a list and a page: what was odd, how odd, around when, and what people made of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from django.utils import formats, timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.anomaly_deeds import Acknowledge, Mute, Reopen, Resolve
from django_token_pricing.admin.analytics.section import NAME, may, tabs
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.markup import badge, link
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, amount, moment, number, short
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.analytics import anomalies
from django_token_pricing.analytics.anomalies import wording
from django_token_pricing.analytics.anomalies.detecting import written
from django_token_pricing.choices import AnomalyKind, AnomalyScope, AnomalyState
from django_token_pricing.models import Anomaly, AnomalyRule, TokenAccount

BADGES = {
    AnomalyState.OPEN: ("bad", "bad"),
    AnomalyState.ACKNOWLEDGED: ("info", "info"),
    AnomalyState.RESOLVED: ("ok", "ok"),
    AnomalyState.MUTED: ("idle", "idle"),
}
LONGEST_TARGET = 60


class AlertList(BigChangeList):
    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-starts_at", "-pk"]


@admin.register(Anomaly)
class AnomalyAdmin(DeedsMixin, ReadOnlyAdmin):
    deeds = [Acknowledge, Resolve, Mute, Reopen]
    section_name = NAME
    change_list_template = "django_token_pricing/admin/analytics/anomalies.html"
    change_form_template = "django_token_pricing/admin/analytics/anomaly.html"
    actions = ["worth_it", "false_alarm", "resolve", "reopen"]  # type: ignore[assignment]
    changelist = AlertList
    list_display = ["what", "badge_of_state", "which", "compared", "began"]
    list_filter = ["state", "kind", "scope"]
    parameters = ["state", "kind", "scope", "rule", "rule__id"]
    search_fields = ["target"]
    search_help_text = _("Tier, model, login or pool from the first letters")
    readonly_fields = [
        "badge_of_state",
        "why",
        "which",
        "measured",
        "usual",
        "score_shown",
        "when_shown",
        "found",
        "rule_shown",
        "verdict",
        "decided",
        "muted",
        "note_shown",
    ]
    fields = [*readonly_fields]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "rule__id__exact" or super().lookup_allowed(lookup, value, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What says costs is for who may see costs."""
        rows = super().get_queryset(request)
        return rows if may(request, "view_costs") else rows.exclude(kind=AnomalyKind.COST_SPIKE)

    def described(self, queryset: QuerySet[Any]) -> Any:
        return owners.with_owner(queryset.select_related("rule")).annotate(
            decider=F(f"decided_by__{owners.login_field()}")
        )

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        may_open = may_view(self.admin_site, request, TokenAccount)
        for row in rows:
            row.shown_target = self.target_of(row, may_open=may_open)
            row.target_url = (
                object_url(self.admin_site, TokenAccount, row.account_id) if may_open and row.account_id else ""
            )

    def target_of(self, row: Any, *, may_open: bool) -> str:
        if row.scope == AnomalyScope.SITE:
            return gettext("The site")
        if row.scope == AnomalyScope.ACCOUNT:
            if may_open:
                return owners.name(row.owner_login, row.owner_pool, row.account_id)
            return gettext("Account %(number)s") % {"number": row.target}
        words = gettext("Tier %(name)s") if row.scope == AnomalyScope.TIER else "%(name)s"
        return words % {"name": charts.clipped(row.target, LONGEST_TARGET)}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        named = Q(target__istartswith=term) & ~Q(scope=AnomalyScope.ACCOUNT)
        return queryset.filter(named | Q(account__in=owners.find_accounts(term).accounts)), False

    def tabs(self, request: HttpRequest) -> list[Link]:
        return tabs(self.admin_site, request, "anomalies")

    def list_tools(self, request: HttpRequest) -> list[Link]:
        if not may_view(self.admin_site, request, AnomalyRule):
            return []
        return [Link(gettext("Rules"), list_url(self.admin_site, AnomalyRule))]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        has_rules = AnomalyRule.objects.filter(is_active=True).exists()
        url = list_url(self.admin_site, AnomalyRule) if may_view(self.admin_site, request, AnomalyRule) else ""
        return super().changelist_view(
            request, {"has_rules": has_rules, "rules_url": url, "title": gettext("Anomalies"), **(extra_context or {})}
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        context = {} if row is None else {"around": self.around(row), "subtitle": row.shown_target}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def around(self, row: Any) -> dict[str, Any] | None:
        """The series around the alert, as a chart."""
        series = anomalies.around(row)
        if series is None or len(series.points) < 2:
            return None
        places = [place for place, (at, _value) in enumerate(series.points) if row.starts_at <= at < row.ends_at] or [
            len(series.points) - 1
        ]
        each = gettext("by the day") if series.is_daily else gettext("by the hour")
        words = {"cost": gettext("Cost"), "requests": gettext("Uses"), "tokens": gettext("Tokens")}[series.unit]
        local = [at.astimezone(analytics.zone()) for at, _value in series.points]
        form = pgettext("date format", "j M") if series.is_daily else pgettext("date format", "j M, H:i")
        labels = [formats.date_format(at, form) for at in local]
        values = [value for _at, value in series.points]
        scale = (
            charts.Scale(lambda value: amount(Decimal(repr(round(value, 6)))), is_whole=False)
            if series.unit == "cost"
            else charts.TOKENS
        )
        chart = charts.Chart(
            title=words,
            about=gettext("%(each)s, %(zone)s")
            % {"each": f"{wording.unit(row)} {each}" if series.unit == "cost" else each, "zone": analytics.zone()},
            svg=charts.lines(
                "tp-around",
                title=words,
                description=anomalies.reason(row),
                labels=labels,
                series=[charts.Series(words, values, 1)],
                every=charts.every(len(labels), 6),
                marks={places[0]: gettext("Began")},
                scale=scale,
            ),
            table=charts.Table(
                [gettext("When"), words],
                [
                    charts.Row(label, at.isoformat(), [value])
                    for label, at, value in zip(labels, local, values, strict=True)
                ],
                wording.money if series.unit == "cost" else lambda value: number(round(value)),
            ),
        )
        return {"chart": chart, "downloads": []}

    # Deeds on many

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and may(request, "decide_anomaly")

    def tell(self, request: HttpRequest, count: int) -> None:
        if not count:
            messages.warning(request, gettext("Nothing has changed: all of these are in that state already."))
            return
        words = ngettext("%(count)s alert was changed.", "%(count)s alerts were changed.", count)
        messages.success(request, words % {"count": number(count)})

    @admin.action(description=_("Acknowledge: worth telling"), permissions=["decide"])
    def worth_it(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.tell(request, anomalies.acknowledge(queryset, is_real=True, actor=actor_of(request)))

    @admin.action(description=_("Acknowledge: false alarm"), permissions=["decide"])
    def false_alarm(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.tell(request, anomalies.acknowledge(queryset, is_real=False, actor=actor_of(request)))

    @admin.action(description=_("Resolve"), permissions=["decide"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.tell(request, anomalies.resolve(queryset, actor=actor_of(request)))

    @admin.action(description=_("Reopen"), permissions=["decide"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.tell(request, anomalies.reopen(queryset, actor=actor_of(request)))

    # Columns

    @admin.display(description=_("what"))
    def what(self, row: Any) -> str:
        """In a word or two; the page has the whole of it."""
        return gettext("Unusual usage") if row.kind == AnomalyKind.SEASONAL else str(row.get_kind_display())

    @admin.display(description=_("state"))
    def badge_of_state(self, row: Any) -> SafeString:
        if row.state == AnomalyState.MUTED and row.muted_until and row.muted_until <= timezone.now():
            return badge("idle", gettext("Muted, over"))
        state, symbol = BADGES[AnomalyState(row.state)]
        return badge(state, str(row.get_state_display()), symbol)

    @admin.display(description=_("which"))
    def which(self, row: Any) -> SafeString | str:
        return link(row.target_url, owners.breakable(row.shown_target))

    @admin.display(description=_("measured"))
    def measured(self, row: Any) -> str:
        if row.kind == AnomalyKind.COST_SPIKE:
            return wording.measured(row)
        return gettext("%(number)s %(unit)s") % {"number": short(float(row.value)), "unit": wording.unit(row)}

    @admin.display(description=_("measured"))
    def compared(self, row: Any) -> str:
        usual = self.usual(row)
        if usual == NOTHING:
            return self.measured(row)
        return gettext("%(measured)s, usual %(usual)s") % {"measured": self.measured(row), "usual": usual}

    @admin.display(description=_("usual"))
    def usual(self, row: Any) -> str:
        if row.expected is None:
            return NOTHING
        return wording.usual(row) if row.kind == AnomalyKind.COST_SPIKE else short(float(row.expected))

    @admin.display(description=_("began"))
    def began(self, row: Any) -> str:
        return moment(row.starts_at)

    @admin.display(description=_("why"))
    def why(self, row: Any) -> str:
        return anomalies.reason(row)

    @admin.display(description=_("score"))
    def score_shown(self, row: Any) -> str:
        if row.score is None:
            return NOTHING
        words = gettext("%(score)s usual deviations")
        return words % {"score": written(float(row.score), places=1)}

    @admin.display(description=_("when"))
    def when_shown(self, row: Any) -> str:
        return wording.when(row)

    @admin.display(description=_("found"))
    def found(self, row: Any) -> str:
        return moment(row.found_at)

    @admin.display(description=_("rule"))
    def rule_shown(self, row: Any) -> SafeString | str:
        return link(object_url(self.admin_site, AnomalyRule, row.rule_id), row.rule.name)

    @admin.display(description=_("worth telling"))
    def verdict(self, row: Any) -> str:
        return gettext("Not said") if row.is_real is None else gettext("Yes") if row.is_real else gettext("No")

    @admin.display(description=_("decided"))
    def decided(self, row: Any) -> str:
        if row.decided_at is None:
            return NOTHING
        facts = {"who": row.decider or gettext("the system"), "when": moment(row.decided_at)}
        return gettext("%(who)s, %(when)s") % facts

    @admin.display(description=_("muted until"))
    def muted(self, row: Any) -> str:
        return NOTHING if row.muted_until is None else moment(row.muted_until)

    @admin.display(description=_("note"))
    def note_shown(self, row: Any) -> str:
        return row.note or NOTHING


def actor_of(request: HttpRequest) -> Any:
    """Logged in, as every view of an admin site makes sure."""
    return request.user
