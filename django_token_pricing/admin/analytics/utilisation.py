"""Utilisation: who wastes what was allocated, who runs dry, and what to allocate instead. It is of this month."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import analytics
from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.filter_bar import name_of
from django_token_pricing.admin.analytics.overview_tables import months_in_words
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import NOTHING, clock, day, moment, number, per_cent, short, short_day
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import UsedShare
from django_token_pricing.models import TierAdvice, TokenAccount

MOST_TIERS = 30
MOST_SERIES = 5
LONGEST = 24
OTHER_SLOT = 5
# In the order of the bars. Who had nothing wasted nothing, and stands in the table alone.
SHARES = (UsedShare.TENTH, UsedShare.HALF, UsedShare.MOST, UsedShare.ALL, UsedShare.DRY)


@dataclass(frozen=True, slots=True)
class TierRow:
    name: str
    url: str
    accounts: str
    cells: Sequence[tuple[str, str]]
    nothing: str


@dataclass(frozen=True, slots=True)
class AdviceRow:
    name: str
    now: str
    median: str
    suggested: str
    covered: str
    short: str
    saved: str
    based_on: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    name: SafeString
    url: str
    tier: str
    available: str
    pace: str
    when: str
    lasts: str = ""


class UtilisationView(DashboardView):
    page = "utilisation"
    title = gettext_lazy("Utilisation")
    template_name = "django_token_pricing/admin/analytics/utilisation.html"
    filter_class = None
    drawings = {"shares": "shares_chart"}

    @cached_property
    def shares(self) -> analytics.Shares | None:
        return analytics.used_shares()

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """By tier, those with the most accounts first; of one tier, where that was chosen."""
        found = self.shares.tiers if self.shares else {}
        wanted = self.slice.tiers
        ranked = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
        return {tier: dict(counts) for tier, counts in ranked if not wanted or tier in wanted}

    def tools(self) -> list[Link]:
        return [Link(_("Export"), self.export_url("utilisation"))]

    @property
    def reached(self) -> str:
        at = self.shares.counted_at if self.shares else None
        return _("Accounts as of %(time)s.") % {"time": clock(at, timezone.now())} if at else ""

    def total(self, *wanted: UsedShare) -> int:
        return sum(counts.get(share.value, 0) for counts in self.counts.values() for share in wanted)

    def notes(self) -> list[Note]:
        if not self.slice.tiers:
            return []
        names = ", ".join(name_of("tier", tier) for tier in self.slice.tiers)
        strong = _("Only accounts of these tiers: %(names)s.") % {"names": charts.clipped(names, 80)}
        return [Note("info", strong, "", self.url_with(tier=None), _("All tiers"))]

    def cards(self) -> list[Card]:
        return list(self._cards()) if self.counts else []

    def _cards(self) -> Iterator[Card]:
        had = self.total(*SHARES)
        words = {
            UsedShare.TENTH: _("Use less than 10%"),
            UsedShare.MOST: _("Use 50 to 90%"),
            UsedShare.DRY: _("Ran dry this month"),
        }
        count = ngettext("of %(count)s account", "of %(count)s accounts", had) % {"count": number(had)}
        yield Card(_("Accounts with tokens"), number(had), note=_("this month, without pools and their members"))
        for share, label in words.items():
            found = self.total(share)
            yield Card(label, number(found), per_cent(found / had) if had and found else "", count)

    def panels(self) -> dict[str, Any]:
        return {
            "is_empty": not self.counts,
            "heads": short_labels(),
            "tiers": list(self.tiers())[:MOST_TIERS],
            "more_tiers": max(len(self.counts) - MOST_TIERS, 0),
            **self.advice(),
            **self.accounts(),
        }

    # How much was used

    def shares_chart(self) -> charts.Chart | None:
        if not self.total(*SHARES):
            return None
        names = list(self.counts)[:MOST_SERIES]
        colours = self.names.colours("tier", names)
        series = [
            charts.Series(
                name_of("tier", tier), [self.counts[tier].get(share.value, 0) for share in SHARES], colours[tier]
            )
            for tier in names
        ]
        if rest := list(self.counts)[MOST_SERIES:]:
            others = [sum(self.counts[tier].get(share.value, 0) for tier in rest) for share in SHARES]
            series.append(charts.Series(_("Other tiers"), others, OTHER_SLOT))
        labels, named = short_labels(), [str(share.label) for share in SHARES]
        totals = [self.total(share) for share in SHARES]
        highest = max(range(len(totals)), key=lambda place: totals[place])
        title = _("How much of their tokens accounts used")
        rows = [
            charts.Row(label, share.value, [*(one.values[place] for one in series), totals[place]])
            for place, (label, share) in enumerate(zip(named, SHARES, strict=True))
        ]
        return charts.Chart(
            title=title,
            about=_("Accounts, by the share of what they had that they used this month"),
            svg=charts.stacked_bars(
                "tp-shares",
                title=title,
                description=_("Most accounts, %(count)s, are in “%(share)s”.")
                % {"count": number(totals[highest]), "share": named[highest]},
                labels=labels,
                series=series,
                every=1,
                tips=named,
            ),
            table=charts.Table([_("Used"), *(one.name for one in series), _("Total")], rows),
            keys=charts.keys_of(series),
            is_direct=True,
        )

    def tiers(self) -> Iterator[TierRow]:
        for tier, counts in self.counts.items():
            had = sum(counts.get(share.value, 0) for share in SHARES)
            cells = []
            for share in SHARES:
                found = counts.get(share.value, 0)
                cells.append((number(found), per_cent(found / had) if had and found else ""))
            yield TierRow(
                name=charts.clipped(name_of("tier", tier), LONGEST),
                url=self.url_with(tier=tier or "(none)"),
                accounts=number(had),
                cells=cells,
                nothing=number(counts.get(UsedShare.NOTHING.value, 0)),
            )

    # What to allocate

    def advice(self) -> dict[str, Any]:
        rows = TierAdvice.objects.order_by("-accounts", "tier")
        if self.slice.tiers:
            rows = rows.filter(tier__in=self.slice.tiers)
        found = list(rows[:MOST_TIERS])
        told = {"advice": [_advised(one) for one in found], "advised_at": "", "advised_months": ""}
        if found:
            months = analytics.months_from(found[0].first_month, found[0].months)
            told |= {"advised_at": moment(found[0].made_at), "advised_months": months_in_words(months)}
        return told

    # Who

    def accounts(self) -> dict[str, Any]:
        if not may_view(self.site, self.request, TokenAccount):
            return {"may_accounts": False}
        tiers = self.slice.tiers
        idle, dry = analytics.idle_accounts(tiers=tiers), analytics.running_dry(tiers=tiers)
        numbers = [one.account for one in idle] + [one.account for one in dry]
        named = owners.with_owner(TokenAccount.objects.filter(pk__in=numbers), path="")
        names = {
            pk: owners.name(login, pool, pk) for pk, login, pool in named.values_list("pk", "owner_login", "owner_pool")
        }

        def row(one: analytics.Idle | analytics.Short, pace: str, when: str, lasts: str = "") -> AccountRow:
            name = owners.breakable(names.get(one.account, owners.name(None, None, one.account)))
            url, tier = object_url(self.site, TokenAccount, one.account), charts.clipped(one.tier, LONGEST) or NOTHING
            return AccountRow(name, url, tier, short(one.available), pace, when, lasts)

        return {
            "may_accounts": True,
            "idle": [
                row(one, short(one.a_month), day(one.next_expiry) if one.next_expiry else NOTHING, _lasting(one))
                for one in idle
            ],
            "dry": [row(one, short(round(one.pace, 1)), short_day(one.dry_at)) for one in dry],
            "accounts_url": list_url(self.site, TokenAccount),
        }


def short_labels() -> list[str]:
    """The steps under a chart and over a narrow column."""
    return [_("< 10%"), _("10–50%"), _("50–90%"), _("> 90%"), _("Ran dry")]


def _lasting(one: analytics.Idle) -> str:
    """How long it has tokens for at its pace."""
    if one.lasts is None:
        return _("nothing is used")
    if one.lasts > 120:
        return _("more than 10 years")
    months = round(one.lasts)
    return ngettext("%(count)s month", "%(count)s months", months) % {"count": number(months)}


def _advised(one: TierAdvice) -> AdviceRow:
    each = int(one.granted) // one.given if one.given else None
    suggested = one.suggested
    saved = int(one.granted) - suggested * one.given if suggested is not None and one.given else None
    covered = one.active - one.short
    based_on = _("%(active)s of %(accounts)s accounts used anything") % {
        "active": number(one.active),
        "accounts": number(one.accounts),
    }
    return AdviceRow(
        name=charts.clipped(name_of("tier", one.tier), LONGEST),
        now=NOTHING if each is None else number(each),
        median=NOTHING if one.median is None else number(one.median),
        suggested=NOTHING if suggested is None else number(suggested),
        covered=NOTHING if suggested is None else per_cent(covered / one.active),
        short=NOTHING if suggested is None else number(one.short),
        saved=NOTHING if saved is None else number(saved),
        based_on=based_on,
    )
