"""What an account used lately, by day and feature: the chart, the table beside it, and the pace."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zlib import crc32

from django.db.models import Case, Count, F, QuerySet, Sum, Value, When
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.wording import NOTHING, number, short, short_day
from django_token_pricing.choices import EntryKind
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenUsageLog

DAYS = 30
LEAST_DAYS = 7
# Uses that are summed while somebody waits for the page; of an account with more, the latest whole days.
MOST_USES = 100_000
# Colours of features by name. The sixth, a red, comes last; the fifth is for what is left over.
SLOTS = (1, 2, 4, 3)
LAST_SLOT = 6
REST_SLOT = 5


@dataclass(slots=True)
class Spending:
    """The last 30 days up to `today`, which is not over, and the sum of the 30 days before.

    Of an account with very many uses only the days from `since` on; `is_cut` says that not even today is whole.
    """

    today: date
    opened: date
    since: date | None = None
    is_cut: bool = False
    by_feature: dict[str, list[int]] = field(default_factory=dict)
    before: int = 0
    uses: int = 0
    cost: Decimal | None = None
    first_use: date | None = None

    @property
    def days(self) -> list[date]:
        return [self.today - timedelta(days=DAYS - 1 - place) for place in range(DAYS)]

    @property
    def totals(self) -> list[int]:
        return [sum(column) for column in zip(*self.by_feature.values(), strict=True)] or [0] * DAYS

    @property
    def total(self) -> int:
        return sum(self.totals)

    @property
    def full_days(self) -> int:
        """Days that count for the pace: over, and not before the first use."""
        if self.first_use is None:
            return 0
        return min((self.today - self.first_use).days, DAYS - 1)

    @property
    def pace(self) -> float | None:
        """Tokens a day, the mean of 7 to 29 full days; None when there are fewer. With very many uses one is enough."""
        days = self.full_days
        return sum(self.totals[-1 - days : -1]) / days if days >= (1 if self.since else LEAST_DAYS) else None

    @property
    def is_short(self) -> bool:
        """Whether some of the 30 days are not summed."""
        return self.since is not None and self.since > self.days[0]


def recent(account: TokenAccount, as_of: datetime) -> Spending:
    """Two queries, over the index of the account's uses; a pool's are found through its entries."""
    zone = timezone.get_default_timezone()
    today = as_of.astimezone(zone).date()
    spending = Spending(today, account.created_at.astimezone(zone).date())
    # Days by their own bounds: MariaDB knows no zones unless someone has loaded their tables.
    start = today - timedelta(days=2 * DAYS - 1)
    bounds = [start_of_day(start + timedelta(days=place), zone) for place in range(2 * DAYS + 1)]

    def place_of(moment: str) -> Case:
        return Case(*(When(**{f"{moment}__lt": end}, then=Value(place)) for place, end in enumerate(bounds[1:])))

    period = (_bounded(account, spending, bounds), bounds[-1] - timedelta(microseconds=1))
    rows: QuerySet[Any, tuple[int, str | None, int, Decimal | None, int]]
    if account.pool_id is None:
        rows = (
            TokenUsageLog.objects.filter(account=account, used_at__range=period)
            .annotate(place=place_of("used_at"))
            .order_by()
            .values_list("place", "feature")
            .annotate(Sum("amount"), Sum("cost"), Count("pk"))
        )
    else:
        rows = (
            LedgerEntry.objects.filter(account=account, booked_at__range=period, kind=EntryKind.CONSUME)
            .annotate(place=place_of("booked_at"), feature=F("usage__feature"))
            .order_by()
            .values_list("place", "feature")
            .annotate(tokens=-Sum("amount"), cost=Sum("usage__cost"), uses=Count("usage", distinct=True))
        )
    by_feature: dict[str, list[int]] = defaultdict(lambda: [0] * DAYS)
    for place, feature, tokens, cost, uses in rows:
        day = start + timedelta(days=place)
        spending.first_use = min(spending.first_use or day, day)
        if place < DAYS:
            spending.before += tokens
            continue
        by_feature[feature or ""][place - DAYS] += tokens
        spending.uses += uses
        if cost is not None:
            spending.cost = (spending.cost or Decimal(0)) + cost
    spending.by_feature = dict(by_feature)
    return spending


def _bounded(account: TokenAccount, spending: Spending, bounds: list[datetime]) -> datetime:
    """From when on there are no more uses than can be summed: from the first whole day, if there is one."""
    rows: QuerySet[Any]
    if account.pool_id is None:
        name, rows = "used_at", TokenUsageLog.objects.filter(account=account)
    else:
        name, rows = "booked_at", LedgerEntry.objects.filter(account=account)
    newest = rows.filter(**{f"{name}__gte": bounds[0], f"{name}__lt": bounds[-1]}).order_by(f"-{name}")
    # The index alone answers this, however large the rows are.
    last = newest.values_list(name, flat=True)[MOST_USES : MOST_USES + 1].first()
    if last is None:
        return bounds[0]
    place = next((place for place, start in enumerate(bounds[:-1]) if start > last), None)
    spending.is_cut = place is None
    spending.since = spending.today if place is None else spending.today - timedelta(days=2 * DAYS - 1 - place)
    spending.opened = max(spending.opened, spending.since)
    return last + timedelta(microseconds=1) if place is None else bounds[place]


def series(spending: Spending) -> list[charts.Series]:
    """At most five features, the largest first, and the rest as one."""
    ranked = sorted(spending.by_feature.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown, rest = ranked[: len(SLOTS) + 1], ranked[len(SLOTS) + 1 :]
    slots = slots_of([name for name, _values in shown])
    found = [charts.Series(name or _("No feature named"), values, slots[name]) for name, values in shown]
    if rest:
        values = [sum(column) for column in zip(*(values for _name, values in rest), strict=True)]
        found.append(charts.Series(_("Other features"), values, REST_SLOT))
    return found


def slots_of(names: list[str]) -> dict[str, int]:
    """A colour for each name that depends on the name, not on its rank; of two that want the same one gives way."""
    free = list(SLOTS)
    taken: dict[str, int] = {}
    for name in sorted(names):
        wanted = SLOTS[crc32(name.encode()) % len(SLOTS)]
        taken[name] = wanted if wanted in free else free[0] if free else LAST_SLOT
        free = [slot for slot in free if slot != taken[name]]
    return taken


@dataclass(frozen=True, slots=True)
class Chart:
    svg: SafeString
    # In the order of the stack from the top, as names stand beside the chart.
    legend: list[charts.Series]
    names: list[str]
    rows: list[tuple[str, list[str], str]]
    # What is left out of it.
    note: str = ""


def chart(spending: Spending) -> Chart | None:
    """None when nothing was used."""
    found = series(spending)
    if not spending.total:
        return None
    days, totals = spending.days, spending.totals
    labels = [short_day(day) for day in days]
    highest = max(range(DAYS), key=lambda place: totals[place])
    if spending.is_short:
        words = _("%(total)s tokens since %(since)s. The highest day is %(day)s with %(most)s. Today is not over.")
    else:
        words = _("%(total)s tokens in 30 days. The highest day is %(day)s with %(most)s. Today is not over.")
    description = words % {
        "since": short_day(spending.since) if spending.since else "",
        "total": short(spending.total),
        "day": labels[highest],
        "most": short(totals[highest]),
    }
    rows = []
    for place in range(DAYS - 1, -1, -1):
        name = _("%(day)s, so far") % {"day": labels[place]} if place == DAYS - 1 else labels[place]
        is_open = days[place] >= spending.opened or totals[place]
        cells = [number(int(one.values[place] or 0)) if is_open else NOTHING for one in found]
        rows.append((name, cells, number(totals[place]) if is_open else NOTHING))
    return Chart(
        svg=charts.stacked_bars(
            "tp-usage", title=_("Tokens a day, by feature"), description=description, labels=labels, series=found
        ),
        legend=found[::-1],
        names=[one.name for one in found],
        rows=rows,
        note=_left_out(spending),
    )


def _left_out(spending: Spending) -> str:
    if not spending.is_short or spending.since is None:
        return ""
    if spending.is_cut:
        words = _("This account is used so much that only its last %(count)s uses are summed here, all of today.")
    else:
        words = _("This account is used so much that only the days since %(day)s are summed here.")
    return words % {"count": number(MOST_USES), "day": short_day(spending.since)}
