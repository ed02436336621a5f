"""Sums of new rows, or of months of them, made inside PostgreSQL.

A use is grouped with the price that was valid for it, and costs are multiplied out of the sums afterwards: prices are
exact decimals, so this gives what single costs would. One pass serves the hours and days of the site and the months
of accounts. Revenue of an entry is what was earned of its lot after it less what was before, each rounded: so the
revenues of a lot add up to what was paid for it, whatever the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.utils import CursorWrapper

from django_token_pricing.analytics.rollups.targets import (
    ACCOUNT_REVENUE,
    DAYS,
    FLOWS,
    HOURS,
    MONTHS,
    REVENUE,
    Target,
)


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows: those of transactions from `low` and below `high`, of moments from `starts_at` to `ends_at`.

    Without `low` also those whose transactions nobody knows any more.
    """

    high: int
    low: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def where(self, row: str, moment: str) -> tuple[str, list[Any]]:
        if self.low is not None:
            conditions, params = [f"{row}.xid >= %s AND {row}.xid < %s"], [self.low, self.high]
        else:
            conditions, params = [f"({row}.xid IS NULL OR {row}.xid < %s)"], [self.high]
        for sign, bound in ((">=", self.starts_at), ("<", self.ends_at)):
            if bound is not None:
                conditions.append(f"{moment} {sign} %s")
                params.append(bound)  # type: ignore[arg-type]
        return " AND ".join(conditions), params


_USES = """
CREATE TEMPORARY TABLE tp_uses ON COMMIT DROP AS
WITH price AS MATERIALIZED (
    SELECT id, provider, model, starts_at,
        coalesce(lead(starts_at) OVER (PARTITION BY model, provider ORDER BY starts_at), 'infinity') AS ends_at
    FROM django_token_pricing_modelprice)
SELECT y.*, (y.starts_at AT TIME ZONE %s)::date AS day,
    extract(hour FROM y.starts_at AT TIME ZONE %s)::smallint AS hour, (y.month_at AT TIME ZONE %s)::date AS month
FROM (
SELECT grouping(x.account_id) = 0 AS of_account, x.starts_at, x.tier, x.model, x.feature,
    x.account_id, x.month_at, x.price_id, count(*) AS requests, sum(x.amount) AS tokens,
    coalesce(sum(x.input_tokens), 0) AS input_tokens, coalesce(sum(x.output_tokens), 0) AS output_tokens,
    coalesce(sum(x.cached_tokens), 0) AS cached_tokens, coalesce(sum(x.cost), 0) AS given,
    count(*) FILTER (WHERE x.cost IS NULL) AS open,
    count(*) FILTER (WHERE x.cost IS NULL AND NOT x.is_counted) AS uncounted,
    sum(x.input_tokens) FILTER (WHERE x.is_counted) AS charged_input,
    sum(x.output_tokens) FILTER (WHERE x.is_counted) AS charged_output,
    sum(x.cached_tokens) FILTER (WHERE x.is_counted) AS charged_cached,
    sum(x.cache_write_tokens) FILTER (WHERE x.is_counted) AS charged_kept,
    sum(x.reasoning_tokens) FILTER (WHERE x.is_counted) AS charged_reasoning
FROM (
    SELECT u.account_id, u.amount, u.tier, u.model, u.feature, u.input_tokens, u.output_tokens, u.cached_tokens,
        u.cache_write_tokens, u.reasoning_tokens, u.cost,
        u.cost IS NULL AND (u.input_tokens IS NOT NULL OR u.output_tokens IS NOT NULL) AS is_counted,
        -- The hour as the clocks show it; where they show it twice, an hour keeps its own offset.
        date_trunc('hour', u.used_at, %s) AS starts_at, date_trunc('month', u.used_at, %s) AS month_at,
        coalesce(s.id, g.id) AS price_id
    FROM django_token_pricing_tokenusagelog u
    LEFT JOIN price s ON s.model = u.model AND s.provider = u.provider AND u.provider <> ''
        AND u.used_at >= s.starts_at AND u.used_at < s.ends_at
    LEFT JOIN price g ON g.model = u.model AND g.provider = ''
        AND u.used_at >= g.starts_at AND u.used_at < g.ends_at
    WHERE {where}) x
GROUP BY GROUPING SETS ((x.starts_at, x.tier, x.model, x.feature, x.price_id), (x.account_id, x.month_at, x.price_id))
) y
"""

# Tokens that have no price of their own kind are charged like the plain ones; these are what is left of all.
_COST = """d.given + CASE WHEN p.input IS NULL THEN 0 ELSE (
    (coalesce(d.charged_input, 0) - coalesce(d.charged_cached, 0) - coalesce(d.charged_kept, 0)) * p.input
    + coalesce(d.charged_cached, 0) * coalesce(p.cached_read, p.input)
    + coalesce(d.charged_kept, 0) * coalesce(p.cached_write, p.input)
    + (coalesce(d.charged_output, 0) - coalesce(d.charged_reasoning, 0)) * p.output
    + coalesce(d.charged_reasoning, 0) * coalesce(p.reasoning, p.output)) * 0.000001 END"""

_MEASURED = f"""sum(d.requests)::bigint, sum(d.tokens)::bigint, sum(d.input_tokens)::bigint,
    sum(d.output_tokens)::bigint, sum(d.cached_tokens)::bigint, sum({_COST}),
    sum(CASE WHEN p.input IS NULL THEN d.open ELSE d.uncounted END)::bigint
    FROM tp_uses d LEFT JOIN django_token_pricing_modelprice p ON p.id = d.price_id"""

_FLOWS = """
CREATE TEMPORARY TABLE tp_flows ON COMMIT DROP AS
SELECT (e.booked_at AT TIME ZONE %s)::date AS day, e.kind, a.source, count(*) AS entries, sum(e.amount) AS tokens
FROM django_token_pricing_ledgerentry e JOIN django_token_pricing_tokenallocation a ON a.id = e.allocation_id
WHERE {where} GROUP BY 1, 2, 3
"""

_EARNED = "round((a.paid_amount * ({}))::numeric(60, 20) / a.amount, 10)"
_MOMENT = "CASE WHEN e.kind = 'consume' THEN u.used_at ELSE e.booked_at END"
_REVENUE = f"""
CREATE TEMPORARY TABLE tp_revenue ON COMMIT DROP AS
SELECT x.day, x.kind, x.tier, x.model, x.feature, x.currency, x.account_id, date_trunc('month', x.day)::date AS month,
    sum(x.amount) AS amount, sum(x.tokens) AS tokens
FROM (
    SELECT ({_MOMENT} AT TIME ZONE %s)::date AS day, CASE e.kind WHEN 'consume' THEN 'use' ELSE e.kind END AS kind,
        coalesce(u.tier, '') AS tier, coalesce(u.model, '') AS model, coalesce(u.feature, '') AS feature,
        a.paid_currency AS currency, coalesce(u.account_id, e.account_id) AS account_id, -e.amount AS tokens,
        {_EARNED.format("a.amount - e.lot_balance")} - {_EARNED.format("a.amount - e.lot_balance + e.amount")} AS amount
    FROM django_token_pricing_ledgerentry e
    JOIN django_token_pricing_tokenallocation a ON a.id = e.allocation_id AND a.paid_amount > 0
    LEFT JOIN django_token_pricing_tokenusagelog u ON u.id = e.usage_id
    WHERE e.kind IN ('consume', 'refund', 'expire') AND {{where}}) x
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""

# Of each roll-up: its rows, in the order of its columns.
_ROWS = {
    HOURS.table: f"SELECT d.starts_at, d.tier, d.model, d.feature, d.day, d.hour, {_MEASURED}"
    " WHERE NOT d.of_account GROUP BY 1, 2, 3, 4, 5, 6",
    DAYS.table: f"SELECT d.day, d.tier, d.model, d.feature, {_MEASURED} WHERE NOT d.of_account GROUP BY 1, 2, 3, 4",
    MONTHS.table: f"SELECT d.account_id, d.month, {_MEASURED} WHERE d.of_account GROUP BY 1, 2",
    REVENUE.table: "SELECT day, kind, tier, model, feature, currency, sum(amount), sum(tokens)::bigint FROM tp_revenue"
    " GROUP BY 1, 2, 3, 4, 5, 6",
    ACCOUNT_REVENUE.table: "SELECT account_id, month, currency, sum(amount) FROM tp_revenue GROUP BY 1, 2, 3",
    FLOWS.table: "SELECT day, kind, source, entries::bigint, tokens::bigint FROM tp_flows",
}


def gather(cursor: CursorWrapper, span: Span, zone: str) -> None:
    """The sums of these rows into temporary tables that end with the transaction."""
    cursor.execute("DROP TABLE IF EXISTS tp_uses, tp_flows, tp_revenue")
    # Compiling costs more than it saves wherever the planner's guess is off.
    cursor.execute("SET LOCAL jit = off")
    # A few hundred thousand groups are summed in memory, and not in files.
    cursor.execute(
        "SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 67108864"
    )
    for sql, row, moment in (
        (_USES, "u", "u.used_at"),
        (_FLOWS, "e", "e.booked_at"),
        (_REVENUE, "e", _MOMENT),
    ):
        where, params = span.where(row, moment)
        # All other places are for the zone, and come before.
        zones = [zone] * sql.count("%s")
        cursor.execute(sql.replace("{where}", where), [*zones, *params])


def names(cursor: CursorWrapper, dimension: str) -> list[str]:
    """The tiers, models or features among the gathered uses, the one with the most tokens first."""
    cursor.execute(f"SELECT {dimension} FROM tp_uses WHERE NOT of_account GROUP BY 1 ORDER BY sum(tokens) DESC, 1")
    return [row[0] for row in cursor.fetchall()]


def add(cursor: CursorWrapper, target: Target) -> int:
    """Add what was gathered to a roll-up; how many of its rows it changed."""
    keys, columns = ", ".join(target.keys), ", ".join(target.columns)
    sums = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in target.measures)
    cursor.execute(
        f"INSERT INTO {target.table} AS t ({columns}) {_ROWS[target.table]} ON CONFLICT ({keys}) DO UPDATE SET {sums}"
    )
    changed: int = cursor.rowcount
    return changed


def differences(cursor: CursorWrapper, target: Target, where: str, params: list[Any], most: int) -> list[Any]:
    """Where a roll-up is not what was gathered: key, what it says, what the rows say (None: there is no such row)."""
    keys, measures = ", ".join(target.keys), target.measures
    cursor.execute("DROP TABLE IF EXISTS tp_expected")
    listed = ", ".join(target.columns)
    cursor.execute(f"CREATE TEMPORARY TABLE tp_expected ({_declared(target)}) ON COMMIT DROP")
    cursor.execute(f"INSERT INTO tp_expected ({listed}) {_ROWS[target.table]}")
    said, right = (", ".join(f"{row}.{name}" for name in measures) for row in ("t", "x"))
    cursor.execute(
        f"SELECT {keys}, t.id, {said}, x.is_there, {right}"
        f" FROM (SELECT * FROM {target.table} t WHERE {where}) t FULL JOIN tp_expected x USING ({keys})"
        f" WHERE ({said}) IS DISTINCT FROM ({right}) ORDER BY {keys} LIMIT %s",
        [*params, most],
    )
    found = []
    for row in cursor.fetchall():
        key, rest = row[: len(target.keys)], row[len(target.keys) :]
        old = rest[1 : 1 + len(measures)] if rest[0] is not None else None
        new = rest[2 + len(measures) :] if rest[1 + len(measures)] else None
        found.append((key, old, new))
    return found


def _declared(target: Target) -> str:
    types = {
        "starts_at": "timestamptz",
        "day": "date",
        "month": "date",
        "hour": "smallint",
        "account_id": "bigint",
        "cost": "numeric",
        "amount": "numeric",
    }
    texts = ("tier", "model", "feature", "kind", "source", "currency")
    columns = [f"{name} {'text' if name in texts else types.get(name, 'bigint')}" for name in target.columns]
    return ", ".join([*columns, "is_there boolean DEFAULT true"])
