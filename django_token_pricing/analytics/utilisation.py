"""Who wastes what was allocated, who runs dry, and what to allocate instead.

A page over a million accounts computes none of it: it reads what refreshes and tasks have stored, and of lists of
accounts their first few hundred rows, found by an index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.analytics.periods import today, zone
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import AccountMonth, AccountSummary, TokenAccount

SHOWN = 20
# Accounts that a list looks at: those with the most tokens, or the least left.
CANDIDATES = 500
# Whole months by which a month's use is judged.
MONTHS = 3
# Who uses less of what they have in a month wastes it.
LITTLE = Decimal("0.10")
SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Shares:
    """How many accounts of each tier used how much of what they had this month, as of a refresh of the summaries."""

    counted_at: datetime
    tiers: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Idle:
    """An account that uses little of what it has; `a_month` is the mean of its whole months, 3 at most."""

    account: int
    tier: str
    available: int
    a_month: int
    next_expiry: datetime | None

    @property
    def lasts(self) -> float | None:
        """In months; None where nothing is used."""
        return self.available / self.a_month if self.a_month else None


@dataclass(frozen=True, slots=True)
class Short:
    """An account that has run dry before long at its pace, in tokens a day over this month and the one before."""

    account: int
    tier: str
    available: int
    pace: float
    dry_at: datetime


def used_shares() -> Shares | None:
    """None before the first refresh that counted them."""
    refresh = tokens.latest_refresh()
    if refresh is None or "used_shares" not in refresh.totals or refresh.finished_at is None:
        return None
    return Shares(refresh.finished_at, refresh.totals["used_shares"])


def whole_months(*, last_before: date, count: int = MONTHS) -> list[date]:
    """The first days of the whole months before that day's, the oldest first."""
    found: list[date] = []
    first = last_before.replace(day=1)
    for _ in range(count):
        first = (first - timedelta(days=1)).replace(day=1)
        found.insert(0, first)
    return found


def months_from(first: date, count: int) -> list[date]:
    """So many first days of months, from this one on."""
    found = [first]
    while len(found) < count:
        found.append((found[-1] + timedelta(days=32)).replace(day=1))
    return found


def idle_accounts(*, tiers: Sequence[str] = (), n: int = SHOWN) -> list[Idle]:
    """Of the accounts that have the most tokens, those that use less than a tenth of them in a month.

    Pools are left out, and accounts that have not been there for a whole month. Four queries.
    """
    rows = _summaries(tiers).filter(available__gt=0).order_by("-available", "-account")
    candidates = list(rows.values(*FIELDS)[:CANDIDATES])
    accounts = [row["account"] for row in candidates]
    months = whole_months(last_before=today())
    used, opened = _used(accounts, months), _opened(accounts)
    found = []
    for row in candidates:
        since, by_month = opened.get(row["account"]), used[row["account"]]
        # Usage from before the account was opened here was brought along.
        begun = min(by_month, default=today())
        there = [month for month in months if since is not None and (month > since or month >= begun)]
        if not there:
            continue
        mean = sum(by_month.values()) // len(there)
        if max(mean, int(row["used"])) < LITTLE * (row["available"] + row["used"]):
            found.append(Idle(row["account"], row["tier"], row["available"], mean, row["next_expiry"]))
    return found[:n]


def running_dry(*, tiers: Sequence[str] = (), n: int = SHOWN, as_of: datetime | None = None) -> list[Short]:
    """Of the accounts with the least left and of those that used most, who has run dry in two weeks at its pace.

    Five queries.
    """
    now = as_of or timezone.now()
    rows = _summaries(tiers).filter(available__gt=0)
    least = rows.filter(share_left__isnull=False).order_by("share_left", "account").values(*FIELDS)[:CANDIDATES]
    most = rows.filter(used__gt=0).order_by("-used", "-account").values(*FIELDS)[:CANDIDATES]
    candidates = {row["account"]: row for row in [*least, *most] if row["used"]}
    opened = _opened(candidates)
    before = whole_months(last_before=today(), count=1)
    used = _used(candidates, before)
    first = today().replace(day=1)
    days_before, days = (first - before[0]).days, (today() - first).days + 1
    found = []
    for number, row in candidates.items():
        if number not in opened:
            continue
        earlier = used[number].get(before[0], 0)
        # The day that is not over counts as one; who did not use anything before is judged by this month alone.
        pace = (earlier + int(row["used"])) / (days + days_before if earlier else days)
        left = timedelta(days=min(row["available"] / pace, 36_500))
        if left <= SOON:
            found.append(Short(number, row["tier"], row["available"], pace, now + left))
    return sorted(found, key=lambda one: (one.dry_at, one.account))[:n]


FIELDS = ("account", "tier", "available", "used", "next_expiry")


def _summaries(tiers: Sequence[str]) -> QuerySet[Any]:
    rows = AccountSummary.objects.all()
    return rows.filter(tier__in=tiers) if tiers else rows


def _used(accounts: Iterable[int], months: Sequence[date]) -> dict[int, dict[date, int]]:
    found: dict[int, dict[date, int]] = defaultdict(dict)
    for step in steps(list(accounts)):
        rows = AccountMonth.objects.filter(account__in=step, month__in=months)
        for account, month, used in rows.values_list("account", "month", "tokens"):
            found[account][month] = used
    return found


def _opened(accounts: Iterable[int]) -> dict[int, date]:
    """Since when there are those of these accounts that are no pools."""
    found: dict[int, date] = {}
    for step in steps(list(accounts)):
        rows = TokenAccount.objects.filter(pk__in=step, pool=None).values_list("pk", "created_at")
        found |= {pk: created_at.astimezone(zone()).date() for pk, created_at in rows}
    return found
