"""What must hold between the ledger's tables, said a second time and independently of the package's own check."""

from __future__ import annotations

from django.db import connection

QUERIES = {
    "a lot's remaining is not the sum of its entries": """
        SELECT a.id FROM django_token_pricing_tokenallocation a
        LEFT JOIN (SELECT allocation_id, SUM(amount) AS n FROM django_token_pricing_ledgerentry GROUP BY allocation_id) e
            ON e.allocation_id = a.id
        WHERE a.remaining <> COALESCE(e.n, 0)""",
    "the first entry of a lot is not its grant": """
        SELECT e.id FROM (SELECT x.*, ROW_NUMBER() OVER (PARTITION BY allocation_id ORDER BY booked_at, id) AS place
            FROM django_token_pricing_ledgerentry x) e
        JOIN django_token_pricing_tokenallocation a ON a.id = e.allocation_id
        WHERE (e.place = 1) <> (e.kind IN ('grant', 'rollover_in'))
            OR (e.place = 1 AND (e.amount <> a.amount OR e.booked_at <> a.booked_at))""",
    "an entry's lot_balance is not the sum of the lot's entries until then": """
        SELECT id FROM (SELECT id, lot_balance,
            SUM(amount) OVER (PARTITION BY allocation_id ORDER BY booked_at, id) AS n
            FROM django_token_pricing_ledgerentry) e WHERE lot_balance <> n""",
    "an entry's balance_after is not the sum of the account's entries until then": """
        SELECT id FROM (SELECT id, balance_after,
            SUM(amount) OVER (PARTITION BY account_id ORDER BY booked_at, id) AS n
            FROM django_token_pricing_ledgerentry) e WHERE balance_after <> n""",
    "an account's entries were not written in the order of their moments": """
        SELECT id FROM (SELECT id, booked_at,
            MAX(booked_at) OVER (PARTITION BY account_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            AS earlier FROM django_token_pricing_ledgerentry) e WHERE booked_at < earlier""",
    "two deeds share a moment of one account": """
        SELECT MIN(id) FROM django_token_pricing_ledgerentry GROUP BY account_id, booked_at
        HAVING COUNT(DISTINCT COALESCE(usage_id, 0)) > 1 OR COUNT(DISTINCT COALESCE(event_id, 0)) > 1""",
    "a lot's entry is on another account": """
        SELECT e.id FROM django_token_pricing_ledgerentry e
        JOIN django_token_pricing_tokenallocation a ON a.id = e.allocation_id WHERE a.account_id <> e.account_id""",
    "an account's balance is not the sum of what its lots have left": """
        SELECT t.id FROM django_token_pricing_tokenaccount t
        LEFT JOIN (SELECT account_id, SUM(remaining) AS n FROM django_token_pricing_tokenallocation GROUP BY account_id) a
            ON a.account_id = t.id
        WHERE t.balance <> COALESCE(a.n, 0)""",
    "an account's last moment lies before one of its entries": """
        SELECT e.id FROM django_token_pricing_ledgerentry e
        JOIN django_token_pricing_tokenaccount t ON t.id = e.account_id
        WHERE t.booked_at IS NULL OR t.booked_at < e.booked_at""",
    "a use was not paid with what it cost": """
        SELECT u.id FROM django_token_pricing_tokenusagelog u
        LEFT JOIN (SELECT usage_id, SUM(amount) AS n, COUNT(DISTINCT booked_at) AS moments, MIN(booked_at) AS at
            FROM django_token_pricing_ledgerentry WHERE kind = 'consume' GROUP BY usage_id) e ON e.usage_id = u.id
        WHERE CASE WHEN u.is_charged THEN u.amount ELSE 0 END <> -COALESCE(e.n, 0)
            OR e.moments > 1 OR e.at <> u.booked_at""",
    "a use was refunded for more than it drew from a lot": """
        SELECT MIN(id) FROM django_token_pricing_ledgerentry WHERE kind IN ('consume', 'refund')
        GROUP BY usage_id, allocation_id HAVING SUM(amount) > 0""",
    "a use or an entry of a pool names the wrong accounts": """
        SELECT e.id FROM django_token_pricing_ledgerentry e JOIN django_token_pricing_tokenusagelog u ON u.id = e.usage_id
        WHERE NOT ((e.account_id = u.account_id AND e.member_id IS NULL)
            OR (e.account_id = u.pool_id AND e.member_id = u.account_id))""",
    "the draws on a pool are not the sum of its members' entries": """
        SELECT COALESCE(d.pool_id, e.account_id) FROM
        (SELECT pool_id, member_id, SUM(drawn) AS n FROM django_token_pricing_pooldraw GROUP BY pool_id, member_id) d
        JOIN (SELECT account_id, member_id, SUM(amount) AS n FROM django_token_pricing_ledgerentry
            WHERE member_id IS NOT NULL AND kind IN ('consume', 'refund') GROUP BY account_id, member_id) e
            ON e.account_id = d.pool_id AND e.member_id = d.member_id
        WHERE d.n <> -e.n""",
    "members drew on a pool and nothing counts it": """
        SELECT e.id FROM django_token_pricing_ledgerentry e LEFT JOIN django_token_pricing_pooldraw d
            ON d.pool_id = e.account_id AND d.member_id = e.member_id
        WHERE e.member_id IS NOT NULL AND e.kind = 'consume' AND d.id IS NULL""",
    "more is held on a lot than is left in it": """
        SELECT a.id FROM django_token_pricing_tokenallocation a
        JOIN (SELECT l.allocation_id, SUM(l.amount) AS n FROM django_token_pricing_tokenholdlot l
            JOIN django_token_pricing_tokenaccount t ON t.id = l.account_id
            WHERE l.closed_at IS NULL AND l.expires_at > t.booked_at GROUP BY l.allocation_id) h
            ON h.allocation_id = a.id WHERE h.n > a.remaining""",
    "a hold's lots do not sum to it": """
        SELECT h.id FROM django_token_pricing_tokenhold h
        LEFT JOIN (SELECT hold_id, SUM(amount) AS n FROM django_token_pricing_tokenholdlot GROUP BY hold_id) l
            ON l.hold_id = h.id WHERE h.amount <> COALESCE(l.n, 0)""",
    "a closed hold still reserves tokens": """
        SELECT l.id FROM django_token_pricing_tokenholdlot l JOIN django_token_pricing_tokenhold h ON h.id = l.hold_id
        WHERE (l.closed_at IS NULL) <> (h.status = 'open')""",
    "a settled hold has no use of that amount": """
        SELECT h.id FROM django_token_pricing_tokenhold h
        LEFT JOIN django_token_pricing_tokenusagelog u ON u.id = h.usage_id
        WHERE (h.status = 'settled') <> (u.id IS NOT NULL) OR u.amount <> h.settled_amount""",
    "a counter of a limit is not the sum of the uses in its window": """
        SELECT c.id FROM django_token_pricing_limitcounter c
        WHERE c.tokens <> (SELECT COALESCE(SUM(u.amount), 0) FROM django_token_pricing_tokenusagelog u
                WHERE (u.account_id = c.account_id OR u.member_of_id = c.account_id) AND u.is_charged
                    AND u.used_at >= c.starts_at AND (u.used_at < c.ends_at OR c.ends_at IS NULL))
            - (SELECT COALESCE(SUM(e.amount), 0) FROM django_token_pricing_ledgerentry e
                JOIN django_token_pricing_tokenusagelog u ON u.id = e.usage_id
                WHERE e.kind = 'refund' AND (u.account_id = c.account_id OR u.member_of_id = c.account_id)
                    AND u.used_at >= c.starts_at AND (u.used_at < c.ends_at OR c.ends_at IS NULL))
            OR c.requests <> (SELECT COUNT(*) FROM django_token_pricing_tokenusagelog u
                WHERE (u.account_id = c.account_id OR u.member_of_id = c.account_id) AND u.is_charged
                    AND u.used_at >= c.starts_at AND (u.used_at < c.ends_at OR c.ends_at IS NULL)
                    AND (u.amount = 0 OR u.amount > (SELECT COALESCE(SUM(e.amount), 0)
                        FROM django_token_pricing_ledgerentry e WHERE e.usage_id = u.id AND e.kind = 'refund')))""",
    "a carried over lot did not come out of its parent": """
        SELECT a.id FROM django_token_pricing_tokenallocation a
        LEFT JOIN django_token_pricing_ledgerentry e ON e.allocation_id = a.parent_id AND e.kind = 'rollover_out'
            AND e.booked_at = a.booked_at AND e.amount = -a.amount
        WHERE a.parent_id IS NOT NULL AND e.id IS NULL""",
}


def discrepancies() -> list[str]:
    """Each rule that is broken, with the first rows that break it."""
    broken = []
    with connection.cursor() as cursor:
        for rule, query in QUERIES.items():
            cursor.execute(f"{query} ORDER BY 1 LIMIT 5")
            if rows := [pk for (pk,) in cursor.fetchall()]:
                broken.append(f"{rule}: {rows}")
    return broken
