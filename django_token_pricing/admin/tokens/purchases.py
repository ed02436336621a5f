"""Purchases of packages as a list: what was paid, what is left of it, and what was taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from django_token_pricing import jobs, tokens
from django_token_pricing.admin.base.changelist import BigChangeList
from django_token_pricing.admin.base.exports import Export, ExportMixin
from django_token_pricing.admin.base.filters import DaysFilter, ScopeFilter
from django_token_pricing.admin.base.markup import badge, link
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, day, exact_moment, moment, money, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.deed_pages import Deed, DeedsMixin
from django_token_pricing.admin.tokens.exports import owned
from django_token_pricing.admin.tokens.filters import AccountFilter
from django_token_pricing.admin.tokens.lists import AccountRowsAdmin
from django_token_pricing.lib.digests import digest
from django_token_pricing.models import LedgerEntry, Purchase, TokenAllocation, TokenPackage, TokenPackagePrice
from django_token_pricing.tokens.purchases import lots_of

MOST_OFFERED = 50


class TakeBack(Deed):
    name = "take-back"
    permission = "take_back_purchase"

    @classmethod
    def link_text(cls) -> str:
        return _("Take back")

    def button(self) -> str:
        return _("Take back tokens")

    def title(self) -> str:
        return _("Take back the purchase of “%(package)s”?") % {"package": self.row.package.name}

    def lead(self) -> str:
        return _(
            "What is left of it is taken out of the account; what is held stays. Money is given back where it was paid,"
            " not here."
        )

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return row.taken_back_at is None

    def facts(self) -> Iterable[tuple[str, str]]:
        made: Purchase = self.row
        yield _("Account"), owners.name_of(self.account)
        yield _("Package"), made.package.name
        yield _("Bought"), moment(made.purchased_at)
        yield _("Paid"), money(made.amount, made.currency)
        yield _("Tokens"), number(made.tokens)
        yield _("Left"), number(left_in(lots_of([made]).get(made.pk, [])))

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.refund_purchase(self.row, key=key, reason=given["reason"], actor=self.actor)
        told = ngettext("%(tokens)s token was taken back.", "%(tokens)s tokens were taken back.", done.taken)
        if done.rest:
            rest = ngettext("%(rest)s is spent, held or expired.", "%(rest)s are spent, held or expired.", done.rest)
            told += " " + rest
        return told % {"tokens": number(done.taken), "rest": number(done.rest)}


def left_in(lots: Iterable[TokenAllocation]) -> int:
    now = timezone.now()
    return sum(lot.remaining for lot in lots if lot.expires_at is None or lot.expires_at > now)


class PackageFilter(ScopeFilter):
    """Packages are few, so they are offered by name."""

    title = gettext_lazy("package")
    parameter = "package"
    template = "admin/filter.html"

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().queryset(request, queryset) if self.is_given else queryset

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        yield self._choice(changelist, _("All"), None)
        offered = list(TokenPackage.objects.order_by("place", "code").values_list("pk", "name")[:MOST_OFFERED])
        if self.is_given and self.value not in dict(offered):
            offered.append((self.value, self.label()))
        for pk, name in offered:
            yield self._choice(changelist, name, pk)

    def _choice(self, changelist: ChangeList, name: str, pk: int | None) -> dict[str, Any]:
        is_selected = self.value == pk if self.is_given else pk is None
        return {
            "display": name,
            "selected": is_selected,
            "query_string": changelist.get_query_string({self.parameter: pk}),
        }

    def label(self) -> str:
        found = TokenPackage.objects.filter(pk=self.value).first()
        return found.name if found else super().label()


class CurrencyFilter(SimpleListFilter):
    """Those in which something is sold now; another can be written into the address."""

    title = gettext_lazy("currency")
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = set(TokenPackagePrice.objects.order_by().values_list("currency", flat=True).distinct()[:MOST_OFFERED])
        if given := self.value():
            found.add(given)
        return [(currency, currency) for currency in sorted(found)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(currency=self.value()) if self.value() else queryset


class BoughtFilter(DaysFilter):
    title = gettext_lazy("day of purchase")
    field = "purchased_at"


class PurchaseList(BigChangeList):
    moment = "purchased_at"


@jobs.register
class PurchasesExport(Export):
    kind = "export.purchase"
    permission = "django_token_pricing.export_purchase"
    model = Purchase
    file_stem = "purchases"

    def columns(self, user: Any) -> list[str]:
        return [
            "number",
            "purchased_at",
            "owner",
            "package",
            "quantity",
            "tokens",
            "left",
            "amount",
            "currency",
            "payment_ref",
            "taken_back_at",
            "taken_back",
        ]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        fields = ["quantity", "tokens", "amount", "currency", "payment_ref", "taken_back_at", "taken_back"]
        lots = lots_of(Purchase.objects.filter(pk__in=keys))
        found = owned(Purchase.objects.all(), keys, "purchased_at", "package__code", *fields)
        for owner, row in found:
            first = [row["pk"], row["purchased_at"], owner, row["package__code"], row["quantity"], row["tokens"]]
            yield [*first, left_in(lots.get(row["pk"], [])), *(row[name] for name in fields[2:])]


@admin.register(Purchase)
class PurchaseAdmin(ExportMixin, DeedsMixin, AccountRowsAdmin):
    deeds = [TakeBack]
    export = PurchasesExport
    changelist = PurchaseList
    search_help_text = gettext_lazy(
        "Login or pool from its first letters, account number, user number, or a whole payment reference"
    )
    # The tokens are those of the package; what does not fit beside the filters is cut off.
    list_display = ["bought", "owner", "what", "paid", "left", "state"]
    list_filter = [AccountFilter, PackageFilter, CurrencyFilter, BoughtFilter]
    scopes = ["account", "package"]
    parameters = ["currency", "from", "to"]
    readonly_fields = [
        "owner",
        "bought",
        "paid",
        "amount_text",
        "left",
        "state",
        "many",
        "bought_exactly",
        "lot",
        "returned",
    ]
    fieldsets = [
        (None, {"fields": ["owner", "package", "many", "amount_text", "left", "state"]}),
        (gettext_lazy("Payment"), {"fields": ["bought_exactly", "paid", "payment_ref"]}),
        (gettext_lazy("Origin"), {"fields": ["lot", "taken_back_at", "returned"]}),
    ]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return super().described(queryset).annotate(package_called=F("package__name"))

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        super().prepare(request, rows)
        lots = lots_of(rows)
        for row in rows:
            row.lots = lots.get(row.pk, [])

    def with_key(self, queryset: QuerySet[Any], key: str) -> QuerySet[Any] | None:
        """By the payment's reference, whole."""
        try:
            found = queryset.filter(digest=digest(f"purchase:{key}"))
        except UnicodeEncodeError:
            return None
        return found if found.exists() else None

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        if row.allocation_id is None or not may_view(self.admin_site, request, LedgerEntry):
            return []
        return [Link(_("Entries"), list_url(self.admin_site, LedgerEntry, allocation=row.allocation_id))]

    @admin.display(description=gettext_lazy("bought"))
    def bought(self, row: Any) -> str:
        return day(row.purchased_at)

    @admin.display(description=gettext_lazy("bought"))
    def bought_exactly(self, row: Any) -> str:
        return exact_moment(row.purchased_at)

    @admin.display(description=gettext_lazy("package"))
    def what(self, row: Any) -> str:
        if row.quantity == 1:
            return str(row.package_called)
        words = pgettext("several of a package", "%(count)s × %(name)s")
        return words % {"count": number(row.quantity), "name": row.package_called}

    @admin.display(description=gettext_lazy("lot"))
    def lot(self, row: Any) -> SafeString | str:
        own = next((lot for lot in row.lots if lot.pk == row.allocation_id), None)
        if own is None:
            return NOTHING
        words = {"source": own.get_source_display(), "day": day(own.booked_at)}
        return link(object_url(self.admin_site, TokenAllocation, own.pk), _("%(source)s of %(day)s") % words)

    @admin.display(description=gettext_lazy("quantity"))
    def many(self, row: Any) -> str:
        return number(row.quantity)

    @admin.display(description=gettext_lazy("paid"))
    def paid(self, row: Any) -> str:
        return money(row.amount, row.currency)

    @admin.display(description=gettext_lazy("tokens"))
    def amount_text(self, row: Any) -> str:
        return number(row.tokens)

    @admin.display(description=gettext_lazy("left"))
    def left(self, row: Any) -> str:
        return number(left_in(row.lots))

    @admin.display(description=gettext_lazy("tokens taken back"))
    def returned(self, row: Any) -> str:
        return NOTHING if row.taken_back_at is None else number(row.taken_back)

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: Any) -> SafeString:
        if row.taken_back_at is not None:
            return badge("warn", _("Taken back"), "idle")
        if left_in(row.lots):
            return badge("ok", _("Active"))
        ends = [lot.expires_at for lot in row.lots if lot.expires_at is not None and lot.expires_at <= timezone.now()]
        return badge("idle", _("Expired") if ends and any(lot.remaining for lot in row.lots) else _("Used up"))
