"""The page of an account: what it has, how long that lasts, in which lots, what is held, used and booked.

What it costs to show does not grow with the account's history, but for two sums: of the uses of the last 60 days, read
by the index of the account, and of its live lots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.auth import get_user_model
from django.db.models import F, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import conf, tokens
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.parts import Card
from django_token_pricing.admin.base.wording import (
    NOTHING,
    change,
    day,
    figure,
    money,
    month,
    number,
    short,
    short_day,
)
from django_token_pricing.admin.tokens import limit_panel, lots, owners, spending, statement
from django_token_pricing.choices import HoldStatus, SubscriptionStatus
from django_token_pricing.lib.periods import month_of
from django_token_pricing.models import (
    AuditEvent,
    LedgerEntry,
    LimitRule,
    PoolDraw,
    PoolMember,
    SubscriptionMirror,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenPool,
    TokenUsageLog,
)

MOST_MEMBERS = 8
OVER = {SubscriptionStatus.CANCELED, SubscriptionStatus.EXPIRED}


@dataclass(frozen=True, slots=True)
class Fact:
    """A piece of the line under the tabs: words around what may be a link."""

    before: str
    text: str
    after: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class MemberRow:
    name: str
    url: str
    drawn: str
    cap: str


@dataclass(slots=True)
class AccountPage:
    """Gathers the page for one person at one moment; `response` draws it."""

    model_admin: ModelAdmin[TokenAccount]
    request: HttpRequest
    account: TokenAccount
    as_of: datetime = field(default_factory=timezone.now)

    def response(self, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        self.request.current_app = self.model_admin.admin_site.name
        return TemplateResponse(
            self.request, "django_token_pricing/admin/tokens/account.html", {**self.context(), **(extra_context or {})}
        )

    def context(self) -> dict[str, Any]:
        site, account = self.model_admin.admin_site, self.account
        balance = tokens.balance(account)
        name = owners.name_of(account)
        return {
            **site.each_context(self.request),
            "opts": self.model_admin.opts,
            "media": self.model_admin.media,
            "account": account,
            "title": name,
            "trail": [Link(capfirst(str(self.model_admin.opts.verbose_name_plural)), list_url(site, TokenAccount))],
            "tabs": self.model_admin.tabs(self.request),  # type: ignore[attr-defined]
            "section_name": self.model_admin.section_name,  # type: ignore[attr-defined]
            "tools": self.tools(),
            "state": self.state(),
            "facts": list(self.facts()),
            "zone": timezone.get_current_timezone_name(),
            **self.spent_and_left(balance),
            **self.limited(),
            **self.booked(),
            **self.members(),
        }

    def spent_and_left(self, balance: tokens.Balance) -> dict[str, Any]:
        """Lots, holds and usage, each for those who may view such rows, and the cards that follow from them."""
        site, account = self.model_admin.admin_site, self.account
        may_lots, may_use = self.may_view(TokenAllocation), self.may_view(TokenUsageLog)
        live = lots.live_lots(account, self.as_of, balance.held, site)
        used = spending.recent(account, self.as_of) if may_use else None
        holds = None
        if self.may_view(TokenHold):
            holds = statement.open_holds(account, self.as_of, site, {row.pk: row.key for row in live.rows})
        outlook = lots.outlook(live, used.pace, self.as_of) if used and used.pace else None
        return {
            "cards": list(self.cards(balance, holds, used, outlook)),
            "lots": live if may_lots else None,
            "lots_bar": lots.bar(live),
            "lots_note": self.lots_note(live, outlook),
            "lots_url": self.url(TokenAllocation),
            "holds": holds,
            "holds_url": self.url(TokenHold, status__exact=HoldStatus.OPEN.value),
            "may_use": may_use,
            "usage": spending.chart(used) if used else None,
            "usage_zone": timezone.get_default_timezone_name(),
            "usage_url": self.url(TokenUsageLog) if account.pool_id is None else "",
            "analytics_url": self.analytics_url,
        }

    def limited(self) -> dict[str, Any]:
        """The limits that count here, and a way to add one for this owner alone."""
        site, may_view = self.model_admin.admin_site, self.may_view(LimitRule)
        may_add = may_view and not self.account.is_closed and site._registry[LimitRule].has_add_permission(self.request)
        route = "admin:django_token_pricing_limitrule_add"
        return {
            "limits": limit_panel.rows(self.account, self.as_of, site) if may_view else None,
            "limits_url": self.url(LimitRule),
            "limits_add_url": f"{reverse(route, current_app=site.name)}?account={self.account.pk}" if may_add else "",
        }

    def booked(self) -> dict[str, Any]:
        may_view = self.may_view(LedgerEntry)
        lines = statement.last_lines(self.account, self.model_admin.admin_site) if may_view else []
        return {"may_entries": may_view, "lines": lines, "entries_url": self.url(LedgerEntry)}

    def may_view(self, model: Any) -> bool:
        return may_view(self.model_admin.admin_site, self.request, model)

    @property
    def may_view_costs(self) -> bool:
        return self.request.user.has_perm("django_token_pricing.view_costs")

    def url(self, model: Any, **filters: Any) -> str:
        """The list of this account's rows, or "" where this person may not see it."""
        if not self.may_view(model):
            return ""
        return list_url(self.model_admin.admin_site, model, account=self.account.pk, **filters)

    @property
    def analytics_url(self) -> str:
        """The page of when it uses what, "" where this person may not see analytics."""
        if not self.request.user.has_perm("django_token_pricing.view_analytics"):
            return ""
        route = "admin:django_token_pricing_tokenaccount_analytics"
        return reverse(route, args=(self.account.pk,), current_app=self.model_admin.admin_site.name)

    def tools(self) -> list[Link]:
        """What can be done here; where nothing can, the lists of what happened, which the panels lead to as well."""
        deeds: list[Link] = self.model_admin.deed_links(self.request, self.account)  # type: ignore[attr-defined]
        found = [Link(_("Audit"), self.url(AuditEvent))]
        if not deeds:
            found.insert(0, Link(_("Entries"), self.url(LedgerEntry)))
            if self.account.pool_id is None:
                found.insert(1, Link(_("Usage"), self.url(TokenUsageLog)))
        return [link for link in found if link.url] + deeds

    def state(self) -> tuple[str, str]:
        if self.account.is_closed:
            return "idle", _("Closed")
        if self.account.pool is not None and not self.account.pool.is_active:
            return "idle", _("Not active")
        return "ok", _("Active")

    def facts(self) -> Iterator[Fact]:
        account = self.account
        if account.pool_id is not None:
            yield Fact(_("Token pool"), "")
        if account.tier:
            yield Fact(_("Tier"), account.tier)
        if account.user_id is not None:
            user = get_user_model()
            if self.may_view(user):
                page = object_url(self.model_admin.admin_site, user, account.user_id)
                yield Fact(capfirst(str(user._meta.verbose_name)), owners.name_of(account), "", page)
            yield from self._subscription(account.user_id)
            yield from self._membership(account.user_id)
        yield Fact(_("Account %(number)s since") % {"number": account.pk}, day(account.created_at))

    def _subscription(self, user: Any) -> Iterator[Fact]:
        """The one that gives tokens now, else the latest."""
        if not self.may_view(SubscriptionMirror):
            return
        found = list(SubscriptionMirror.objects.filter(user=user, gone_at=None).order_by("-occurred_at", "-pk")[:20])
        if not found:
            return
        row = next((one for one in found if one.status not in OVER), found[0])
        after = row.get_status_display()
        if row.status not in OVER and row.period_ends_at:
            ends = row.cancel_at or row.period_ends_at
            words = _("ends %(day)s") if row.cancel_at else _("renews %(day)s")
            after = statement.joined(after, words % {"day": day(ends)})
        url = object_url(self.model_admin.admin_site, SubscriptionMirror, row.pk)
        yield Fact(_("Subscription"), row.plan_code or row.tier or row.external_ref, f"· {after}", url)

    def _membership(self, user: Any) -> Iterator[Fact]:
        member = (
            PoolMember.objects.select_related("pool").annotate(account=F("pool__account")).filter(user=user).first()
        )
        if member is None:
            return
        number_of_account = getattr(member, "account", None)
        url = object_url(self.model_admin.admin_site, TokenAccount, number_of_account) if number_of_account else ""
        yield Fact(_("Member of"), member.pool.name, "" if member.pool.is_active else _("(not active)"), url)

    def cards(
        self,
        balance: tokens.Balance,
        holds: statement.Holds | None,
        used: spending.Spending | None,
        outlook: lots.Outlook | None,
    ) -> Iterator[Card]:
        yield Card(_("Available"), figure(balance.available), note=_available_note(balance))
        yield Card(_("Held"), figure(balance.held), note=_held_note(holds) if holds else "")
        if used is None:
            return
        yield _used_card(used)
        yield _lasting_card(balance, used, outlook, self.as_of)
        if self.may_view_costs:
            yield _cost_card(used)

    def lots_note(self, live: lots.Lots, outlook: lots.Outlook | None) -> str:
        """What burns in which order, and what burns not at all."""
        if not live.rows or outlook is None:
            return ""
        if not outlook.lost or outlook.lost_from is None:
            return _("Spent in this order. At the pace of the last days nothing expires unused.")
        return _(
            "Spent in this order. At the pace of the last days %(tokens)s expire unused, the first on %(day)s."
        ) % {
            "tokens": short(outlook.lost),
            "day": day(outlook.lost_from),
        }

    def members(self) -> dict[str, Any]:
        """Who draws on this pool, the most first; nothing for other accounts."""
        pool = self.account.pool_id
        if pool is None or not self.may_view(TokenPool):
            return {"members": None}
        this_month = month_of(self.as_of, timezone.get_default_timezone())
        user = OuterRef("member__user")
        caps = PoolMember.objects.filter(pool=pool, user=user).values("monthly_cap")
        draws = (
            PoolDraw.objects.filter(pool=self.account, month=this_month, drawn__gt=0)
            .annotate(login=F(f"member__user__{owners.login_field()}"), cap=Subquery(caps[:1]))
            .order_by("-drawn", "pk")
        )
        site = self.model_admin.admin_site
        rows = [
            MemberRow(
                name=owners.name(getattr(draw, "login", None), None, draw.member_id),
                url=object_url(site, TokenAccount, draw.member_id),
                drawn=number(draw.drawn),
                cap=NOTHING if (cap := getattr(draw, "cap", None)) is None else number(cap),
            )
            for draw in draws[:MOST_MEMBERS]
        ]
        count = PoolMember.objects.filter(pool=pool).order_by()[:1001].count()
        words = _("more than 1,000 members") if count > 1000 else ngettext("%(n)s member", "%(n)s members", count)
        return {
            "members": rows,
            "members_count": words % {"n": number(count)},
            "members_month": month(this_month),
        }


def _available_note(balance: tokens.Balance) -> str:
    parts = []
    if balance.held:
        terms = {"balance": number(balance.available + balance.held), "held": number(balance.held)}
        parts.append(_("balance %(balance)s − held %(held)s") % terms)
    if waiting := balance.total - balance.available - balance.held:
        parts.append(_("%(tokens)s more start later") % {"tokens": short(waiting)})
    if pool := balance.spendable - balance.available:
        parts.append(_("%(tokens)s more from the pool") % {"tokens": short(pool)})
    return "; ".join(parts) or _("in lots that are live now")


def _held_note(holds: statement.Holds) -> str:
    if not holds.count:
        return _("no open hold")
    if holds.is_cut:
        return _("in more than %(count)s open holds") % {"count": number(holds.count)}
    return ngettext("in %(count)s open hold", "in %(count)s open holds", holds.count) % {"count": number(holds.count)}


def _used_card(used: spending.Spending) -> Card:
    spark = None
    if used.total:
        spark = charts.sparkline("tp-used", title=_("Tokens a day, 30 days"), values=used.totals)
    strong, note = "", _("no use in the 30 days before")
    if used.since is not None:
        note = _("more uses than are summed here for longer")
    elif used.before:
        strong, note = change(used.total, used.before), _("vs the 30 days before")
    label = _("Used in 30 days")
    if used.is_short and used.since is not None:
        label = _("Used since %(day)s") % {"day": short_day(used.since)}
    return Card(label, figure(used.total), strong, note, spark)


def _lasting_card(
    balance: tokens.Balance, used: spending.Spending, outlook: lots.Outlook | None, as_of: datetime
) -> Card:
    label = _("Lasts until")
    if balance.available <= 0:
        return Card(label, NOTHING, note=_("nothing is available"))
    if used.first_use is None:
        return Card(label, NOTHING, note=_("nothing was used lately"))
    if outlook is None or not used.pace:
        if used.pace == 0:
            return Card(label, NOTHING, note=_("nothing was used lately"))
        if used.since is not None:
            return Card(label, NOTHING, note=_("no whole day of its uses is summed here"))
        least, days = spending.LEAST_DAYS, used.full_days
        words = ngettext(
            "the pace needs %(least)s full days of use; there is %(count)s",
            "the pace needs %(least)s full days of use; there are %(count)s",
            days,
        )
        return Card(label, NOTHING, note=words % {"least": least, "count": days})
    words = ngettext(
        "at %(pace)s a day, the mean of %(count)s day",
        "at %(pace)s a day, the mean of %(count)s days",
        used.full_days,
    )
    note = words % {"pace": short(round(used.pace, 1)), "count": used.full_days}
    if outlook.ends_at is None:
        return Card(label, _("Over a year"), note=note)
    if timezone.localdate(outlook.ends_at) == timezone.localdate(as_of):
        return Card(label, _("Today"), note=note)
    return Card(label, day(outlook.ends_at), note=note)


def _cost_card(used: spending.Spending) -> Card:
    label = _("Cost of 30 days")
    if used.is_short and used.since is not None:
        label = _("Cost since %(day)s") % {"day": short_day(used.since)}
    if used.cost is None:
        return Card(label, NOTHING, note=_("no use names its cost"))
    uses = ngettext("of %(count)s use", "of %(count)s uses", used.uses) % {"count": number(used.uses)}
    return Card(label, money(used.cost, conf.current().DEFAULT_CURRENCY), note=uses)
