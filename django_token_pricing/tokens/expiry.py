"""Booking what has lapsed. Balances never wait for it: an expired lot pays nobody, and a hold is void at its ttl."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q

from django_token_pricing import signals
from django_token_pricing.choices import EntryKind, HoldStatus
from django_token_pricing.models import LedgerEntry, RenewalLot, TokenAccount, TokenAllocation, TokenHold, TokenHoldLot
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.results import Expiry

BATCH = 1_000
# On PostgreSQL a batch is one statement, and larger ones are quicker.
LARGE_BATCH = 5_000


def expire(*, as_of: datetime) -> Expiry:
    """Take out of the books what had lapsed at that moment, and close the holds whose time was over.

    No balance changes by it. Each batch commits by itself, so it may be stopped and run again, also twice at once.
    What an open hold still reserves of an expired lot stays until the hold ends, and a lot that ended with a period
    stays until its renewal has carried over what is left. A later moment than now counts as now.
    Raises InvalidMoment.
    """
    arguments.moment("as_of", as_of)
    using = booking.database()
    until = min(as_of, booking.clock(using))
    holds = sum(_close_holds(batch, until, using) for batch in _batches(_void_holds(until, using)))
    awaited = RenewalLot.objects.using(using).filter(allocation=OuterRef("pk")).awaited()
    lapsed = TokenAllocation.objects.using(using).lapsed(until).filter(~Exists(awaited))
    is_set_based = connections[using].vendor == "postgresql"
    lots = tokens = 0
    for batch in _batches(lapsed, LARGE_BATCH if is_set_based else BATCH):
        done = _lapse_at_once(batch, until, using) if is_set_based else _lapse(batch, until, using)
        lots, tokens = lots + done[0], tokens + done[1]
    return Expiry(lots=lots, tokens=tokens, holds=holds)


def _void_holds(until: datetime, using: str) -> Any:
    return TokenHold.objects.using(using).filter(status=HoldStatus.OPEN, expires_at__lte=until)


def _batches(rows: Any, size: int = BATCH) -> Iterator[list[tuple[int, int]]]:
    """(row, account) in batches by expiry; each is read after the one before was booked."""
    last: tuple[datetime, int] | None = None
    while True:
        later = rows if last is None else rows.filter(Q(expires_at__gt=last[0]) | Q(expires_at=last[0], pk__gt=last[1]))
        batch = list(later.order_by("expires_at", "pk").values_list("pk", "account", "expires_at")[:size])
        if not batch:
            return
        last = (batch[-1][2], batch[-1][0])
        yield [(pk, account) for pk, account, _ends in batch]


def _close_holds(batch: list[tuple[int, int]], until: datetime, using: str) -> int:
    with booking.writing(using):
        booking.lock_accounts({account for _hold, account in batch}, using)
        still = list(_void_holds(until, using).filter(pk__in=[pk for pk, _account in batch]))
        for hold in still:
            hold.status, hold.closed_at = HoldStatus.EXPIRED, hold.expires_at
        TokenHold.objects.using(using).bulk_update(still, ["status", "closed_at"], batch_size=250)
        lines = list(TokenHoldLot.objects.using(using).filter(hold__in=still, closed_at=None))
        for line in lines:
            line.closed_at = line.expires_at
        TokenHoldLot.objects.using(using).bulk_update(lines, ["closed_at"], batch_size=250)
    return len(still)


def _lapse_at_once(batch: list[tuple[int, int]], until: datetime, using: str) -> tuple[int, int]:
    lots, accounts = [lot for lot, _account in batch], sorted({account for _lot, account in batch})
    with booking.writing(using), connections[using].cursor() as cursor:
        # In a statement of its own, so that the next one sees what others had booked until the locks were given.
        cursor.execute(
            "SELECT count(*) FROM (SELECT id FROM django_token_pricing_tokenaccount WHERE id = ANY(%s)"
            " ORDER BY pool_id IS NOT NULL, id FOR NO KEY UPDATE) locked",
            [accounts],
        )
        cursor.execute(LAPSE, {"lots": lots, "accounts": accounts, "until": until})
        count, tokens = cursor.fetchone()
        return _told(count, int(tokens), using)


LAPSE = """
    WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now
    ), held AS MATERIALIZED (
        SELECT h.allocation_id, sum(h.amount)::bigint AS amount FROM django_token_pricing_tokenholdlot h, clock c
        WHERE h.account_id = ANY(%(accounts)s) AND h.closed_at IS NULL AND h.expires_at > c.now
        GROUP BY h.allocation_id
    ), gone AS MATERIALIZED (
        SELECT l.id, l.account_id, l.remaining - coalesce(h.amount, 0) AS amount, coalesce(h.amount, 0) AS rest,
            a.balance, greatest(c.now, a.booked_at + interval '1 microsecond') AS at
        FROM django_token_pricing_tokenallocation l
        JOIN django_token_pricing_tokenaccount a ON a.id = l.account_id
        CROSS JOIN clock c LEFT JOIN held h ON h.allocation_id = l.id
        WHERE l.id = ANY(%(lots)s) AND l.is_open AND l.expires_at <= %(until)s
            AND l.remaining > coalesce(h.amount, 0)
    ), entries AS (
        INSERT INTO django_token_pricing_ledgerentry
            (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at)
        SELECT account_id, id, 'expire', -amount, rest,
            balance - sum(amount) OVER (PARTITION BY account_id ORDER BY id), at
        FROM gone ORDER BY account_id, id
    ), lots AS (
        UPDATE django_token_pricing_tokenallocation l SET remaining = g.rest, is_open = g.rest > 0
        FROM gone g WHERE l.id = g.id
    ), accounts AS (
        UPDATE django_token_pricing_tokenaccount a SET balance = a.balance - s.amount, booked_at = s.at
        FROM (SELECT account_id, sum(amount) AS amount, max(at) AS at FROM gone GROUP BY account_id) s
        WHERE a.id = s.account_id
    )
    SELECT count(*), coalesce(sum(amount), 0) FROM gone
"""


def _told(lots: int, tokens: int, using: str) -> tuple[int, int]:
    if lots:
        result = Expiry(lots=lots, tokens=tokens, holds=0)
        tell = partial(signals.tokens_expired.send_robust, sender=TokenAllocation, result=result)
        transaction.on_commit(tell, using=using)
    return lots, tokens


def _lapse(batch: list[tuple[int, int]], until: datetime, using: str) -> tuple[int, int]:
    with booking.writing(using):
        accounts = booking.lock_accounts({account for _lot, account in batch}, using)
        lots = TokenAllocation.objects.using(using).lapsed(until).filter(pk__in=[pk for pk, _account in batch])
        now = booking.moment(using)
        held = booking.held_by_lot(list(accounts), now, using)
        moments = {
            pk: max(now, account.booked_at + booking.TICK) for pk, account in accounts.items() if account.booked_at
        }
        entries: list[LedgerEntry] = []
        touched: set[int] = set()
        emptied: list[TokenAllocation] = []
        reduced: list[TokenAllocation] = []
        for lot in lots.order_by("account", "pk"):
            rest = held.get(lot.pk, 0)
            gone = lot.remaining - rest
            if gone <= 0:
                continue
            account = accounts[lot.account_id]
            account.balance -= gone
            account.booked_at = moments[account.pk]
            touched.add(account.pk)
            lot.remaining, lot.is_open = rest, rest > 0
            (reduced if rest else emptied).append(lot)
            entries.append(
                LedgerEntry(
                    account=account,
                    allocation=lot,
                    kind=EntryKind.EXPIRE,
                    amount=-gone,
                    lot_balance=rest,
                    balance_after=account.balance,
                    booked_at=account.booked_at,
                )
            )
        LedgerEntry.objects.using(using).bulk_create(entries, batch_size=BATCH)
        TokenAllocation.objects.using(using).filter(pk__in=[lot.pk for lot in emptied]).update(
            remaining=0, is_open=False
        )
        TokenAllocation.objects.using(using).bulk_update(reduced, ["remaining"], batch_size=250)
        TokenAccount.objects.using(using).bulk_update(
            [accounts[pk] for pk in sorted(touched)], ["balance", "booked_at"], batch_size=250
        )
        return _told(len(entries), -sum(entry.amount for entry in entries), using)
