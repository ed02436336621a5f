"""Granting to many: set-based on PostgreSQL, in steps elsewhere; always one transaction and one audit event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connections, models, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from django_token_pricing import audit, signals
from django_token_pricing.choices import EntryKind, Source, Verb
from django_token_pricing.exceptions import (
    IdempotencyConflict,
    InvalidAmount,
    InvalidMoment,
)
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import (
    DEFAULT_PRIORITY,
    AuditEvent,
    IdempotencyKey,
    LedgerEntry,
    TokenAccount,
    TokenAllocation,
    TokenPool,
)
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.grants import Moment, Paid, Terms
from django_token_pricing.tokens.results import BulkGrant
from django_token_pricing.tokens.staging import Stage

ACTION = "tokens.grant_many"
COLUMNS = {
    "amount": "bigint",
    "source": "text",
    "priority": "smallint",
    "starts_at": "timestamptz",
    "expires_at": "timestamptz",
    "paid_amount": "numeric",
    "paid_currency": "text",
    "key": "text",
    "digest": "uuid",
    "reason": "text",
    "event_id": "bigint",
}
# As lib.digests has it.
DIGEST = (
    "overlay(overlay(left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 32) PLACING '5' FROM 13) PLACING '8' FROM 17)"
    "::uuid"
)


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One lot of a batch. What is None is taken from the call."""

    owner: Any
    amount: int
    key: str | None = None
    source: Source | str | None = None
    priority: int | None = None
    starts_at: Moment | None = None
    expires_at: Moment | None = None
    paid: Paid | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    owner: Owner
    terms: Terms
    key: str
    digest: UUID | None
    reason: str


class CheckedRows(ABC, Iterable[GrantRow]):
    """Rows that were checked before and wait in a table, from where PostgreSQL takes them without Python."""

    @abstractmethod
    def fill(self, stage: Stage) -> None: ...


Rows: TypeAlias = "Iterable[GrantRow] | QuerySet[Any]"


def grant_many(
    rows: Rows,
    amount: int | None = None,
    *,
    source: Source | str,
    key: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    starts_at: Moment | None = None,
    expires_at: Moment | None = None,
    paid: Paid | None = None,
    reason: str = "",
    actor: models.Model | None = None,
) -> BulkGrant:
    """Give a lot to each of many owners, all or none, as one deed with one audit event.

    `rows` are `GrantRow`s with an amount each, or a queryset of users, pools or accounts that all get `amount`; a
    queryset never passes through Python on PostgreSQL. A row's own key makes that row safe to repeat; `key` does so
    for the rows that have none (each gets "key:owner"). Rows that were granted before are counted as replayed. Rows
    with a reason of their own have an audit event for each such reason beside that of the batch.

    `tokens_granted` is sent once, with the BulkGrant. Raises what `grant` raises.
    """
    terms = partial(Terms.of, source=source, priority=priority, starts_at=starts_at, expires_at=expires_at, paid=paid)
    return _grant(rows, amount, terms, key, _Events(reason, actor))


def grant_for(event: AuditEvent, rows: Rows, amount: int | None = None, *, source: str, **terms: Any) -> BulkGrant:
    """`grant_many` as a part of a deed that has its audit event already."""
    return _grant(rows, amount, partial(Terms.of, source=source, **terms), None, _Events.of(event))


@dataclass(slots=True)
class _Events:
    """The audit events of a batch: one of all, or that of the deed it is a part of, and one a reason of rows' own."""

    reason: str
    actor: models.Model | None
    actor_label: str = ""
    event: AuditEvent | None = None

    @classmethod
    def of(cls, event: AuditEvent) -> _Events:
        return cls(event.reason, None, event.actor_label, event)

    def record(self, count: int, tokens: int, using: str) -> AuditEvent:
        """That of the whole batch, made now where the deed has none yet."""
        if self.event is None:
            changes = {"granted": (0, tokens)}
            self.event = audit.record(
                ACTION, actor=self.actor, reason=self.reason, changes=changes, count=count, using=using
            )
        return self.event

    def record_own(self, sums: Iterable[tuple[str, int, int]], using: str) -> dict[str, int]:
        """Those of the rows' own reasons, by the reason; each is given with its number of rows and their tokens."""
        assert self.event is not None  # noqa: S101 - recorded before
        made = [
            AuditEvent(
                action=ACTION,
                actor_id=self.event.actor_id,
                actor_label=self.event.actor_label,
                target_type=AuditEvent._meta.label_lower,
                target_id=str(self.event.pk),
                target_label=str(self.event)[:255],
                reason=reason,
                changes={"granted": [0, tokens]},
                count=count,
            )
            for reason, count, tokens in sums
            if reason != self.event.reason
        ]
        AuditEvent.objects.using(using).bulk_create(made, batch_size=1_000)
        return {event.reason: event.pk for event in made}


def _grant(rows: Rows, amount: int | None, terms: partial[Terms], key: str | None, events: _Events) -> BulkGrant:
    if isinstance(rows, QuerySet) and rows.model is TokenAccount:
        # A closed account has no owner to grant to.
        rows = rows.exclude(user=None, pool=None)
    prefix, _digest = arguments.key(key)
    using = booking.database()
    with booking.writing(using):
        if connections[using].vendor == "postgresql":
            result = _staged(rows, amount, terms, prefix, events, using)
        else:
            result = _stepwise(_checked(rows, amount, terms, prefix), events, using)
        if result.granted:
            tell = partial(signals.tokens_granted.send_robust, sender=TokenAllocation, result=result)
            transaction.on_commit(tell, using=using)
    return result


def _checked(rows: Rows, amount: int | None, terms: partial[Terms], prefix: str) -> Iterator[_Checked]:
    if isinstance(rows, QuerySet):
        owners = rows.iterator(chunk_size=2_000)
        rows = (GrantRow(owner, terms(amount).amount) for owner in owners)
    for row in rows:
        owner = arguments.owner(row.owner)
        own = {
            name: value
            for name in ("source", "priority", "starts_at", "expires_at", "paid")
            if (value := getattr(row, name)) is not None
        }
        key = row.key
        if key is None and prefix:
            key = f"{prefix}:{_named(owner)}"
        yield _Checked(owner, terms(row.amount, **own), *arguments.key(key), row.reason or "")


def _named(owner: Owner) -> str:
    return str(owner.user) if owner.pool is None else f"pool-{owner.pool}"


# On PostgreSQL ------------------------------------------------------------------------------------------------------


def _staged(
    rows: Rows,
    amount: int | None,
    terms: partial[Terms],
    prefix: str,
    events: _Events,
    using: str,
) -> BulkGrant:
    with connections[using].cursor() as cursor:
        stage = Stage(cursor, COLUMNS, "django_token_pricing_tokenallocation_id_seq", using)
        if isinstance(rows, QuerySet):
            _fill_from(stage, rows, terms(amount), prefix, using)
        elif isinstance(rows, CheckedRows):
            rows.fill(stage)
        else:
            stage.fill(map(_columns, _checked(rows, amount, terms, prefix)))
        stage.open_accounts()
        stage.lock_owners()
        replayed = _drop_known(stage)
        (count, tokens, accounts) = stage.one(
            "SELECT count(*), coalesce(sum(amount), 0), count(DISTINCT account_id) FROM tp_stage"
        )
        if not count:
            return BulkGrant(granted=0, tokens=0, replayed=replayed, event=None)
        event = events.record(count, int(tokens), using)
        _name_own_events(stage, event)
        _refuse_bad(stage)
        _book(stage, event, several=accounts < count)
    return BulkGrant(granted=count, tokens=int(tokens), replayed=replayed, event=event.pk)


def _columns(row: _Checked) -> Sequence[Any]:
    terms = row.terms
    return (
        row.owner.user,
        row.owner.pool,
        terms.amount,
        terms.source,
        terms.priority,
        terms.starts_at,
        terms.expires_at,
        terms.paid_amount,
        terms.paid_currency,
        row.key,
        row.digest,
        row.reason or None,
        None,
    )


def _fill_from(stage: Stage, rows: QuerySet[Any], terms: Terms, prefix: str, using: str) -> None:
    column = {TokenAccount: "id", TokenPool: "pool_id"}.get(rows.model, "user_id")
    try:
        sql, params = rows.using(using).order_by().values("pk").query.get_compiler(using).as_sql()
    except EmptyResultSet:
        return
    values = {name: getattr(terms, name) for name in COLUMNS if hasattr(terms, name)}
    stage.fill_from(column, sql, params, values)
    if prefix:
        stage.cursor.execute(
            f"""
            UPDATE tp_stage t SET key = k.key, digest = {DIGEST.format("k.key")}
            FROM (SELECT s.id, %s || ':' || coalesce(s.user_id::text, 'pool-' || s.pool_id) AS key FROM tp_stage s) k
            WHERE k.id = t.id
            """,
            [prefix],
        )
        (longest,) = stage.one("SELECT (SELECT key FROM tp_stage ORDER BY length(key) DESC LIMIT 1)")
        arguments.key(longest)


def _drop_known(stage: Stage) -> int:
    """Take out the rows whose key was granted before; returns how many. Raises IdempotencyConflict."""
    (keyed,) = stage.one("SELECT EXISTS (SELECT 1 FROM tp_stage WHERE digest IS NOT NULL)")
    if not keyed:
        return 0
    found = stage.one(
        """
        SELECT min(t.key) FROM tp_stage t JOIN django_token_pricing_idempotencykey k ON k.digest = t.digest
        WHERE (k.verb, k.account_id, k.amount, k.detail) IS DISTINCT FROM ('grant', t.account_id, t.amount, t.source)
        UNION ALL
        SELECT min(key) FROM tp_stage WHERE digest IS NOT NULL GROUP BY digest
        HAVING count(DISTINCT (account_id, amount, source)) > 1
        ORDER BY 1 NULLS LAST LIMIT 1
        """
    )
    if found and found[0] is not None:
        raise IdempotencyConflict(key=found[0], detail=str(Verb.GRANT.label))
    stage.cursor.execute("DELETE FROM tp_stage t USING django_token_pricing_idempotencykey k WHERE k.digest = t.digest")
    dropped: int = stage.cursor.rowcount
    stage.cursor.execute(
        """
        DELETE FROM tp_stage t USING (
            SELECT id, row_number() OVER (PARTITION BY digest ORDER BY id) AS place FROM tp_stage
            WHERE digest IS NOT NULL) x
        WHERE x.place > 1 AND x.id = t.id
        """
    )
    dropped += stage.cursor.rowcount
    return dropped


def _name_own_events(stage: Stage, event: AuditEvent) -> None:
    """The events of rows' own reasons, made where the rows are: there may be as many as rows."""
    (given,) = stage.one("SELECT EXISTS (SELECT 1 FROM tp_stage WHERE reason IS NOT NULL)")
    if not given:
        return
    stage.cursor.execute(
        """
        WITH sums AS (
            SELECT reason, count(*) AS rows, sum(amount)::bigint AS tokens FROM tp_stage
            WHERE reason <> %(reason)s GROUP BY reason ORDER BY reason
        ), made AS (
            INSERT INTO django_token_pricing_auditevent
                (at, action, actor_id, actor_label, target_type, target_id, target_label, reason, changes, count)
            SELECT clock_timestamp(), %(action)s, e.actor_id, e.actor_label, %(type)s, e.id::text, %(label)s, s.reason,
                jsonb_build_object('granted', jsonb_build_array(0, s.tokens)), s.rows
            FROM sums s CROSS JOIN django_token_pricing_auditevent e WHERE e.id = %(event)s
            RETURNING id, reason
        )
        UPDATE tp_stage t SET event_id = made.id FROM made WHERE t.reason = made.reason
        """,
        {
            "reason": event.reason,
            "action": ACTION,
            "type": AuditEvent._meta.label_lower,
            "label": str(event)[:255],
            "event": event.pk,
        },
    )


def _refuse_bad(stage: Stage) -> None:
    stage.cursor.execute(
        """
        UPDATE tp_stage t SET starts_at = greatest(clock_timestamp(), o.booked_at + interval '1 microsecond')
        FROM tp_owner o WHERE o.account_id = t.account_id AND t.starts_at IS NULL AND t.expires_at IS NOT NULL
        """
    )
    (ends,) = stage.one("SELECT min(expires_at) FROM tp_stage WHERE expires_at <= starts_at")
    if ends is not None:
        raise InvalidMoment(name="expires_at", value=ends, detail=_("it lies in the past."))
    (most,) = stage.one(
        """
        SELECT max(x.sum) FROM (SELECT sum(t.amount::numeric) + max(o.balance) AS sum FROM tp_stage t
            JOIN tp_owner o ON o.account_id = t.account_id GROUP BY t.account_id) x
        """
    )
    if most > arguments.MOST:
        raise InvalidAmount(amount=int(most), detail=_("an account would hold more than can be counted."))


def _book(stage: Stage, event: AuditEvent, *, several: bool) -> None:
    # With one row an account, which is usual, no window has to sort them all.
    upto = "sum(t.amount) OVER (PARTITION BY t.account_id ORDER BY t.id)" if several else "t.amount"
    stage.cursor.execute(
        f"""
        WITH due AS MATERIALIZED (
            SELECT t.*, greatest(c.now, o.booked_at + interval '1 microsecond') AS at, o.balance + {upto} AS after
            FROM tp_stage t JOIN tp_owner o ON o.account_id = t.account_id
            CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) c
        ), lots AS (
            INSERT INTO django_token_pricing_tokenallocation
                (id, account_id, source, amount, remaining, is_open, priority, starts_at, expires_at, booked_at,
                 paid_amount, paid_currency, key, event_id)
            SELECT id, account_id, source, amount, amount, true, priority, coalesce(starts_at, at), expires_at, at,
                paid_amount, paid_currency, coalesce(key, ''),
                coalesce(event_id, %(event)s) FROM due
        ), keys AS (
            INSERT INTO django_token_pricing_idempotencykey (digest, verb, account_id, amount, detail, booked_at)
            SELECT digest, 'grant', account_id, amount, source, at FROM due WHERE digest IS NOT NULL
            ON CONFLICT (digest) DO NOTHING RETURNING digest
        ), accounts AS (
            UPDATE django_token_pricing_tokenaccount a SET balance = x.after, booked_at = x.at
            FROM (SELECT account_id, max(after) AS after, max(at) AS at FROM due GROUP BY account_id) x
            WHERE a.id = x.account_id
        ), entries AS (
            INSERT INTO django_token_pricing_ledgerentry
                (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at, event_id)
            SELECT account_id, id, 'grant', amount, amount, after, at, coalesce(event_id, %(event)s) FROM due
        )
        SELECT min(due.key) FROM due LEFT JOIN keys ON keys.digest = due.digest
        WHERE due.digest IS NOT NULL AND keys.digest IS NULL
        """,
        {"event": event.pk},
    )
    (taken,) = stage.cursor.fetchone()
    if taken is not None:
        # Another owner used the key at this very moment; leaving the atomic block undoes the batch.
        raise IdempotencyConflict(key=taken, detail=str(Verb.GRANT.label))


# Elsewhere ----------------------------------------------------------------------------------------------------------


def _stepwise(given: Iterator[_Checked], events: _Events, using: str) -> BulkGrant:
    rows = list(given)
    found = booking.accounts_of({row.owner for row in rows}, using)
    accounts = {owner: account.pk for owner, account in found.items()}
    locked = booking.lock_accounts(accounts.values(), using)
    fresh = _fresh(rows, accounts, using)
    tokens = sum(row.terms.amount for row in fresh)
    replayed = len(rows) - len(fresh)
    if not fresh:
        return BulkGrant(granted=0, tokens=0, replayed=replayed, event=None)
    event = events.record(len(fresh), tokens, using)
    sums: dict[str, tuple[int, int]] = {}
    for row in fresh:
        if row.reason:
            count, whole = sums.get(row.reason, (0, 0))
            sums[row.reason] = count + 1, whole + row.terms.amount
    own = events.record_own(((reason, *both) for reason, both in sorted(sums.items())), using)
    now = booking.clock(using)
    # One moment an account, fixed before the first of its rows moves it.
    moments = {pk: max([now, *([of.booked_at + booking.TICK] if of.booked_at else [])]) for pk, of in locked.items()}
    for step in steps(fresh):
        lots, entries = [], []
        for row in step:
            account = locked[accounts[row.owner]]
            at = account.booked_at = moments[account.pk]
            of = own.get(row.reason, event.pk)
            lot = row.terms.lot(account, at, key=row.key, event_id=of)
            account.balance += lot.amount
            lots.append(lot)
            entries.append(
                LedgerEntry(
                    account=account,
                    kind=EntryKind.GRANT,
                    amount=lot.amount,
                    lot_balance=lot.amount,
                    balance_after=account.balance,
                    booked_at=at,
                    event_id=of,
                )
            )
        TokenAllocation.objects.using(using).bulk_create(lots)
        for lot, entry in zip(lots, entries, strict=True):
            entry.allocation = lot
        LedgerEntry.objects.using(using).bulk_create(entries)
        keys = [
            (
                row.key,
                IdempotencyKey(
                    digest=row.digest,
                    verb=Verb.GRANT,
                    account_id=lot.account_id,
                    amount=lot.amount,
                    detail=lot.source,
                    booked_at=lot.booked_at,
                ),
            )
            for row, lot in zip(step, lots, strict=True)
            if row.digest
        ]
        booking.remember_many(keys, using)
    for changed in steps([locked[pk] for pk in sorted({accounts[row.owner] for row in fresh})]):
        TokenAccount.objects.using(using).bulk_update(changed, ["balance", "booked_at"])
    return BulkGrant(granted=len(fresh), tokens=tokens, replayed=replayed, event=event.pk)


def _fresh(rows: list[_Checked], accounts: dict[Owner, int], using: str) -> list[_Checked]:
    """The rows that were not granted before, each key once. Raises IdempotencyConflict."""
    facts: dict[UUID, tuple[Any, ...]] = {}
    for step in steps([row.digest for row in rows if row.digest]):
        known = IdempotencyKey.objects.using(using).filter(digest__in=step)
        facts.update((key.digest, (key.verb, key.account_id, key.amount, key.detail)) for key in known)
    fresh = []
    for row in rows:
        said = (Verb.GRANT.value, accounts[row.owner], row.terms.amount, row.terms.source)
        if row.digest is None:
            fresh.append(row)
        elif row.digest not in facts:
            facts[row.digest] = said
            fresh.append(row)
        elif facts[row.digest] != said:
            raise IdempotencyConflict(key=row.key, detail=str(Verb.GRANT.label))
    return fresh
