"""The ledger's contract in plain Python, without a database: what the state machine compares the package with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Berlin")
TICK = timedelta(microseconds=1)


class Refused(Exception):
    """By which error of the package, and with which of its facts."""

    def __init__(self, error: str, **facts: Any) -> None:
        super().__init__(error, facts)
        self.error = error
        self.facts = facts


@dataclass
class Lot:
    owner: str
    amount: int
    left: int
    priority: int
    starts: datetime
    expires: datetime | None
    booked: datetime
    # Order of birth; the row's number once it is known.
    number: int = 0

    def live(self, at: datetime) -> bool:
        return self.starts <= at and not self.expired(at)

    def expired(self, at: datetime) -> bool:
        return self.expires is not None and self.expires <= at


@dataclass
class Hold:
    owner: str
    amount: int
    expires: datetime
    parts: list[tuple[Lot, int]]
    status: str = "open"
    settled: int | None = None

    def reserves(self, at: datetime) -> bool:
        return self.status == "open" and self.expires > at


@dataclass
class Use:
    owner: str
    pool: str | None
    at: datetime
    parts: list[tuple[Lot, int]]
    refunded: dict[int, int] = field(default_factory=dict)

    def left(self, lot: Lot, drawn: int) -> int:
        return drawn - self.refunded.get(id(lot), 0)


@dataclass(frozen=True)
class Answer:
    """What matters of an answer; None where the verb does not say it."""

    amount: int
    balance_after: int
    at: datetime
    lots: tuple[tuple[int, int], ...] | None = None
    lapsed: int | None = None
    expires: datetime | None = None


@dataclass
class Member:
    pool: str
    cap: int | None


@dataclass
class Found:
    """What a deed can draw: the hold's parts, own lots, the pool's; and what is short."""

    own: list[tuple[Lot, int]]
    pooled: list[tuple[Lot, int]]
    left: int
    short: int
    pool: str | None
    cap: int | None
    used: int
    pool_left: int


class Model:
    def __init__(self, users: list[str], pools: list[str]) -> None:
        self.users = users
        self.pools = pools
        self.members: dict[str, Member] = {}
        self.inactive: set[str] = set()
        self.lots: list[Lot] = []
        self.holds: dict[str, Hold] = {}
        self.uses: dict[str, Use] = {}
        self.draws: dict[tuple[str, str, date], int] = {}
        self.last: dict[str, datetime] = {}
        # What each key was used for, and the answer.
        self.keys: dict[str, tuple[tuple[Any, ...], Answer]] = {}
        self.now = datetime.min  # noqa: DTZ901 - set before the first step

    # Reading

    def held(self, lot: Lot, at: datetime, but: Hold | None = None) -> int:
        return sum(
            amount
            for hold in self.holds.values()
            if hold is not but and hold.reserves(at)
            for part, amount in hold.parts
            if part is lot
        )

    def paying(self, owner: str, at: datetime) -> list[Lot]:
        lots = [lot for lot in self.lots if lot.owner == owner and lot.live(at) and lot.left]
        return sorted(lots, key=lambda lot: (lot.priority, lot.expires is None, lot.expires or at, lot.number))

    def available(self, owner: str, at: datetime, but: Hold | None = None) -> int:
        return sum(lot.left - self.held(lot, at, but) for lot in self.paying(owner, at))

    def pool_of(self, user: str) -> str | None:
        member = self.members.get(user)
        return member.pool if member and member.pool not in self.inactive else None

    def month(self, at: datetime) -> date:
        return at.astimezone(ZONE).date().replace(day=1)

    def month_end(self, at: datetime) -> datetime:
        following = (self.month(at) + timedelta(days=31)).replace(day=1)
        return datetime.combine(following, time.min, tzinfo=ZONE).astimezone(timezone.utc)

    def cap_used(self, user: str, pool: str, at: datetime, but: Hold | None = None) -> int:
        held = sum(
            amount
            for hold in self.holds.values()
            if hold is not but and hold.owner == user and hold.reserves(at)
            for lot, amount in hold.parts
            if lot.owner == pool
        )
        return self.draws.get((pool, user, self.month(at)), 0) + held

    def latest(self, owner: str) -> datetime:
        """Now, unless the account has booked later than the clock says."""
        return max(self.now, self.last.get(owner, self.now))

    def balance(self, owner: str) -> tuple[int, int, int, int, datetime | None]:
        """available, held, total, spendable, next_expiry"""
        at = self.latest(owner)
        available = self.available(owner, at)
        held = sum(self.held(lot, at) for lot in self.lots if lot.owner == owner)
        waiting = sum(lot.left for lot in self.lots if lot.owner == owner and lot.starts > at)
        gives, pool = 0, self.pool_of(owner)
        if pool:
            gives = self.available(pool, self.latest(pool))
            cap = self.members[owner].cap
            if cap is not None:
                gives = max(min(gives, cap - self.cap_used(owner, pool, self.now)), 0)
        ends = [lot.expires for lot in self.paying(owner, at) if lot.expires]
        return available, held, available + held + waiting, available + gives, min(ends, default=None)

    # Writing

    def moment(self, *owners: str | None) -> datetime:
        """The clock, but later than all that these accounts have booked."""
        return max([self.now, *(self.last[owner] + TICK for owner in owners if owner in self.last)])  # type: ignore[index]

    def recall(self, key: str | None, facts: tuple[Any, ...]) -> Answer | None:
        if key is None or key not in self.keys:
            return None
        if self.keys[key][0] != facts:
            raise Refused("IdempotencyConflict")
        return self.keys[key][1]

    def remember(self, key: str | None, facts: tuple[Any, ...], answer: Answer) -> Answer:
        if key is not None:
            self.keys[key] = (facts, answer)
        return answer

    def grant(
        self,
        owner: str,
        amount: int,
        key: str,
        source: str,
        priority: int,
        starts: datetime | None,
        expires: datetime | None,
    ) -> Answer:
        facts = ("grant", owner, amount, source)
        if known := self.recall(key, facts):
            return known
        at = self.moment(owner)
        if expires is not None and expires <= (starts or at):
            raise Refused("InvalidMoment")
        self.lots.append(Lot(owner, amount, amount, priority, starts or at, expires, at))
        self.last[owner] = at
        return self.remember(key, facts, Answer(amount, self.available(owner, at), at))

    def find(self, owner: str, amount: int, hold: Hold | None) -> tuple[Found, datetime]:
        pool = self.pool_of(owner) if owner in self.users else None
        reserved = None
        if hold and hold.status == "open" and hold.expires > self.now:
            reserved = next((lot.owner for lot, _ in hold.parts if lot.owner != owner), None)
        if reserved is not None:
            # A use is paid by one pool at most.
            at = self.moment(owner, reserved)
            return self.draw(owner, amount, hold, at, reserved if pool == reserved else None), at
        at = self.moment(owner)
        found = self.draw(owner, amount, hold, at, None)
        if found.short and pool and any(lot.owner == pool for lot in self.lots):
            at = self.moment(owner, pool)
            found = self.draw(owner, amount, hold, at, pool)
        return found, at

    def draw(self, owner: str, amount: int, hold: Hold | None, at: datetime, pool: str | None) -> Found:
        found = Found([], [], 0, amount, None, None, 0, 0)
        taken: dict[int, int] = {}

        def take(parts: list[tuple[Lot, int]], lot: Lot, most: int) -> int:
            share = min(most, found.short)
            if share:
                found.short -= share
                before = taken.get(id(lot), 0)
                if before:
                    parts[[part is lot for part, _ in parts].index(True)] = (lot, before + share)
                else:
                    parts.append((lot, share))
                taken[id(lot)] = before + share
            return share

        if hold and hold.reserves(at):
            for lot, part in hold.parts:
                take(found.own if lot.owner == owner else found.pooled, lot, part)
        for lot in self.paying(owner, at):
            free = lot.left - self.held(lot, at, hold) - taken.get(id(lot), 0)
            found.left += free - take(found.own, lot, free)
        if pool and found.short:
            found.pool, found.cap = pool, self.members[owner].cap
            found.used = self.cap_used(owner, pool, at, hold)
            found.used += sum(part for lot, part in found.pooled if lot.owner == pool)
            most = None if found.cap is None else max(found.cap - found.used, 0)
            for lot in self.paying(pool, at):
                free = lot.left - self.held(lot, at, hold) - taken.get(id(lot), 0)
                share = take(found.pooled, lot, free if most is None else min(free, most))
                most = None if most is None else most - share
                found.pool_left += free - share
        return found

    def refuse(self, found: Found, amount: int, at: datetime) -> None:
        if not found.short:
            return
        facts: dict[str, Any] = {
            "requested": amount,
            "available": found.left + sum(part for _, part in found.own),
            "spendable": amount - found.short,
        }
        if found.pool_left >= found.short:
            wait = None
            if amount - facts["available"] <= (found.cap or 0):
                wait = ceil((self.month_end(at) - at) / timedelta(seconds=1))
            facts |= {"rule": None, "metric": "tokens", "window": "month", "retry_after": wait}
            raise Refused("PoolCapReached", limit=found.cap, used=found.used, **facts)
        raise Refused("InsufficientTokens", **facts)

    def use(self, key: str | None, owner: str, amount: int, found: Found, at: datetime) -> Answer:
        parts = found.own + found.pooled
        for lot, part in parts:
            lot.left -= part
        self.last[owner] = at
        for lot, part in found.pooled:
            place = (lot.owner, owner, self.month(at))
            self.draws[place] = self.draws.get(place, 0) + part
            self.last[lot.owner] = at
        if found.pool:
            self.last[found.pool] = at
        if key is not None:
            pool = found.pooled[0][0].owner if found.pooled else None
            self.uses[key] = Use(owner, pool, at, parts)
        return Answer(amount, self.available(owner, at), at, tuple((lot.number, part) for lot, part in parts))

    def consume(self, owner: str, amount: int, key: str | None) -> Answer:
        facts = ("consume", owner, amount)
        if known := self.recall(key, facts):
            return known
        found, at = self.find(owner, amount, None)
        self.refuse(found, amount, at)
        return self.remember(key, facts, self.use(key, owner, amount, found, at))

    def hold(self, owner: str, amount: int, key: str, ttl: timedelta) -> Answer:
        facts = ("hold", owner, amount)
        if known := self.recall(key, facts):
            return known
        found, at = self.find(owner, amount, None)
        self.refuse(found, amount, at)
        self.holds[key] = Hold(owner, amount, at + ttl, found.own + found.pooled)
        self.last[owner] = at
        if found.pooled:
            self.last[found.pooled[0][0].owner] = at
        return self.remember(key, facts, Answer(amount, self.available(owner, at), at, expires=at + ttl))

    def ended(self, key: str) -> Hold:
        if key not in self.keys:
            raise Refused("UnknownKey")
        if key not in self.holds:
            raise Refused("IdempotencyConflict")
        return self.holds[key]

    def settle(self, key: str, amount: int) -> Answer:
        hold = self.ended(key)
        if hold.status == "settled":
            if hold.settled == amount:
                return self.keys[f"settled {key}"][1]
            raise Refused("IdempotencyConflict")
        if hold.status == "released":
            raise Refused("HoldExpired")
        found, at = self.find(hold.owner, amount, hold)
        self.refuse(found, amount, at)
        if hold.reserves(at):
            for lot, _ in hold.parts:
                self.last[lot.owner] = at
        hold.status, hold.settled = "settled", amount
        return self.remember(f"settled {key}", (), self.use(key, hold.owner, amount, found, at))

    def release(self, key: str) -> Answer:
        hold = self.ended(key)
        if hold.status == "settled":
            raise Refused("IdempotencyConflict")
        if hold.status == "released":
            return self.keys[f"released {key}"][1]
        at = self.moment(hold.owner, *(lot.owner for lot, _ in hold.parts))
        back = hold.amount if at < hold.expires else 0
        hold.status = "released"
        for owner in {hold.owner, *(lot.owner for lot, _ in hold.parts)}:
            self.last[owner] = at
        return self.remember(f"released {key}", (), Answer(back, self.available(hold.owner, at), at))

    def refund(self, key: str, amount: int | None, own_key: str | None) -> Answer:
        if key not in self.uses:
            raise Refused("UnknownKey")
        use = self.uses[key]
        facts = ("refund", use.owner, amount, key)
        own_key = own_key or f"refund of {key}"
        if known := self.recall(own_key, facts):
            return known
        most = sum(use.left(lot, drawn) for lot, drawn in use.parts)
        wanted = most if amount is None else amount
        if not 0 < wanted <= most:
            raise Refused("InvalidAmount")
        at = self.moment(use.owner, use.pool)
        back, lapsed = [], 0
        touched = {use.owner, use.pool} - {None}
        late = set()
        for lot, drawn in reversed(use.parts):
            share = min(use.left(lot, drawn), wanted)
            if not share:
                continue
            wanted -= share
            back.append((lot, share))
            use.refunded[id(lot)] = use.refunded.get(id(lot), 0) + share
            if lot.expired(at):
                lapsed += share
                late.add(lot.owner)
            else:
                lot.left += share
            if lot.owner == use.pool:
                self.draws[use.pool, use.owner, self.month(use.at)] -= share
        for owner in touched:
            self.last[owner] = at + TICK if owner in late else at  # type: ignore[index]
        # Own lots are named first, though the last that paid are the first to get back.
        back.sort(key=lambda part: part[0].owner != use.owner)
        lots = tuple((lot.number, share) for lot, share in back)
        answer = Answer(sum(n for _, n in lots), self.available(use.owner, at), at, lots, lapsed)
        return self.remember(own_key, facts, answer)

    def subtract(self, owner: str, amount: int, key: str) -> Answer:
        facts = ("subtract", owner, amount)
        if known := self.recall(key, facts):
            return known
        at = self.moment(owner)
        free = self.available(owner, at)
        if amount > free:
            raise Refused("InsufficientTokens", requested=amount, available=free, spendable=free)
        return self.remember(key, facts, self.take_out(owner, amount, at, amount))

    def take_out(self, owner: str, amount: int, at: datetime, said: int) -> Answer:
        parts = []
        for lot in self.paying(owner, at):
            share = min(lot.left - self.held(lot, at), amount)
            if share:
                amount -= share
                parts.append((lot, share))
        for lot, share in parts:
            lot.left -= share
        self.last[owner] = at
        return Answer(said, self.available(owner, at), at, tuple((lot.number, share) for lot, share in parts))

    def set_balance(self, owner: str, amount: int, key: str) -> Answer:
        facts = ("set", owner, amount)
        if known := self.recall(key, facts):
            return known
        at = self.moment(owner)
        change = amount - self.available(owner, at)
        if change <= 0:
            return self.remember(key, facts, self.take_out(owner, -change, at, amount))
        self.lots.append(Lot(owner, change, change, 100, at, None, at))
        self.last[owner] = at
        return self.remember(key, facts, Answer(amount, amount, at))

    def rollover(self, lot: Lot, amount: int | None, expires: datetime | None, key: str) -> Answer:
        facts = ("rollover", lot.owner, amount, lot.number)
        if known := self.recall(key, facts):
            return known
        at = self.moment(lot.owner)
        free = 0 if lot.expired(at) else lot.left - self.held(lot, at)
        moved = free if amount is None else amount
        if moved > free or not moved:
            raise Refused("InsufficientTokens", requested=max(moved, 1), available=free, spendable=free)
        starts = max(lot.starts, at)
        if expires is not None and expires <= starts:
            raise Refused("InvalidMoment")
        lot.left -= moved
        self.lots.append(Lot(lot.owner, moved, moved, lot.priority, starts, expires, at))
        self.last[lot.owner] = at
        return self.remember(key, facts, Answer(moved, self.available(lot.owner, at), at))

    def expire(self) -> tuple[int, int, int]:
        """How many lots and tokens lapsed, and how many holds were void."""
        void = [hold for hold in self.holds.values() if hold.status == "open" and hold.expires <= self.now]
        for hold in void:
            hold.status = "expired"
        lots = tokens = 0
        touched = set()
        for lot in self.lots:
            gone = lot.left - self.held(lot, self.now) if lot.expired(self.now) else 0
            if gone:
                lot.left -= gone
                lots, tokens = lots + 1, tokens + gone
                touched.add(lot.owner)
        for owner in touched:
            self.last[owner] = self.moment(owner)
        return lots, tokens, len(void)
