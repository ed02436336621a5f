"""One account's last 90 days: when it uses what, read from its own rows by the index of the account.

An account has no roll-up of days, so its uses are read, as many as can be summed while somebody waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet

from django_token_pricing.analytics.currencies import EXACT, NONE
from django_token_pricing.analytics.periods import zone
from django_token_pricing.analytics.rollups.portable import Prices
from django_token_pricing.choices import EntryKind
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.lib.provider_usage import Counts
from django_token_pricing.models import TOKEN_COUNTS, LedgerEntry, ModelPrice, TokenAccount, TokenUsageLog
from django_token_pricing.tokens import prices
from django_token_pricing.tokens.prices import lookup

DAYS = 90
# Uses that are summed while somebody waits; of an account with more, the latest whole days.
MOST_USES = 100_000
# Model, feature, and the row of the price list.
Key = tuple[str, str, int | None]
FACTS = ("provider", "model", "feature", "cost", *TOKEN_COUNTS)


@dataclass(slots=True)
class Part:
    """Of a model or feature; `unpriced` of the uses have no known cost."""

    name: str
    requests: int = 0
    tokens: int = 0
    cost: Decimal = NONE
    unpriced: int = 0


@dataclass(slots=True)
class Pattern:
    """From `since` to `last`, which is not over. `is_cut`: not even that day is whole."""

    since: date
    last: date
    is_short: bool = False
    is_cut: bool = False
    days: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    # By weekday, from Monday, and hour.
    grid: list[list[int]] = field(default_factory=lambda: [[0] * 24 for _ in range(7)])
    models: list[Part] = field(default_factory=list)
    features: list[Part] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(self.days.values())

    @property
    def active_days(self) -> int:
        return sum(tokens > 0 for tokens in self.days.values())


@dataclass(slots=True)
class _Sum:
    """Uses of a model and a feature at one price: costs are computed once for all of them, as they add up."""

    requests: int = 0
    tokens: int = 0
    given: Decimal = NONE
    # Uses without a cost of their own: with counts, and without any.
    counted: int = 0
    uncounted: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(TOKEN_COUNTS))


def pattern(account: TokenAccount, *, as_of: datetime, with_costs: bool = False) -> Pattern:
    """What the account used, or what its members drew of a pool, by day, weekday and hour, model and feature.

    At most three queries.
    """
    zone_ = zone()
    last = as_of.astimezone(zone_).date()
    first = last - timedelta(days=DAYS - 1)
    name, rows = _rows(account)
    upto = start_of_day(last + timedelta(days=1), zone_)
    rows = rows.filter(**{f"{name}__gte": start_of_day(first, zone_), f"{name}__lt": upto})
    found = Pattern(since=first, last=last)
    # The index alone answers this, however large the rows are.
    beyond = rows.order_by(f"-{name}").values_list(name, flat=True)[MOST_USES : MOST_USES + 1].first()
    if beyond is not None:
        found.is_short = True
        found.since = min(beyond.astimezone(zone_).date() + timedelta(days=1), last)
        found.is_cut = beyond >= start_of_day(last, zone_)
        start = beyond + timedelta(microseconds=1) if found.is_cut else start_of_day(found.since, zone_)
        rows = rows.filter(**{f"{name}__gte": start})
    sums: dict[Key, _Sum] = defaultdict(_Sum)
    known = Prices(TokenUsageLog.objects.db) if with_costs else None
    priced: dict[int, ModelPrice] = {}
    for at, tokens, is_new, facts in _uses(account, rows, name):
        wall = at.astimezone(zone_)
        found.days[wall.date()] += tokens
        found.grid[wall.weekday()][wall.hour] += tokens
        provider, model, feature = (str(text or "") for text in facts[:3])
        price = known.at(provider, model, at) if known else None
        if price is not None:
            priced[price.pk] = price
        one = sums[model, feature, None if price is None else price.pk]
        one.tokens += tokens
        if is_new:
            _count(one, facts)
    found.models = _parts({key: (key[0], one) for key, one in sums.items()}, priced)
    found.features = _parts({key: (key[1], one) for key, one in sums.items()}, priced)
    return found


def _rows(account: TokenAccount) -> tuple[str, QuerySet[Any]]:
    """A pool's uses are found through its entries: they are rows of its members."""
    if account.pool_id is None:
        return "used_at", TokenUsageLog.objects.filter(account=account)
    return "booked_at", LedgerEntry.objects.filter(account=account, kind=EntryKind.CONSUME)


def _uses(
    account: TokenAccount, rows: QuerySet[Any], name: str
) -> Iterator[tuple[datetime, int, bool, tuple[Any, ...]]]:
    """Moment, tokens, whether it is the first of the rows of this use, and facts."""
    if account.pool_id is None:
        for at, amount, *facts in rows.order_by().values_list(name, "amount", *FACTS).iterator():
            yield at, amount, True, tuple(facts)
        return
    seen: set[int] = set()
    named = rows.order_by().annotate(drawn=-F("amount"))
    for at, amount, use, *facts in named.values_list(
        name, "drawn", "usage_id", *(f"usage__{fact}" for fact in FACTS)
    ).iterator():
        yield at, amount, use not in seen, tuple(facts)
        seen.add(use)


def _count(one: _Sum, facts: tuple[Any, ...]) -> None:
    cost, counts = facts[3], facts[4:]
    one.requests += 1
    if cost is not None:
        one.given = EXACT.add(one.given, cost)
    elif counts[0] is None and counts[1] is None:
        one.uncounted += 1
    else:
        one.counted += 1
        for place, count in enumerate(counts):
            one.counts[place] += count or 0


def _parts(sums: dict[Key, tuple[str, _Sum]], priced: dict[int, ModelPrice]) -> list[Part]:
    found: dict[str, Part] = {}
    for key, (name, one) in sums.items():
        part = found.setdefault(name, Part(name))
        part.requests += one.requests
        part.tokens += one.tokens
        row = priced.get(key[2]) if key[2] is not None else None
        given, made, read, kept, thought = one.counts
        counts = Counts(input=given, output=made, cached_read=read, cached_write=kept, reasoning=thought)
        cost = prices.cost_of(counts, lookup.price(row)) if row else None
        part.cost = EXACT.add(part.cost, EXACT.add(one.given, cost or NONE))
        part.unpriced += one.uncounted + (one.counted if cost is None else 0)
    return sorted(found.values(), key=lambda part: (-part.tokens, part.name))
