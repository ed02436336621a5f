"""The mirrors of the host's subscriptions and payments. They are the host's; here they are looked at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.filters import DaysFilter
from django_token_pricing.admin.base.markup import badge, link
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, day, moment, money
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import PaymentStatus, SubscriptionStatus
from django_token_pricing.models import PaymentMirror, SubscriptionMirror, TokenAccount

SECTION: list[tuple[type[Model], Any]] = [(SubscriptionMirror, _("Subscriptions")), (PaymentMirror, _("Payments"))]
SUBSCRIPTION_STATES = {
    SubscriptionStatus.ACTIVE: "ok",
    SubscriptionStatus.TRIALING: "info",
    SubscriptionStatus.PAST_DUE: "warn",
}
PAYMENT_STATES = {
    PaymentStatus.SUCCEEDED: "ok",
    PaymentStatus.PENDING: "info",
    PaymentStatus.DISPUTED: "warn",
    PaymentStatus.FAILED: "bad",
}


class MirrorAdmin(ReadOnlyAdmin):
    section = SECTION
    section_name = _("Pricing")
    search_fields = ["external_ref"]
    search_help_text = _("Reference or login from its first letters, or user number")
    readonly_fields = ["owner"]

    def described(self, queryset: QuerySet[Any]) -> Any:
        login = F(f"user__{owners.login_field()}")
        return super().described(queryset).annotate(login=login, account_pk=F("user__token_account"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(external_ref__startswith=term) | Q(user__in=owners.find_users(term))
        return queryset.filter(wanted), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        may_open = may_view(self.admin_site, request, TokenAccount)
        for row in rows:
            known = may_open and row.account_pk
            row.account_url = object_url(self.admin_site, TokenAccount, row.account_pk) if known else ""

    @admin.display(description=_("user"))
    def owner(self, row: Any) -> SafeString | str:
        text = NOTHING if row.login is None else owners.breakable(str(row.login))
        return link(getattr(row, "account_url", ""), text)


@admin.register(SubscriptionMirror)
class SubscriptionMirrorAdmin(MirrorAdmin):
    list_display = ["external_ref", "owner", "plan_code", "tier", "state", "period"]
    list_filter = ["status"]
    parameters = ["status"]
    fieldsets = [
        (None, {"fields": ["external_ref", "owner", "plan_code", "tier", "status", "quantity"]}),
        (
            _("Dates"),
            {"fields": ["period_starts_at", "period_ends_at", "anchor_at", "trial_ends_at", "cancel_at"]},
        ),
        (_("Terms"), {"fields": ["price_ref", "currency", "region", "time_zone"]}),
        (_("Mirror"), {"fields": ["occurred_at", "synced_at", "gone_at"]}),
    ]

    @admin.display(description=_("status"))
    def state(self, row: Any) -> SafeString:
        if row.gone_at is not None:
            return badge("idle", str(_("Gone")))
        return badge(SUBSCRIPTION_STATES.get(row.status, "idle"), row.get_status_display())

    @admin.display(description=_("period"))
    def period(self, row: Any) -> str:
        if row.period_starts_at is None or row.period_ends_at is None:
            return NOTHING
        return f"{day(row.period_starts_at)} – {day(row.period_ends_at)}"


class PaidFilter(DaysFilter):
    title = _("day of payment")
    field = "paid_at"


class PaymentList(BigChangeList):
    moment = "paid_at"


@admin.register(PaymentMirror)
class PaymentMirrorAdmin(MirrorAdmin):
    changelist = PaymentList
    list_display = ["external_ref", "owner", "description", "amount_text", "refunded_text", "paid", "state"]
    list_filter = [PaidFilter]
    parameters = ["from", "to"]
    readonly_fields = ["owner", "amount_text", "refunded_text"]
    fieldsets = [
        (None, {"fields": ["external_ref", "owner", "description", "status", "amount_text", "refunded_text"]}),
        (_("Dates"), {"fields": ["paid_at"]}),
        (_("Mirror"), {"fields": ["subscription_ref", "occurred_at", "synced_at", "gone_at"]}),
    ]

    @admin.display(description=_("amount"))
    def amount_text(self, row: Any) -> str:
        return money(row.amount, row.currency)

    @admin.display(description=_("refunded"))
    def refunded_text(self, row: Any) -> str:
        return money(row.refunded_amount, row.currency) if row.refunded_amount else NOTHING

    @admin.display(description=_("paid"))
    def paid(self, row: Any) -> str:
        return moment(row.paid_at) if row.paid_at else NOTHING

    @admin.display(description=_("status"))
    def state(self, row: Any) -> SafeString:
        if row.gone_at is not None:
            return badge("idle", str(_("Gone")))
        return badge(PAYMENT_STATES.get(row.status, "idle"), row.get_status_display())
