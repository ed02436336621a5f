"""Figures of accounts that lists sort and filter by, computed in the database for ranges of accounts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, transaction
from django.db.models import (
    Case,
    Count,
    DateTimeField,
    DecimalField,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce

from django_token_pricing import conf
from django_token_pricing.choices import AccountState, EntryKind, Source
from django_token_pricing.models import (
    AccountSummary,
    LedgerEntry,
    PoolDraw,
    SummaryRefresh,
    TokenAccount,
    TokenAllocation,
    TokenHoldLot,
    TokenUsageLog,
)
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.shares import used_shares

# Accounts whose summaries are computed by one statement.
RANGE = 20_000
KEPT = 100
MOST_NUMBER = 2**63 - 1
# A refresh that has written nothing for so long was killed.
SILENCE = timedelta(minutes=10)
SOON = timedelta(days=7)

_WHOLE = DecimalField(max_digits=30, decimal_places=0)


def free_tokens(at: datetime, *, source: Source | str | None = None) -> Combinable:
    """For a queryset of accounts: what their live lots hold less what is reserved of it, as `balance` counts it."""
    lots = TokenAllocation.objects.filter(account=OuterRef("pk"), is_open=True).live(at)
    held = TokenHoldLot.objects.filter(
        Q(allocation__expires_at=None) | Q(allocation__expires_at__gt=at),
        account=OuterRef("pk"),
        closed_at=None,
        expires_at__gt=at,
        allocation__starts_at__lte=at,
    )
    if source is not None:
        lots, held = lots.filter(source=source), held.filter(allocation__source=source)
    return _sum(lots, "remaining") - _sum(held, "amount")


def _sum(rows: QuerySet[Any], field: str, output: Any = None, by: str = "account") -> Coalesce:
    total = rows.order_by().values(by).annotate(n=Sum(field)).values("n")
    return Coalesce(Subquery(total), Value(0), **({"output_field": output} if output else {}))


def refresh_summaries() -> SummaryRefresh:
    """Compute the summaries of all accounts anew, range by range, each range by itself.

    Rows that did not change are not written. While another refresh is at work nothing is done, and that one is the
    answer, not finished yet; two that start in the same moment do the work twice, and no harm.
    """
    using = booking.database()
    now = booking.clock(using)
    runs = SummaryRefresh.objects.using(using)
    at_work = runs.filter(finished_at=None, seen_at__gt=now - SILENCE).order_by("-pk").first()
    if at_work is not None:
        return at_work
    run = runs.create(started_at=now, seen_at=now)
    for first, last in _ranges(using):
        run.seen_at = booking.clock(using)
        run.save(using=using, update_fields=["seen_at"])
        _refresh(first, last, run.seen_at, using)
    summaries = AccountSummary.objects.using(using)
    run.accounts = summaries.count()
    run.tiers = list(summaries.exclude(tier="").order_by("tier").values_list("tier", flat=True).distinct())
    run.totals = {**_totals(using), "used_shares": used_shares(using)}
    run.finished_at = run.seen_at = booking.clock(using)
    run.save(using=using)
    runs.filter(pk__lte=run.pk - KEPT).delete()
    return run


def _totals(using: str) -> dict[str, Any]:
    """What dashboards say of all accounts together, so that no request has to add them up."""
    now = booking.clock(using)
    soon = TokenAllocation.objects.using(using).filter(
        is_open=True, starts_at__lte=now, expires_at__gt=now, expires_at__lte=now + SOON
    )
    expiring = soon.aggregate(accounts=Count("account", distinct=True), tokens=Sum("remaining"))
    by_tier = AccountSummary.objects.using(using).order_by().values("tier")
    sums = by_tier.annotate(accounts=Count("pk"), free=Sum("available"), given=Sum("granted"))
    return {
        "tiers": {
            row["tier"]: {"accounts": row["accounts"], "available": int(row["free"]), "granted": int(row["given"])}
            for row in sums
        },
        "expiring_accounts": expiring["accounts"],
        "expiring_tokens": int(expiring["tokens"] or 0),
    }


def _ranges(using: str) -> Iterator[tuple[int, int]]:
    """First and last number of so many accounts at a time, however far apart the numbers are."""
    numbers = TokenAccount.objects.using(using).order_by("pk").values_list("pk", flat=True)
    first = numbers.first()
    while first is not None:
        later = numbers.filter(pk__gte=first)
        # The last range has fewer accounts, and is open to those that are made meanwhile.
        last = later[RANGE - 1 : RANGE].first() or MOST_NUMBER
        yield first, last
        first = numbers.filter(pk__gt=last).first()


def latest_refresh() -> SummaryRefresh | None:
    """The newest one that was finished; it says how old the summaries are."""
    runs = SummaryRefresh.objects.using(booking.database())
    return runs.filter(finished_at__isnull=False).order_by("-finished_at").first()


def _refresh(first: int, last: int, now: datetime, using: str) -> None:
    connection = connections[using]
    quote = connection.ops.quote_name
    figures = _figures(TokenAccount.objects.using(using).filter(pk__gte=first, pk__lte=last), now)
    inner, params = figures.query.get_compiler(using).as_sql()
    low = conf.current().LOW_BALANCE_PERCENT
    state = (
        f"CASE WHEN s_available <= 0 THEN '{AccountState.EMPTY.value}'"
        f" WHEN s_available * 100 <= s_granted * {low:d} OR s_available * 100 <= s_live * {low:d}"
        f" THEN '{AccountState.LOW.value}' ELSE '{AccountState.OK.value}' END"
    )
    share = (
        "CASE WHEN s_available > 0 THEN FLOOR(s_available * 100 / CASE WHEN s_granted > s_live THEN s_granted"
        " ELSE s_live END) WHEN s_granted > 0 OR s_live > 0 OR s_used > 0 THEN 0 END"
    )
    names = [field.attname for field in AccountSummary._meta.concrete_fields]
    computed = {"state": state, "share_left": share}
    values = ", ".join(computed.get(name, f"s_{name}") for name in names)
    table = quote(AccountSummary._meta.db_table)
    columns = ", ".join(quote(name) for name in names)
    rest = [quote(name) for name in names if name != "account_id"]
    if connection.vendor == "mysql":
        conflict = "ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = VALUES({name})" for name in rest)
    else:
        differs = " OR ".join(f"{table}.{name} IS DISTINCT FROM excluded.{name}" for name in rest)
        if connection.vendor == "sqlite":
            differs = differs.replace("IS DISTINCT FROM", "IS NOT")
        conflict = (
            f"ON CONFLICT ({quote('account_id')}) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in rest)
            + f" WHERE {differs}"
        )
    # The order inside lets two refreshes lock rows in the same one, and PostgreSQL computes each figure once instead
    # of wherever it is mentioned. Without a WHERE, SQLite would read ON CONFLICT as a part of a join.
    sql = f"INSERT INTO {table} ({columns}) SELECT {values} FROM ({inner}) figures WHERE s_account_id > 0 {conflict}"
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # The planner's costs add up to what seems worth compiling, and that takes longer than all the rest.
            cursor.execute("SET LOCAL jit = off")
        cursor.execute(sql, params)


def _figures(accounts: QuerySet[TokenAccount], now: datetime) -> QuerySet[Any]:
    since = booking.start_of_month(now)
    lots = TokenAllocation.objects.filter(account=OuterRef("pk"))
    live = lots.filter(is_open=True).live(now)
    given = lots.filter(booked_at__gte=since).exclude(source=Source.ROLLOVER)
    uses = TokenUsageLog.objects.filter(account=OuterRef("pk"))
    draws = PoolDraw.objects.filter(pool=OuterRef("pk"), month=booking.site_month(now))
    drawn = LedgerEntry.objects.filter(account=OuterRef("pk"), kind=EntryKind.CONSUME)
    expiry = live.filter(expires_at__isnull=False).order_by()
    # A lot of a year is not granted this month: what is live counts as well for what is little.
    annotated: QuerySet[Any] = accounts.annotate(
        s_account_id=F("pk"),
        s_tier=F("tier"),
        s_available=free_tokens(now),
        s_granted=Cast(_sum(given, "amount", _WHOLE), _WHOLE),
        # A pool uses nothing itself: its members draw on it.
        s_used=Case(
            When(pool__isnull=False, then=_sum(draws, "drawn", _WHOLE, by="pool")),
            default=_sum(uses.filter(used_at__gte=since), "amount", _WHOLE),
            output_field=_WHOLE,
        ),
        s_live=Cast(_sum(live, "amount", _WHOLE), _WHOLE),
        s_next_expiry=Subquery(
            expiry.values("account").annotate(n=Min("expires_at")).values("n"), output_field=DateTimeField()
        ),
        s_last_used_at=Case(
            When(pool__isnull=False, then=Subquery(drawn.order_by("-booked_at").values("booked_at")[:1])),
            default=Subquery(uses.order_by("-used_at").values("used_at")[:1]),
            output_field=DateTimeField(),
        ),
    )
    return annotated.order_by("pk").values(*(name for name in annotated.query.annotations))
