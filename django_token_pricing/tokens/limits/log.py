"""What the usage log says: what an account has used in a window, and what is held of it now.

The log is the truth that counters keep ready. An account's uses are charged ones, net of refunds; of a pool they are
its own and those that its members made while they were in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from django_token_pricing.choices import EntryKind, HoldStatus, LimitMetric
from django_token_pricing.models import LedgerEntry, TokenHold, TokenUsageLog


class Used(NamedTuple):
    """How much of each metric; equal to a plain pair."""

    tokens: int = 0
    requests: int = 0

    def of(self, metric: str) -> int:
        return self.tokens if metric == LimitMetric.TOKENS else self.requests

    def plus(self, other: Used) -> Used:
        return Used(self.tokens + other.tokens, self.requests + other.requests)

    def minus(self, other: Used) -> Used:
        return Used(self.tokens - other.tokens, self.requests - other.requests)


def used(account: int, starts_at: datetime, ends_at: datetime | None, using: str) -> Used:
    """What the account used in a half-open stretch of time, open at its end where there is none."""
    # A use that was refunded whole is no request any more.
    counted = Count("pk", filter=Q(amount=0) | Q(amount__gt=F("back")))
    sums = _uses(account, starts_at, ends_at, using).aggregate(tokens=Sum(F("amount") - F("back")), requests=counted)
    return Used(sums["tokens"] or 0, sums["requests"])


def each_used(account: int, starts_at: datetime, using: str) -> Iterator[tuple[datetime, Used]]:
    """The uses since a moment, one by one."""
    rows = _uses(account, starts_at, None, using).values_list("used_at", "amount", "back")
    for used_at, amount, back in rows:
        yield used_at, Used(amount - back, int(amount == 0 or amount > back))


def _uses(account: int, starts_at: datetime, ends_at: datetime | None, using: str) -> QuerySet[Any]:
    refunds = LedgerEntry.objects.filter(usage=OuterRef("pk"), kind=EntryKind.REFUND).order_by()
    back = Subquery(refunds.values("usage").annotate(n=Sum("amount")).values("n"))
    whose = Q(account=account) | Q(member_of=account)
    uses = TokenUsageLog.objects.using(using).filter(whose, is_charged=True, used_at__gte=starts_at)
    if ends_at is not None:
        uses = uses.filter(used_at__lt=ends_at)
    return uses.annotate(back=Coalesce(back, 0)).order_by()


def open_holds(account: int, now: datetime, using: str, *, without_hold: int | None = None) -> QuerySet[TokenHold]:
    """Holds that count in full: of the account, and of a pool's members."""
    whose = Q(account=account) | Q(member_of=account)
    holds = TokenHold.objects.using(using).filter(whose, status=HoldStatus.OPEN, expires_at__gt=now)
    return holds if without_hold is None else holds.exclude(pk=without_hold)


def held(account: int, now: datetime, using: str, *, without_hold: int | None = None) -> Used:
    sums = open_holds(account, now, using, without_hold=without_hold).aggregate(tokens=Sum("amount"), n=Count("pk"))
    return Used(sums["tokens"] or 0, sums["n"])
