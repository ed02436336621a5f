"""Rows of accounts as lists to look at: lots, entries, uses and holds."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _

from django_token_pricing import conf
from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.exports import ExportMixin
from django_token_pricing.admin.base.filters import ChoicesInScope
from django_token_pricing.admin.base.markup import badge, link
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, day, exact_moment, moment, money, number, signed
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.deeds import ChangeDates, RefundUse, ReleaseHold, VoidLot
from django_token_pricing.admin.tokens.exports import EntriesExport, LotsExport, UsageExport
from django_token_pricing.admin.tokens.filters import (
    AccountFilter,
    AllocationFilter,
    BookedFilter,
    EventFilter,
    UsedFilter,
)
from django_token_pricing.admin.tokens.importing import ImportMixin
from django_token_pricing.admin.tokens.lists import (
    HELP_WITH_KEY,
    AccountRowsAdmin,
    known_key,
    may_view_costs,
    without_costs,
)
from django_token_pricing.admin.tokens.statement import joined
from django_token_pricing.choices import HoldStatus
from django_token_pricing.models import (
    LedgerEntry,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenHoldLot,
    TokenUsageLog,
)


@admin.register(TokenAllocation)
class TokenAllocationAdmin(ImportMixin, ExportMixin, DeedsMixin, AccountRowsAdmin):
    deeds = [ChangeDates, VoidLot]
    export = LotsExport
    list_display = ["granted", "owner", "source", "tokens", "left", "priority", "starts", "expires", "state"]
    list_filter = [AccountFilter, ("source", ChoicesInScope)]
    parameters = ["source"]
    readonly_fields = ["owner", "tokens", "left", "state"]
    fieldsets = [
        (None, {"fields": ["owner", "source", "tokens", "left", "state", "priority"]}),
        (_("Dates"), {"fields": ["booked_at", "starts_at", "expires_at"]}),
        (_("Origin"), {"fields": ["event", "key", "parent", "paid_amount", "paid_currency"]}),
    ]

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        if not may_view(self.admin_site, request, LedgerEntry):
            return []
        return [Link(str(_("Entries")), list_url(self.admin_site, LedgerEntry, allocation=row.pk))]

    @admin.display(description=_("granted"))
    def granted(self, row: Any) -> str:
        return exact_moment(row.booked_at)

    @admin.display(description=_("tokens"))
    def tokens(self, row: Any) -> str:
        return number(row.amount)

    @admin.display(description=_("left"))
    def left(self, row: Any) -> str:
        return number(row.remaining)

    @admin.display(description=_("starts"))
    def starts(self, row: Any) -> str:
        return day(row.starts_at)

    @admin.display(description=_("expires"))
    def expires(self, row: Any) -> str:
        return day(row.expires_at) if row.expires_at else NOTHING

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        now = timezone.now()
        if row.expires_at and row.expires_at <= now:
            return badge("idle", str(_("Expired")))
        if not row.is_open:
            return badge("idle", str(_("Used up")))
        if row.starts_at > now:
            return badge("info", str(_("Scheduled")))
        return badge("ok", str(_("Active")))


class EntryList(BigChangeList):
    moment = "booked_at"
    is_moment_in_ranges = True


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ExportMixin, AccountRowsAdmin):
    export = EntriesExport
    changelist = EntryList
    search_help_text = HELP_WITH_KEY
    list_display = ["booked", "owner", "kind", "what", "tokens", "balance"]
    list_filter = [AccountFilter, AllocationFilter, EventFilter, BookedFilter, ("kind", ChoicesInScope)]
    scopes = ["account", "allocation", "event"]
    parameters = ["kind", "from", "to"]
    readonly_fields = ["owner", "booked", "what", "tokens", "lot_left", "balance", "drawn_by"]
    fieldsets = [
        (None, {"fields": ["owner", "booked", "kind", "what", "tokens", "balance"]}),
        (_("Origin"), {"fields": ["allocation", "lot_left", "usage", "drawn_by", "event"]}),
    ]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return (
            super()
            .described(queryset)
            .annotate(feature=F("usage__feature"), model_name=F("usage__model"), source=F("allocation__source"))
        )

    def with_key(self, queryset: QuerySet[Any], key: str) -> QuerySet[Any] | None:
        """All entries of one deed share account and moment; a pool that paid has the same moment."""
        known = known_key(key)
        if known is None:
            return None
        accounts = [known.account_id]
        if known.usage is not None and known.usage.pool_id:
            accounts.append(known.usage.pool_id)
        return queryset.filter(account__in=accounts, booked_at=known.booked_at)

    @admin.display(description=_("booked"))
    def booked(self, row: Any) -> str:
        return exact_moment(row.booked_at)

    @admin.display(description=_("for"))
    def what(self, row: Any) -> str:
        if row.usage_id is not None:
            return joined(row.feature, row.model_name) or str(_("Use %(number)s") % {"number": row.usage_id})
        return str(dict(TokenAllocation._meta.get_field("source").flatchoices).get(row.source, row.source))

    @admin.display(description=_("tokens"))
    def tokens(self, row: Any) -> SafeString | str:
        text = signed(row.amount)
        return format_html("<strong>{}</strong>", text) if row.amount > 0 else text

    @admin.display(description=_("balance"))
    def balance(self, row: Any) -> str:
        return number(row.balance_after)

    @admin.display(description=_("left in the lot"))
    def lot_left(self, row: Any) -> str:
        return number(row.lot_balance)

    @admin.display(description=_("member who drew"))
    def drawn_by(self, row: Any) -> SafeString | str:
        if row.member_id is None:
            return NOTHING
        member = TokenAccount.objects.select_related("user", "pool").get(pk=row.member_id)
        return link(object_url(self.admin_site, TokenAccount, member.pk), owners.name_of(member))


class UsageList(BigChangeList):
    moment = "used_at"
    is_moment_in_ranges = True


@admin.register(TokenUsageLog)
class TokenUsageLogAdmin(ExportMixin, DeedsMixin, AccountRowsAdmin):
    deeds = [RefundUse]
    export = UsageExport
    changelist = UsageList
    search_help_text = HELP_WITH_KEY
    list_display = ["used", "owner", "what", "tokens", "input", "output", "cost_text", "charged"]
    list_filter = [AccountFilter, UsedFilter]
    parameters = ["from", "to"]
    readonly_fields = [
        "owner",
        "used",
        "booked",
        "paid_by",
        "tokens",
        "input",
        "output",
        "cached",
        "kept",
        "reasoning",
        "cost_text",
    ]
    fieldsets = [
        (None, {"fields": ["owner", "used", "feature", "provider", "model", "tokens", "is_charged", "paid_by"]}),
        (_("Measured"), {"fields": ["input", "cached", "kept", "output", "reasoning", "cost_text", "metadata"]}),
        (_("Booked"), {"fields": ["booked", "key", "tier"]}),
    ]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return super().described(queryset).defer("metadata")

    def get_list_display(self, request: HttpRequest) -> Any:
        return [name for name in super().get_list_display(request) if name != "cost_text" or may_view_costs(request)]

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return without_costs(super().get_fieldsets(request, obj), request)

    def with_key(self, queryset: QuerySet[Any], key: str) -> QuerySet[Any] | None:
        known = known_key(key)
        return queryset.filter(pk=known.usage_id) if known and known.usage_id else None

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        if not row.key or not may_view(self.admin_site, request, LedgerEntry):
            return []
        return [Link(str(_("Entries")), list_url(self.admin_site, LedgerEntry, q=row.key))]

    @admin.display(description=_("used"))
    def used(self, row: Any) -> str:
        return exact_moment(row.used_at)

    @admin.display(description=_("for"))
    def what(self, row: Any) -> str:
        return joined(row.feature, row.model) or NOTHING

    @admin.display(description=_("booked"))
    def booked(self, row: Any) -> str:
        return exact_moment(row.booked_at)

    @admin.display(description=_("tokens"))
    def tokens(self, row: Any) -> str:
        return number(row.amount)

    @admin.display(description=_("input"))
    def input(self, row: Any) -> str:
        return NOTHING if row.input_tokens is None else number(row.input_tokens)

    @admin.display(description=_("output"))
    def output(self, row: Any) -> str:
        return NOTHING if row.output_tokens is None else number(row.output_tokens)

    @admin.display(description=_("cached input"))
    def cached(self, row: Any) -> str:
        return NOTHING if row.cached_tokens is None else number(row.cached_tokens)

    @admin.display(description=_("input kept"))
    def kept(self, row: Any) -> str:
        return NOTHING if row.cache_write_tokens is None else number(row.cache_write_tokens)

    @admin.display(description=_("reasoning"))
    def reasoning(self, row: Any) -> str:
        return NOTHING if row.reasoning_tokens is None else number(row.reasoning_tokens)

    @admin.display(description=_("cost"))
    def cost_text(self, row: Any) -> str:
        return NOTHING if row.cost is None else money(row.cost, conf.current().DEFAULT_CURRENCY)

    @admin.display(description=_("charged"))
    def charged(self, row: Any) -> str:
        if not row.is_charged:
            return str(_("Only recorded"))
        return str(_("With pool")) if row.pool_id else str(_("Yes"))

    @admin.display(description=_("pool that paid"))
    def paid_by(self, row: Any) -> str:
        return str(row.pool.pool) if row.pool_id else NOTHING


class HoldList(BigChangeList):
    moment = "booked_at"


@admin.register(TokenHold)
class TokenHoldAdmin(DeedsMixin, AccountRowsAdmin):
    deeds = [ReleaseHold]
    changelist = HoldList
    search_help_text = HELP_WITH_KEY
    list_display = ["since", "owner", "state", "key", "what", "tokens", "settled", "until"]
    list_filter = [AccountFilter, "status"]
    parameters = ["status"]
    readonly_fields = ["owner", "state", "tokens", "reserved", "settled", "input", "output", "cost_text"]
    fieldsets = [
        (None, {"fields": ["owner", "key", "state", "tokens", "reserved", "settled", "usage"]}),
        (_("Dates"), {"fields": ["booked_at", "expires_at", "closed_at"]}),
        (_("Declared"), {"fields": ["feature", "model", "input", "output", "cost_text", "metadata"]}),
    ]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return super().described(queryset).defer("metadata")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return without_costs(super().get_fieldsets(request, obj), request)

    def with_key(self, queryset: QuerySet[Any], key: str) -> QuerySet[Any] | None:
        known = known_key(key)
        return queryset.filter(pk=known.hold_id) if known and known.hold_id else None

    @admin.display(description=_("since"))
    def since(self, row: Any) -> str:
        return moment(row.booked_at)

    @admin.display(description=_("until"))
    def until(self, row: Any) -> str:
        return moment(row.closed_at or row.expires_at)

    @admin.display(description=_("for"))
    def what(self, row: Any) -> str:
        return joined(row.feature, row.model) or NOTHING

    @admin.display(description=_("tokens"))
    def tokens(self, row: Any) -> str:
        return number(row.amount)

    @admin.display(description=_("reserved in"))
    def reserved(self, row: Any) -> SafeString:
        lines = TokenHoldLot.objects.filter(hold=row).select_related("allocation").order_by("pk")
        return format_html_join(mark_safe("<br>"), "{}: {}", ((self._lot(line), number(line.amount)) for line in lines))

    def _lot(self, line: TokenHoldLot) -> SafeString | str:
        words = {"source": line.allocation.get_source_display(), "day": day(line.allocation.booked_at)}
        url = object_url(self.admin_site, TokenAllocation, line.allocation_id)
        return link(url, _("%(source)s of %(day)s") % words)

    @admin.display(description=_("settled for"))
    def settled(self, row: Any) -> str:
        return NOTHING if row.settled_amount is None else number(row.settled_amount)

    @admin.display(description=_("input"))
    def input(self, row: Any) -> str:
        return NOTHING if row.input_tokens is None else number(row.input_tokens)

    @admin.display(description=_("output"))
    def output(self, row: Any) -> str:
        return NOTHING if row.output_tokens is None else number(row.output_tokens)

    @admin.display(description=_("cost"))
    def cost_text(self, row: Any) -> str:
        return NOTHING if row.cost is None else money(row.cost, conf.current().DEFAULT_CURRENCY)

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        """Void at its end, whether or not a sweep has closed it."""
        if row.status == HoldStatus.OPEN and row.expires_at > timezone.now():
            return badge("info", str(_("Open")), "clock")
        if row.status == HoldStatus.SETTLED:
            return badge("ok", row.get_status_display())
        return badge("idle", str(_("Expired")) if row.status == HoldStatus.OPEN else row.get_status_display())
