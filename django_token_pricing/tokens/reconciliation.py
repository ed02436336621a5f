"""Proof: every number that is kept twice is compared, in one snapshot, and every row that disagrees is named.

Nothing is repaired here. On PostgreSQL and MariaDB the snapshot is a REPEATABLE READ transaction of its own, so that
traffic is not taken for drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from datetime import timezone as tz

from django.db import connections, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.exceptions import UnsupportedIsolation
from django_token_pricing.lib.digests import digest
from django_token_pricing.tokens import booking

_PREFIX = "django_token_pricing_"
_FIRST = booking.BEGINNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One row that disagrees: which rule, which table and row, what was found, what it should be."""

    rule: str
    table: str
    row: int
    found: int | None
    expected: int | None

    def __str__(self) -> str:
        return _("%(table)s %(row)s: %(rule)s is %(found)s and should be %(expected)s.") % {
            "table": self.table,
            "row": self.row,
            "rule": self.rule,
            "found": self.found,
            "expected": self.expected,
        }


_REFUNDS = "(SELECT usage_id, sum(amount) AS back FROM {p}ledgerentry WHERE kind = 'refund' GROUP BY usage_id)"

# (rule, table, query of row, found, expected). History that was pruned is not asked to add up: `since` is where the
# kept history begins, `month` the first whole calendar month in it.
RULES: list[tuple[str, str, str]] = [
    (
        "remaining, against the sum of its entries",
        "tokenallocation",
        """
        SELECT a.id, a.remaining, coalesce(e.total, 0) FROM {p}tokenallocation a
        LEFT JOIN (SELECT allocation_id, sum(amount) AS total FROM {p}ledgerentry GROUP BY allocation_id) e
            ON e.allocation_id = a.id
        WHERE a.remaining <> coalesce(e.total, 0)
        """,
    ),
    (
        "lot balance, against the entries of the lot until then",
        "ledgerentry",
        """
        SELECT x.id, x.lot_balance, x.upto FROM (
            SELECT id, lot_balance, sum(amount) OVER (PARTITION BY allocation_id ORDER BY booked_at, id) AS upto
            FROM {p}ledgerentry) x
        WHERE x.lot_balance <> x.upto
        """,
    ),
    (
        "balance, against the lots of the account",
        "tokenaccount",
        """
        SELECT t.id, t.balance, coalesce(a.total, 0) FROM {p}tokenaccount t
        LEFT JOIN (SELECT account_id, sum(remaining) AS total FROM {p}tokenallocation GROUP BY account_id) a
            ON a.account_id = t.id
        WHERE t.balance <> coalesce(a.total, 0)
        """,
    ),
    (
        "running balance, against the entry before and its own amount",
        "ledgerentry",
        """
        SELECT x.id, x.balance_after, x.prior + x.amount FROM (
            SELECT id, amount, balance_after,
                lag(balance_after) OVER (PARTITION BY account_id ORDER BY booked_at, id) AS prior
            FROM {p}ledgerentry WHERE booked_at >= {since}) x
        WHERE x.prior IS NOT NULL AND x.balance_after <> x.prior + x.amount
        """,
    ),
    (
        "account of an entry, against the account of its lot",
        "ledgerentry",
        """
        SELECT e.id, e.account_id, a.account_id FROM {p}ledgerentry e
        JOIN {p}tokenallocation a ON a.id = e.allocation_id WHERE a.account_id <> e.account_id
        """,
    ),
    (
        "tokens of a charged use, against the entries that paid",
        "tokenusagelog",
        """
        SELECT u.id, u.amount, coalesce(e.total, 0) FROM {p}tokenusagelog u
        LEFT JOIN (SELECT usage_id, -sum(amount) AS total FROM {p}ledgerentry WHERE kind = 'consume'
            GROUP BY usage_id) e ON e.usage_id = u.id
        WHERE u.booked_at >= {since} AND CASE WHEN u.is_charged THEN u.amount ELSE 0 END <> coalesce(e.total, 0)
        """,
    ),
    (
        "tokens refunded, against the tokens that the use drew",
        "tokenusagelog",
        """
        SELECT u.id, r.total, u.amount FROM {p}tokenusagelog u
        JOIN (SELECT usage_id, sum(amount) AS total FROM {p}ledgerentry WHERE kind = 'refund' GROUP BY usage_id) r
            ON r.usage_id = u.id
        WHERE r.total > u.amount
        """,
    ),
    (
        "tokens held, against the lots that the hold reserves",
        "tokenhold",
        """
        SELECT h.id, h.amount, coalesce(l.total, 0) FROM {p}tokenhold h
        LEFT JOIN (SELECT hold_id, sum(amount) AS total FROM {p}tokenholdlot GROUP BY hold_id) l ON l.hold_id = h.id
        WHERE h.booked_at >= {since} AND h.amount <> coalesce(l.total, 0)
        """,
    ),
    (
        "tokens left in a lot, against what open holds reserve of it (at least)",
        "tokenallocation",
        """
        SELECT a.id, a.remaining, l.total FROM {p}tokenallocation a
        JOIN (SELECT allocation_id, sum(amount) AS total FROM {p}tokenholdlot
            WHERE closed_at IS NULL AND expires_at > {now} GROUP BY allocation_id) l ON l.allocation_id = a.id
        WHERE a.remaining < l.total
        """,
    ),
    (
        "last booking of an account, against its last entry (not before)",
        "tokenaccount",
        """
        SELECT t.id, 0, 1 FROM {p}tokenaccount t
        JOIN (SELECT account_id, max(booked_at) AS last FROM {p}ledgerentry GROUP BY account_id) e
            ON e.account_id = t.id
        WHERE t.booked_at IS NULL OR t.booked_at < e.last
        """,
    ),
    (
        "drawn from a pool, against the entries of the member",
        "pooldraw",
        """
        SELECT min(d.id), sum(d.drawn), max(coalesce(e.total, 0)) FROM {p}pooldraw d
        LEFT JOIN (SELECT l.account_id, l.member_id, -sum(l.amount) AS total FROM {p}ledgerentry l
            JOIN {p}tokenusagelog u ON u.id = l.usage_id
            WHERE l.member_id IS NOT NULL AND l.kind IN ('consume', 'refund') AND u.booked_at >= {month_since}
            GROUP BY l.account_id, l.member_id) e
            ON e.account_id = d.pool_id AND e.member_id = d.member_id
        WHERE d.month >= {month}
        GROUP BY d.pool_id, d.member_id HAVING sum(d.drawn) <> max(coalesce(e.total, 0))
        """,
    ),
    *(
        (
            f"{metric} counted for limits, against the uses in the window",
            "limitcounter",
            f"""
            SELECT c.id, c.{metric}, coalesce(e.total, 0) FROM {{p}}limitcounter c
            LEFT JOIN (SELECT x.id, sum(x.used) AS total FROM (
                SELECT w.id, {used} AS used FROM {{p}}limitcounter w
                JOIN {{p}}tokenusagelog u ON u.account_id = w.account_id AND u.used_at >= w.starts_at
                    AND (w.ends_at IS NULL OR u.used_at < w.ends_at)
                LEFT JOIN {_REFUNDS} r ON r.usage_id = u.id WHERE u.is_charged
                UNION ALL
                SELECT w.id, {used} AS used FROM {{p}}limitcounter w
                JOIN {{p}}tokenusagelog u ON u.member_of_id = w.account_id AND u.used_at >= w.starts_at
                    AND (w.ends_at IS NULL OR u.used_at < w.ends_at)
                LEFT JOIN {_REFUNDS} r ON r.usage_id = u.id WHERE u.is_charged) x GROUP BY x.id) e ON e.id = c.id
            WHERE c.starts_at > {{before}} AND c.{metric} <> coalesce(e.total, 0)
            """,
        )
        for metric, used in (
            ("tokens", "u.amount - coalesce(r.back, 0)"),
            ("requests", "CASE WHEN u.amount > 0 AND u.amount <= coalesce(r.back, 0) THEN 0 ELSE 1 END"),
        )
    ),
]


def reconcile() -> Iterator[Discrepancy]:
    """Every row that disagrees, as it is found; none means that all books agree.

    Run it outside any transaction: it opens a snapshot of its own. Raises UnsupportedIsolation inside one.
    """
    using = booking.database()
    with _snapshot(using), connections[using].cursor() as cursor:
        names = _names(using)
        for rule, table, query in RULES:
            cursor.execute(query.format(**names), None)
            while rows := cursor.fetchmany(1_000):
                for row, found, expected in rows:
                    yield Discrepancy(rule=rule, table=table, row=row, found=_whole(found), expected=_whole(expected))
        yield from _keys(using)


def _names(using: str) -> dict[str, str]:
    """What the rules leave open, as literals of this database."""
    since = booking.kept_since(using)
    zone = timezone.get_default_timezone()
    month = since.astimezone(zone).date().replace(day=1)
    if since > _FIRST:
        month = (month + timedelta(days=32)).replace(day=1)
    return {
        "p": _PREFIX,
        "now": _literal(booking.clock(using), using),
        "since": _literal(since, using),
        # SQLite compares moments as texts, of which one may leave out the fraction of the second.
        "before": _literal(since - booking.TICK, using),
        "month": f"'{month}'",
        "month_since": _literal(datetime.combine(month, time.min, tzinfo=zone), using),
    }


def _literal(moment: datetime, using: str) -> str:
    utc = moment.astimezone(tz.utc)
    offset = "+00" if connections[using].vendor == "postgresql" else ""
    return f"'{utc:%Y-%m-%d %H:%M:%S.%f}{offset}'"


def _keys(using: str) -> Iterator[Discrepancy]:
    """The text of each use's key must have the digest under which the use is found."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT u.id, u.key, k.digest FROM {_PREFIX}tokenusagelog u"
            f" JOIN {_PREFIX}idempotencykey k ON k.usage_id = u.id"
            " WHERE k.verb IN ('consume', 'record') AND u.key <> ''"
        )
        while rows := cursor.fetchmany(1_000):
            for row, key, stored in rows:
                if digest(key).hex != str(stored).replace("-", ""):
                    yield Discrepancy(
                        rule="key, against its digest", table="tokenusagelog", row=row, found=0, expected=1
                    )


@contextmanager
def _snapshot(using: str) -> Iterator[None]:
    connection = connections[using]
    if connection.in_atomic_block and connection.vendor != "sqlite":
        raise UnsupportedIsolation(isolation=_("another transaction already"))
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    with transaction.atomic(using=using):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
