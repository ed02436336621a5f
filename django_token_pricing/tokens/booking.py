"""What every verb written in Python stands on: the account's lock, the ledger's clock, live lots, entries, keys.

A verb's first statement locks the user's account (on SQLite by a write, so that the transaction starts as a writer);
a pool's account comes after. What is read after that is what the verb decides on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import IntegrityError, connections, router, transaction
from django.db.models import F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone as django_timezone
from django.utils.translation import gettext as _

from django_token_pricing.choices import EntryKind, Verb
from django_token_pricing.exceptions import IdempotencyConflict, InvalidAmount, UnknownOwner, UnsupportedIsolation
from django_token_pricing.lib.periods import month_of, start_of_day
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import (
    AuditEvent,
    IdempotencyKey,
    LedgerEntry,
    LedgerPrune,
    PoolDraw,
    SubscriptionMirror,
    TokenAccount,
    TokenAllocation,
    TokenHoldLot,
    TokenPool,
    TokenUsageLog,
)
from django_token_pricing.tokens.arguments import MOST, Owner

TICK = timedelta(microseconds=1)
BEGINNING = datetime(2000, 1, 1, tzinfo=timezone.utc)


def database() -> str:
    """The alias on which the ledger is written."""
    return router.db_for_write(TokenAccount)


@dataclass(frozen=True, slots=True)
class Lot:
    """A live lot under the account's lock; `free` is what no open hold reserves."""

    id: int
    remaining: int
    free: int


@dataclass(frozen=True, slots=True)
class Move:
    """One signed movement of a lot, and what is left in the lot after it."""

    lot: int
    amount: int
    rest: int


@contextmanager
def writing(using: str) -> Iterator[None]:
    """The transaction of a verb. Raises UnsupportedIsolation before anything is locked or read."""
    with transaction.atomic(using=using):
        require_read_committed(using)
        start_writing(using)
        yield


def start_writing(using: str) -> None:
    """Make an SQLite transaction a writer before it reads: one that read first may find that it can write no more."""
    if connections[using].vendor == "sqlite":
        TokenAccount.objects.using(using).filter(pk=0).update(booked_at=F("booked_at"))


def require_read_committed(using: str) -> None:
    """Any other isolation would decide on a snapshot from before the lock. SQLite has one writer, so none is needed."""
    connection = connections[using]
    found = "read committed"
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            found = cursor.fetchone()[0]
    elif connection.vendor == "mysql":
        found = getattr(connection, "isolation_level", None) or "read committed"
    if found != "read committed":
        raise UnsupportedIsolation(isolation=found)


def lock(owner: Owner, using: str) -> TokenAccount:
    """The owner's account, locked; made when missing. Raises UnknownOwner."""
    account = _locked(using, **owner.lookup)
    if account is None:
        _open_accounts([owner], using)
        account = _locked(using, **owner.lookup)
    if account is None:
        raise UnknownOwner(owner=owner.user if owner.pool is None else owner.pool)
    return account


def accounts_of(owners: Iterable[Owner], using: str) -> dict[Owner, TokenAccount]:
    """The owners' accounts, in few queries; the missing ones are made. Raises UnknownOwner."""
    missing = set(owners)
    found: dict[Owner, TokenAccount] = {}
    for _round in range(2):
        users, pools = _split(missing)
        for step in steps(users):
            rows = TokenAccount.objects.using(using).filter(user__in=step)
            found.update((Owner(user=row.user_id), row) for row in rows)
        for step in steps(pools):
            rows = TokenAccount.objects.using(using).filter(pool__in=step)
            found.update((Owner(pool=row.pool_id), row) for row in rows)
        missing -= set(found)
        if missing:
            _open_accounts(missing, using)
    if missing:
        raise UnknownOwner(owner=next(iter(missing)))
    return found


def _split(owners: Iterable[Owner]) -> tuple[list[Any], list[int]]:
    """The keys of the users and those of the pools among the owners, each in order."""
    users = sorted(owner.user for owner in owners if owner.pool is None)
    return users, sorted(owner.pool for owner in owners if owner.pool is not None)


def lock_account(pk: int, using: str) -> TokenAccount:
    account = _locked(using, pk=pk)
    if account is None:
        raise UnknownOwner(owner=pk)
    return account


def lock_accounts(pks: Iterable[int], using: str) -> dict[int, TokenAccount]:
    """Many accounts, locked in the order that every verb keeps: those of users by number, then those of pools."""
    rows: dict[int, TokenAccount] = {}
    of_pools: list[int] = []
    of_users: list[int] = []
    for step in steps(sorted(set(pks))):
        for account in TokenAccount.objects.using(using).filter(pk__in=step).order_by("pk").only("pool"):
            (of_users if account.pool_id is None else of_pools).append(account.pk)
    for step in (*steps(of_users), *steps(of_pools)):
        wanted = TokenAccount.objects.using(using).filter(pk__in=step)
        rows.update((account.pk, account) for account in _for_update(wanted, using).order_by("pk"))
    return rows


def lock_pools(pools: Iterable[int], using: str) -> None:
    """Lock the rows of pools, before any account: nobody joins them meanwhile."""
    features = connections[using].features
    if features.has_select_for_update:
        rows = TokenPool.objects.using(using).filter(pk__in=list(pools)).order_by("pk")
        list(rows.select_for_update(no_key=features.has_select_for_no_key_update).values_list("pk", flat=True))


def _locked(using: str, **lookup: Any) -> TokenAccount | None:
    wanted = TokenAccount.objects.using(using).filter(**lookup)
    if connections[using].vendor == "mysql" and "pk" not in lookup:
        # InnoDB locks the index by which it finds a row as well, so everyone must come by the primary key.
        found = wanted.values_list("pk", flat=True).first()
        account = _locked(using, pk=found) if found else None
        return account if account and all(getattr(account, name) == key for name, key in lookup.items()) else None
    return _for_update(wanted, using).first()


def _for_update(wanted: QuerySet[TokenAccount], using: str) -> QuerySet[TokenAccount]:
    features = connections[using].features
    if features.has_select_for_update:
        return wanted.select_for_update(no_key=features.has_select_for_no_key_update)
    wanted.update(booked_at=F("booked_at"))
    return wanted


def _open_accounts(owners: Iterable[Owner], using: str) -> None:
    """Make the accounts that are missing, in the database's own order: who makes the same ones waits, no more."""
    users, pools = _split(owners)
    live = SubscriptionMirror.objects.using(using).filter(user=OuterRef("pk")).tiers()
    for step in steps(users):
        found = get_user_model()._base_manager.using(using).filter(pk__in=step).order_by("pk")
        found = _without_account(found, "token_account", using)
        tiers = found.values_list("pk", Coalesce(Subquery(live[:1]), Value("")))
        _make(using, (TokenAccount(user_id=pk, tier=tier) for pk, tier in tiers))
    for step in steps(pools):
        known = _without_account(TokenPool.objects.using(using).filter(pk__in=step).order_by("pk"), "account", using)
        _make(using, (TokenAccount(pool_id=pk) for pk in known.values_list("pk", flat=True)))


def _without_account(owners: QuerySet[Any], account: str, using: str) -> QuerySet[Any]:
    if connections[using].vendor == "mysql":
        # InnoDB locks gaps where it meets a row that is there already, and so those who make accounts could lock each
        # other out. Here they wait for the owners' rows, and then meet none.
        list(owners.select_for_update().values_list("pk", flat=True))
    return owners.filter(**{account: None})


def _make(using: str, accounts: Iterable[TokenAccount]) -> None:
    TokenAccount.objects.using(using).bulk_create(accounts, ignore_conflicts=True)


def clock(using: str) -> datetime:
    """The database's clock."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return datetime.now(timezone.utc)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()" if connection.vendor == "postgresql" else "SELECT UTC_TIMESTAMP(6)")
        now: datetime = cursor.fetchone()[0]
    return now if now.tzinfo else now.replace(tzinfo=timezone.utc)


def kept_since(using: str) -> datetime:
    """Where the history that was not pruned begins."""
    latest = LedgerPrune.objects.using(using).order_by("-before").values_list("before", flat=True).first()
    return latest or BEGINNING


def moment(using: str, *accounts: TokenAccount | None) -> datetime:
    """The ledger's moment for locked accounts: the database's clock, later than all that they have booked."""
    booked = [account.booked_at + TICK for account in accounts if account is not None and account.booked_at]
    return max([clock(using), *booked])


def live_lots(account: TokenAccount, at: datetime, using: str, *, without_hold: int | None = None) -> list[Lot]:
    """The lots that can pay at that moment, in burn order."""
    reserved = held_by_lot([account.pk], at, using, without_hold=without_hold)
    rows = (
        TokenAllocation.objects.using(using)
        .filter(account=account, is_open=True)
        .live(at)
        .in_burn_order()
        .values_list("pk", "remaining")
    )
    return [Lot(pk, remaining, remaining - reserved.get(pk, 0)) for pk, remaining in rows]


def free_of(lot: TokenAllocation, at: datetime, using: str) -> int:
    """What is left of one lot, waiting for its start or not, that no hold reserves; of an expired one nothing."""
    if lot.expires_at is not None and lot.expires_at <= at:
        return 0
    return lot.remaining - held_by_lot([lot.account_id], at, using).get(lot.pk, 0)


def held_by_lot(
    accounts: Sequence[int], at: datetime, using: str, *, without_hold: int | None = None
) -> dict[int, int]:
    """What open, unexpired holds reserve on each lot of these accounts."""
    lines = TokenHoldLot.objects.using(using).filter(account__in=accounts, closed_at=None, expires_at__gt=at)
    if without_hold is not None:
        lines = lines.exclude(hold=without_hold)
    return dict(lines.order_by().values_list("allocation").annotate(held=Sum("amount")))


def available(account: TokenAccount, at: datetime, using: str) -> int:
    return sum(lot.free for lot in live_lots(account, at, using))


def take(lots: Iterable[Lot], amount: int) -> list[Move]:
    """The movements that draw up to this amount from the lots in their order."""
    moves = []
    for lot in lots:
        share = min(lot.free, amount)
        if share > 0:
            moves.append(Move(lot.id, -share, lot.remaining - share))
            amount -= share
    return moves


def refuse_uncountable(account: TokenAccount, added: int) -> None:
    if account.balance + added > MOST:
        raise InvalidAmount(amount=added, detail=_("the account would hold more than can be counted."))


def post(
    account: TokenAccount,
    at: datetime,
    kind: EntryKind,
    moves: Sequence[Move],
    *,
    using: str,
    usage: TokenUsageLog | None = None,
    event: AuditEvent | None = None,
    member: TokenAccount | None = None,
) -> None:
    """Book the movements on the locked account: lots, entries, and the account's own balance and last moment.

    Raises InvalidAmount where the account would hold more than can be counted.
    """
    refuse_uncountable(account, sum(move.amount for move in moves))
    entries = []
    for move in moves:
        account.balance += move.amount
        entries.append(
            LedgerEntry(
                account=account,
                allocation_id=move.lot,
                kind=kind,
                amount=move.amount,
                lot_balance=move.rest,
                balance_after=account.balance,
                booked_at=at,
                usage=usage,
                event=event,
                member=member,
            )
        )
        TokenAllocation.objects.using(using).filter(pk=move.lot).update(remaining=move.rest, is_open=move.rest > 0)
    LedgerEntry.objects.using(using).bulk_create(entries)
    account.booked_at = at
    account.save(using=using, update_fields=["balance", "booked_at"])


def add_draw(pool: TokenAccount, member: TokenAccount, at: datetime, amount: int, using: str) -> None:
    """Count what a member drew from a pool (or, below zero, what came back) in the month of that moment."""
    row, _created = PoolDraw.objects.using(using).get_or_create(pool=pool, member=member, month=site_month(at))
    PoolDraw.objects.using(using).filter(pk=row.pk).update(drawn=F("drawn") + amount)


def site_month(at: datetime) -> date:
    return month_of(at, django_timezone.get_default_timezone())


def start_of_month(at: datetime) -> datetime:
    return start_of_day(site_month(at), django_timezone.get_default_timezone())


def recall(
    digest: UUID | None,
    key: str,
    verb: Verb,
    account: TokenAccount,
    amount: int | None,
    using: str,
    *,
    detail: str = "",
) -> IdempotencyKey | None:
    """What this key was used for before, if these are the same facts. Raises IdempotencyConflict if not."""
    known = IdempotencyKey.objects.using(using).filter(digest=digest).first() if digest else None
    if known and (known.verb, known.account_id, known.amount, known.detail) != (verb, account.pk, amount, detail):
        raise IdempotencyConflict(key=key, detail=known.get_verb_display())
    return known


def remember(digest: UUID | None, key: str, using: str, **facts: Any) -> None:
    """Store the key in the verb's own transaction. Raises IdempotencyConflict if another owner just took it."""
    if digest is None:
        return
    try:
        with transaction.atomic(using=using):
            IdempotencyKey.objects.using(using).create(digest=digest, **facts)
    except IntegrityError:
        raise IdempotencyConflict(key=key, detail=str(Verb(facts["verb"]).label)) from None


def remember_many(keys: Sequence[tuple[str, IdempotencyKey]], using: str) -> None:
    """Store the keys of a batch, each with its text. Raises IdempotencyConflict if another owner just took one."""
    try:
        with transaction.atomic(using=using):
            IdempotencyKey.objects.using(using).bulk_create(row for _text, row in keys)
    except IntegrityError:
        digests = [row.digest for _text, row in keys]
        taken = set(IdempotencyKey.objects.using(using).filter(digest__in=digests).values_list("digest", flat=True))
        for text, row in keys:
            if row.digest in taken:
                raise IdempotencyConflict(key=text, detail=row.get_verb_display()) from None
        raise
