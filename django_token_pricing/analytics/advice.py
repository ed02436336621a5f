"""What to allocate to a tier a month, by what its accounts used: computed by a task, kept, and never while one waits.

Of each account that used anything in the last whole months the highest of these months counts, and what nine of ten of
them would have been content with is suggested. Pools and their members are left out: they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connections, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, QuerySet, Sum
from django.utils import timezone

from django_token_pricing.analytics.periods import today
from django_token_pricing.analytics.utilisation import MONTHS, whole_months
from django_token_pricing.choices import Source
from django_token_pricing.models import AccountMonth, PoolMember, TierAdvice, TokenAccount, TokenAllocation

# Of fewer active accounts a percentile says little.
ENOUGH = 10
# What a tier is allocated; what somebody bought or was promised is beside that.
LATELY = timedelta(days=31)
ALLOCATED = (Source.PLAN, Source.TRIAL, Source.MANUAL, Source.IMPORT)
COMPUTED = [field.name for field in TierAdvice._meta.concrete_fields if field.name not in ("id", "tier")]


@dataclass(frozen=True, slots=True)
class Advised:
    """How many tiers have advice now."""

    tiers: int


def advise() -> Advised:
    """Compute the advice of every tier anew, over the last whole months, and keep it in the place of the one before."""
    using = TierAdvice.objects.db
    months = whole_months(last_before=today(), count=MONTHS)
    now = timezone.now()
    advice = _accounts(months, now)
    _given(advice, now)
    _percentiles(advice, months, using)
    for one in advice.values():
        if one.active >= ENOUGH and one.most_use is not None:
            one.suggested = rounded_up(one.most_use)
    _short(advice, months, using)
    kept = TierAdvice.objects.using(using)
    # Of two at once each leaves rows that are whole.
    target = ["tier"] if connections[using].features.supports_update_conflicts_with_target else None
    with transaction.atomic(using=using):
        kept.bulk_create(advice.values(), update_conflicts=True, update_fields=COMPUTED, unique_fields=target)
        kept.exclude(tier__in=list(advice)).delete()
    return Advised(tiers=len(advice))


def rounded_up(amount: int) -> int:
    """To two digits, as allocations are told."""
    unit: int = 10 ** max(len(str(amount)) - 2, 0)
    return -(-amount // unit) * unit


def alone() -> QuerySet[TokenAccount]:
    """Accounts of people who are in no pool."""
    return TokenAccount.objects.filter(
        ~Exists(PoolMember.objects.filter(user=OuterRef("user"))), user__isnull=False
    ).order_by()


def _accounts(months: Sequence[date], now: datetime) -> dict[str, TierAdvice]:
    terms = {"made_at": now, "first_month": months[0], "months": len(months)}
    rows = alone().values("tier").annotate(n=Count("pk"))
    return {row["tier"]: TierAdvice(tier=row["tier"], accounts=row["n"], **terms) for row in rows}


def _given(advice: dict[str, TierAdvice], now: datetime) -> None:
    """What was allocated lately: a month's worth, whenever in the month an account gets its own."""
    lots = TokenAllocation.objects.filter(
        account__in=alone().values("pk"), source__in=ALLOCATED, booked_at__gt=now - LATELY, booked_at__lte=now
    )
    for row in lots.values("account__tier").annotate(n=Count("account", distinct=True), whole=Sum("amount")).order_by():
        if (one := advice.get(row["account__tier"])) is not None:
            one.given, one.granted = row["n"], Decimal(row["whole"])


def _peaks(months: Sequence[date], using: str) -> tuple[str, Sequence[Any]]:
    """`tier_name` and the highest month (`peak`) of each active account: the ORM has no words for percentiles."""
    rows = AccountMonth.objects.using(using).filter(month__in=months, tokens__gt=0, account__in=alone().values("pk"))
    peaks = (
        rows.annotate(tier_name=F("account__tier"))
        .values("account", "tier_name")
        .annotate(peak=Max("tokens"))
        .order_by()
    )
    sql, params = peaks.query.get_compiler(using).as_sql()
    return f"({sql}) peaks", params


def _percentiles(advice: dict[str, TierAdvice], months: Sequence[date], using: str) -> None:
    """Of n values in their order the median is the first that half of them do not exceed, and so on."""
    peaks, params = _peaks(months, using)
    ranked = (
        "SELECT tier_name, peak, ROW_NUMBER() OVER (PARTITION BY tier_name ORDER BY peak) AS place,"
        f" COUNT(*) OVER (PARTITION BY tier_name) AS n FROM {peaks}"
    )
    sql = (
        f"SELECT tier_name, peak, n, place * 10 >= n * 9 FROM ({ranked}) ranked"
        " WHERE (place * 2 >= n AND (place - 1) * 2 < n) OR (place * 10 >= n * 9 AND (place - 1) * 10 < n * 9)"
        " ORDER BY place"
    )
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        for tier, peak, count, is_high in cursor.fetchall():
            if (one := advice.get(tier)) is None:
                continue
            one.active = count
            if one.median is None:
                one.median = peak
            if is_high:
                one.most_use = peak


def _short(advice: dict[str, TierAdvice], months: Sequence[date], using: str) -> None:
    suggested = [(one.tier, one.suggested) for one in advice.values() if one.suggested is not None]
    if not suggested:
        return
    peaks, params = _peaks(months, using)
    whens = " ".join("WHEN %s THEN %s" for _one in suggested)
    sql = f"SELECT tier_name, COUNT(*) FROM {peaks} WHERE peak > CASE tier_name {whens} END GROUP BY tier_name"
    with connections[using].cursor() as cursor:
        cursor.execute(sql, [*params, *(value for one in suggested for value in one)])
        for tier, count in cursor.fetchall():
            if tier in advice:
                advice[tier].short = count
