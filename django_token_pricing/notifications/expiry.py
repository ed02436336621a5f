"""Tokens that expire soon, and tokens that have expired: one warning for all of an account's that end on one day.

A lot that ends at midnight ends on the day before, as people say. What has expired is told when the day is over, so
that it is the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.lookups import IsNull
from django.utils import timezone

from django_token_pricing.choices import EntryKind
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenAllocation, WarningRule, WarningState
from django_token_pricing.notifications.firing import Due, states_of

# Candidates that one query reads.
PIECE = 20_000
# What expired on an earlier day than these is no news any more.
DAYS_BACK = 3


def expiring(rule: WarningRule, at: datetime, using: str) -> Iterator[list[Due]]:
    """Open lots that end between now and the end of the day so many days ahead."""
    zone = timezone.get_default_timezone()
    today = at.astimezone(zone).date()
    lots = TokenAllocation.objects.using(using).filter(is_open=True, expires_at__gt=at)
    for ahead in range((rule.days or 0) + 1):
        day = today + timedelta(days=ahead)
        yield from _of_day(rule, day, lots, "remaining", "", using)


def expired(rule: WarningRule, at: datetime, using: str) -> Iterator[list[Due]]:
    """What was booked as expired of lots that ended on one of the last days, since the rule is there."""
    zone = timezone.get_default_timezone()
    today = at.astimezone(zone).date()
    first = max(today - timedelta(days=DAYS_BACK), rule.created_at.astimezone(zone).date())
    # Open ones are those of which a hold reserves something still.
    entries = LedgerEntry.objects.using(using).filter(kind=EntryKind.EXPIRE, allocation__is_open__in=[True, False])
    for back in range((today - first).days, 0, -1):
        yield from _of_day(rule, today - timedelta(days=back), entries, "amount", "allocation__", using)


def _of_day(
    rule: WarningRule, day: date, rows: QuerySet[Any], amount: str, lot: str, using: str
) -> Iterator[list[Due]]:
    """Accounts with lots that end on the day, as far as they were not told of it."""
    zone = timezone.get_default_timezone()
    ends_at = start_of_day(day + timedelta(days=1), zone)
    period = day.isoformat()
    done = WarningState.objects.filter(rule=rule, account=OuterRef("account"), period=period)
    rows = rows.filter(
        Q(account__user__isnull=False) | Q(account__pool__isnull=False)
        if rule.tells_admins
        else Q(account__user__isnull=False),
        # One probe of an index for each row, also while PostgreSQL has no statistics of new states.
        IsNull(Subquery(done.values("pk")[:1]), True),
        **{f"{lot}expires_at__gt": start_of_day(day, zone), f"{lot}expires_at__lte": ends_at},
    )
    if rule.tier:
        rows = rows.filter(account__tier=rule.tier)
    sums = rows.order_by().values("account").annotate(n=Sum(amount), first=Min(f"{lot}expires_at"))
    if lot:
        sums = sums.filter(n__lte=-max(rule.tokens or 0, 1))
    elif rule.tokens:
        sums = sums.filter(n__gte=rule.tokens)
    last = 0
    while True:
        piece = list(sums.filter(account__gt=last).order_by("account").values_list("account", "n", "first")[:PIECE])
        for batch in steps(piece):
            # What is over has its state a little longer than anybody looks for it.
            kept_until = ends_at + timedelta(days=DAYS_BACK + 2)
            yield _dues(rule, batch, day, kept_until, ends_at, using)
        if len(piece) < PIECE:
            return
        last = piece[-1][0]


def _dues(
    rule: WarningRule,
    batch: Any,
    day: date,
    kept_until: datetime,
    ends_at: datetime,
    using: str,
) -> list[Due]:
    accounts = (
        TokenAccount.objects.using(using).only("user", "pool", "tier").in_bulk([pk for pk, _amount, _first in batch])
    )
    states = states_of([rule], list(accounts.values()), [day.isoformat()], using)
    return [
        Due(
            rule=rule,
            account=accounts[pk],
            period=day.isoformat(),
            ends_at=kept_until,
            facts={
                "tokens": abs(int(amount)),
                "day": day.isoformat(),
                # Where they end with the day, the day says it all.
                "ends_at": None if first == ends_at else first.isoformat(),
            },
        )
        for pk, amount, first in batch
        if pk in accounts and (rule.pk, pk, day.isoformat()) not in states
    ]
