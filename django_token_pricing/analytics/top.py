"""The accounts that used most in some months, without a look at all accounts.

Each month's largest accounts come from its index. Their sums over the months are the result, as soon as no account that
was not among them could have a larger one; else more of each month are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections, router
from django.db.models import F, Q, Sum

from django_token_pricing.models import AccountMonth

# So many of each month are read; where that proves nothing, the next.
WIDTHS = (200, 5_000)
MOST_MONTHS = 12


@dataclass(frozen=True, slots=True)
class TopAccount:
    """`before` is what it used in as many months before; `share_left` is of what it was granted, in per cent."""

    account: int
    login: Any
    pool: str | None
    tier: str
    tokens: int
    requests: int
    cost: Decimal
    before: int
    share_left: int | None


@dataclass(frozen=True, slots=True)
class Top:
    """`is_proven` is False where another account could have used as much as the last of these."""

    months: tuple[date, ...]
    rows: tuple[TopAccount, ...]
    is_proven: bool = True


def top_accounts(months: Iterable[date], most: int = 8, *, by: str = "tokens") -> Top:
    """Those that used most in these calendar months, of which the last twelve count; by tokens or by cost.

    Two queries, as long as usage is not spread evenly over more than 200 accounts.
    """
    if by not in ("tokens", "cost"):
        raise ValueError(f"Accounts are not ranked by {by}.")
    wanted = tuple(sorted(set(months))[-MOST_MONTHS:])
    if not wanted:
        return Top((), ())
    candidates: list[int] = []
    is_proven = False
    for width in WIDTHS:
        candidates, is_proven = _candidates(wanted, most, by, width)
        if is_proven:
            break
    return Top(wanted, tuple(_rows(wanted, candidates, by)[:most]), is_proven)


def _candidates(months: Sequence[date], most: int, by: str, width: int) -> tuple[list[int], bool]:
    """Accounts among which the largest are, and whether they surely are."""
    seen: dict[int, dict[int, Decimal]] = defaultdict(dict)
    last: dict[int, Decimal] = {}
    count: dict[int, int] = defaultdict(int)
    for place, account, amount in _largest(months, by, width):
        seen[account][place] = amount
        last[place] = amount
        count[place] += 1
    # Of a month that was read to its end nobody is left out.
    rest = {
        place: last[place] if count[place] >= width else Decimal(0) for place in range(len(months)) if place in last
    }
    least = sorted((sum(found.values()) for found in seen.values()), reverse=True)[:most]
    bar = least[-1] if len(least) == most else Decimal(0)
    possible = [
        account
        for account, found in seen.items()
        if sum(found.values()) + sum(amount for place, amount in rest.items() if place not in found) >= bar
    ]
    return possible, sum(rest.values()) <= bar


def _largest(months: Sequence[date], by: str, width: int) -> list[tuple[int, int, Decimal]]:
    """The largest of each month, in one statement."""
    connection = connections[router.db_for_read(AccountMonth)]
    table = connection.ops.quote_name(AccountMonth._meta.db_table)
    part = (
        f"SELECT * FROM (SELECT %s AS place, account_id, {by} AS amount FROM {table} WHERE month = %s"
        f" ORDER BY {by} DESC, account_id LIMIT %s) m{{}}"
    )
    statement = " UNION ALL ".join(part.format(place) for place in range(len(months)))
    given: list[Any] = []
    for place, month in enumerate(months):
        given += [place, connection.ops.adapt_datefield_value(month), width]
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        # Drivers give decimals as numbers or as text.
        return [(int(place), account, Decimal(str(amount))) for place, account, amount in cursor.fetchall()]


def _rows(months: Sequence[date], accounts: Sequence[int], by: str) -> list[TopAccount]:
    before = _before(months)
    login = f"account__user__{get_user_model().USERNAME_FIELD}"
    now, earlier = Q(month__in=months), Q(month__in=before)
    rows = (
        AccountMonth.objects.filter(now | earlier, account__in=accounts)
        .values(
            "account_id",
            login=F(login),
            pool=F("account__pool__name"),
            tier=F("account__tier"),
            share_left=F("account__summary__share_left"),
        )
        .annotate(
            sum_tokens=Sum("tokens", filter=now),
            sum_requests=Sum("requests", filter=now),
            sum_cost=Sum("cost", filter=now),
            before=Sum("tokens", filter=earlier),
        )
        .order_by()
    )
    found = [
        TopAccount(
            account=row["account_id"],
            login=row["login"],
            pool=row["pool"],
            tier=row["tier"],
            tokens=row["sum_tokens"] or 0,
            requests=row["sum_requests"] or 0,
            cost=row["sum_cost"] or Decimal(0),
            before=row["before"] or 0,
            share_left=row["share_left"],
        )
        for row in rows
    ]
    return sorted((row for row in found if row.requests), key=lambda row: (-getattr(row, by), row.account))


def _before(months: Sequence[date]) -> list[date]:
    """As many months before the first."""
    found: list[date] = []
    month = months[0]
    for _month in months:
        month = (month - timedelta(days=1)).replace(day=1)
        found.append(month)
    return found
