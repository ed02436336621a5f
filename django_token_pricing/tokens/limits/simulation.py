"""What a limit would have done to uses that have happened, in their order.

It decides as `counters.check` does: a use passes when it fits into what the window has left, one that is refused does
not count, a refund gives back from its own moment on. What other limits would have refused is left as it happened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, Protocol

from django_token_pricing.choices import LimitMetric, LimitMode
from django_token_pricing.lib import windows
from django_token_pricing.models import LimitRule

# Windows that are kept ready; a new one costs as much as some uses.
MOST_WINDOWS = 50_000


class Row(NamedTuple):
    """A use, with the columns that a replay reads."""

    id: int
    account: int
    used_at: datetime
    amount: int
    model: str
    feature: str
    tier: str
    member_of: int | None
    is_refunded: bool


# When a use was, and how much it counts by now.
Use = list[Any]
# When, and how many tokens.
Refund = tuple[datetime, int]


class Meter(Protocol):
    """How much was used in the window of the moment it was moved to."""

    seen: int

    def move_to(self, at: datetime) -> None: ...
    def count(self, use: Use) -> None: ...
    def take_back(self, use: Use, amount: int) -> None: ...


class Calendar:
    """Windows that share their ends, or one that is all time."""

    def __init__(self, window_of: Callable[[datetime], tuple[datetime, datetime | None]]) -> None:
        self.window_of = window_of
        self.starts_at: datetime | None = None
        self.ends_at: datetime | None = None
        self.seen = 0

    def move_to(self, at: datetime) -> None:
        if self.starts_at is None or (self.ends_at is not None and at >= self.ends_at):
            self.starts_at, self.ends_at = self.window_of(at)
            self.seen = 0

    def count(self, use: Use) -> None:
        self.seen += use[1]

    def take_back(self, use: Use, amount: int) -> None:
        if self.starts_at is not None and use[0] >= self.starts_at:
            self.seen -= amount


class Rolling:
    """The uses of the last hour, day…, each until it is older than that."""

    def __init__(self, length: timedelta) -> None:
        self.length = length
        self.since: datetime | None = None
        self.uses: deque[Use] = deque()
        self.seen = 0

    def move_to(self, at: datetime) -> None:
        self.since = at - self.length
        while self.uses and self.uses[0][0] < self.since:
            self.seen -= self.uses.popleft()[1]

    def count(self, use: Use) -> None:
        self.uses.append(use)
        self.seen += use[1]

    def take_back(self, use: Use, amount: int) -> None:
        if self.since is not None and use[0] >= self.since:
            use[1] -= amount
            self.seen -= amount


class Single:
    """Each request for itself."""

    seen = 0

    def move_to(self, at: datetime) -> None: ...
    def count(self, use: Use) -> None: ...
    def take_back(self, use: Use, amount: int) -> None: ...


class Windows:
    """The windows of a calendar period; those that were asked for are kept, as account after account is in them."""

    def __init__(self, period: str, zone: tzinfo) -> None:
        self.period = period
        self.zone = zone
        self.starts: list[datetime] = []
        self.known: list[tuple[datetime, datetime | None]] = []

    def of(self, at: datetime) -> tuple[datetime, datetime | None]:
        place = bisect_right(self.starts, at)
        if place:
            found = self.known[place - 1]
            if found[1] is None or at < found[1]:
                return found
        found = windows.bounds(self.period, at, self.zone)
        if len(self.known) < MOST_WINDOWS:
            self.starts.insert(place, found[0])
            self.known.insert(place, found)
        return found


@dataclass(slots=True)
class Refused:
    """What was refused of one account."""

    uses: int
    tokens: int
    first_at: datetime


@dataclass(slots=True)
class Findings:
    """What a limit would have done. Days are those of the site."""

    uses: int = 0
    governed: int = 0
    refused: int = 0
    tokens: int = 0
    over_uses: int = 0
    over: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    days: Counter[str] = field(default_factory=Counter)
    accounts: dict[int, Refused] = field(default_factory=dict)


class Simulation:
    """One rule, over the uses of one account after the other, or of all members of a pool as one."""

    def __init__(
        self,
        rule: LimitRule,
        zone: tzinfo,
        *,
        since: datetime,
        governs: Callable[[Row], bool] | None,
        refunds: Callable[[Sequence[Row]], dict[int, list[Refund]]],
        told: Callable[[Row], None] | None = None,
    ) -> None:
        """Uses before `since` count and pass. `governs` says whether the rule is the one for a use (None: always);
        `refunds` gives those of the uses that have any; `told` hears of each use that is refused.
        """
        self.rule = rule
        self.zone = zone
        self.since = since
        self.governs = governs
        self.refunds = refunds
        self.told = told
        self.windows = Windows(rule.period, zone)
        self.found = Findings()

    def meter(self) -> Meter:
        if not self.rule.period:
            return Single()
        if windows.is_rolling(self.rule.period):
            return Rolling(windows.length_of(self.rule.period))
        return Calendar(self.windows.of)

    def run(self, blocks: Iterable[Sequence[tuple[Any, ...]]], *, is_one: bool) -> Findings:
        """Rows in the order of account (unless they are one stream), moment, number."""
        rule, found, since, governs = self.rule, self.found, self.since, self.governs
        is_tokens = rule.metric == LimitMetric.TOKENS
        is_hard = rule.mode != LimitMode.SOFT
        limit, most = rule.limit, rule.limit + rule.grace
        account, meter = None, self.meter()
        due: list[tuple[datetime, int, Use, int]] = []
        order = count()
        for block in blocks:
            refunds = self.refunds([Row(*row) for row in block if row[8]])
            for row in block:
                pk, used_at, amount = row[0], row[2], row[3]
                if row[1] != account and not is_one:
                    account, meter = row[1], self.meter()
                    due.clear()
                meter.move_to(used_at)
                while due and due[0][0] <= used_at:
                    _at, _order, use, back = heappop(due)
                    meter.take_back(use, back)
                add = amount if is_tokens else 1
                if used_at >= since:
                    found.uses += 1
                    if governs is None or governs(Row(*row)):
                        found.governed += 1
                        if is_hard and add > max(most - meter.seen, 0):
                            self._refuse(Row(*row))
                            continue
                        over = add - max(limit - meter.seen, 0)
                        if over > 0:
                            found.over_uses += 1
                            found.over += over
                use = [used_at, add]
                meter.count(use)
                if pk in refunds:
                    for at, back in _given_back(refunds[pk], amount, is_tokens):
                        heappush(due, (at, next(order), use, back))
        return found

    def _refuse(self, row: Row) -> None:
        found = self.found
        found.refused += 1
        found.tokens += row.amount
        found.first_at = min(found.first_at or row.used_at, row.used_at)
        found.last_at = max(found.last_at or row.used_at, row.used_at)
        found.days[row.used_at.astimezone(self.zone).date().isoformat()] += 1
        of = found.accounts.get(row.account)
        if of is None:
            found.accounts[row.account] = Refused(1, row.amount, row.used_at)
        else:
            of.uses += 1
            of.tokens += row.amount
        if self.told is not None:
            self.told(row)


def _given_back(refunds: list[Refund], amount: int, is_tokens: bool) -> Iterable[Refund]:
    """What each refund takes off the counter: its tokens, or the request once the whole of it was given back."""
    if is_tokens:
        yield from refunds
        return
    left = amount
    for at, back in sorted(refunds):
        left -= back
        if left <= 0 < left + back:
            yield at, 1
