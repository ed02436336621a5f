"""Usage without a charge: history brought in, or a trace replayed. It draws on no lot and moves no balance."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from django_token_pricing.choices import Verb
from django_token_pricing.exceptions import IdempotencyConflict
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import IdempotencyKey, TokenUsageLog
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.metering import Use
from django_token_pricing.tokens.staging import Stage

COLUMNS = {
    "amount": "bigint",
    "key": "text",
    "digest": "uuid",
    "used_at": "timestamptz",
    "provider": "text",
    "model": "text",
    "feature": "text",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cached_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "cost": "numeric",
    "metadata": "jsonb",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """How many uses were stored now, and how many had been before."""

    recorded: int
    replayed: int


def record_many(uses: Iterable[Use]) -> Recorded:
    """Store uses that are not charged, all or none. A key that was recorded before with the same facts is skipped.

    Raises IdempotencyConflict, UnknownOwner.
    """
    using = booking.database()
    with transaction.atomic(using=using):
        booking.start_writing(using)
        if connections[using].vendor == "postgresql":
            return _staged(uses, using)
        return _stepwise(list(uses), using)


def _staged(uses: Iterable[Use], using: str) -> Recorded:
    with connections[using].cursor() as cursor:
        stage = Stage(cursor, COLUMNS, "django_token_pricing_tokenusagelog_id_seq", using)
        stage.fill(map(_columns, uses))
        stage.open_accounts()
        # In an order of their own: two batches with keys in common wait for each other, and never in a ring.
        cursor.execute(
            """
            INSERT INTO django_token_pricing_idempotencykey
                (digest, verb, account_id, amount, detail, booked_at, usage_id)
            SELECT digest, 'record', account_id, amount, '', clock_timestamp(), id FROM tp_stage
            WHERE digest IS NOT NULL ORDER BY digest, id ON CONFLICT (digest) DO NOTHING
            """
        )
        (other,) = stage.one(
            """
            SELECT min(t.key) FROM tp_stage t JOIN django_token_pricing_idempotencykey k ON k.digest = t.digest
            WHERE k.usage_id IS DISTINCT FROM t.id
                AND (k.verb, k.account_id, k.amount) IS DISTINCT FROM ('record', t.account_id, t.amount)
            """
        )
        if other is not None:
            raise IdempotencyConflict(key=other, detail=str(Verb.RECORD.label))
        cursor.execute(
            """
            INSERT INTO django_token_pricing_tokenusagelog
                (id, account_id, amount, is_charged, used_at, booked_at, tier, key, provider, model, feature,
                 input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost, metadata)
            SELECT t.id, t.account_id, t.amount, false, coalesce(t.used_at, c.now), c.now, a.tier, t.key,
                coalesce(t.provider, ''), coalesce(t.model, ''), coalesce(t.feature, ''), t.input_tokens,
                t.output_tokens, t.cached_tokens, t.cache_write_tokens, t.reasoning_tokens, t.cost,
                coalesce(t.metadata, '{}')
            FROM tp_stage t JOIN django_token_pricing_tokenaccount a ON a.id = t.account_id
            LEFT JOIN django_token_pricing_idempotencykey k ON k.digest = t.digest
            CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) c
            WHERE t.digest IS NULL OR k.usage_id = t.id
            ORDER BY t.id
            """
        )
        stored: int = cursor.rowcount
        (given,) = stage.one("SELECT count(*) FROM tp_stage")
    return Recorded(recorded=stored, replayed=given - stored)


def _columns(use: Use) -> tuple[Any, ...]:
    facts = use.usage
    return (
        use.owner.user,
        use.owner.pool,
        use.amount,
        use.key,
        use.digest,
        facts.used_at,
        facts.provider,
        facts.model,
        facts.feature,
        facts.input_tokens,
        facts.output_tokens,
        facts.cached_tokens,
        facts.cache_write_tokens,
        facts.reasoning_tokens,
        facts.cost,
        None if facts.metadata is None else json.dumps(facts.metadata),
    )


def _stepwise(uses: list[Use], using: str) -> Recorded:
    accounts = booking.accounts_of({use.owner for use in uses}, using)
    # No balance moves, but whoever brings the same uses must wait here to find their keys.
    booking.lock_accounts((account.pk for account in accounts.values()), using)
    known: dict[UUID, tuple[Any, ...]] = {}
    for digests in steps([use.digest for use in uses if use.digest]):
        found = IdempotencyKey.objects.using(using).filter(digest__in=digests)
        known.update((key.digest, (key.verb, key.account_id, key.amount)) for key in found)
    fresh = []
    for use in uses:
        said = (Verb.RECORD.value, accounts[use.owner].pk, use.amount)
        if use.digest is None or use.digest not in known:
            fresh.append(use)
            if use.digest:
                known[use.digest] = said
        elif known[use.digest] != said:
            raise IdempotencyConflict(key=use.key, detail=str(Verb.RECORD.label))
    now = booking.clock(using)
    for step in steps(fresh):
        rows = [
            TokenUsageLog(
                account=accounts[use.owner],
                amount=use.amount,
                is_charged=False,
                tier=accounts[use.owner].tier,
                key=use.key,
                booked_at=now,
                **{"used_at": now, **use.usage.given()},
            )
            for use in step
        ]
        TokenUsageLog.objects.using(using).bulk_create(rows)
        facts = {"verb": Verb.RECORD, "booked_at": now}
        keys = [
            (
                use.key,
                IdempotencyKey(digest=use.digest, account_id=row.account_id, amount=use.amount, usage=row, **facts),
            )
            for use, row in zip(step, rows, strict=True)
            if use.digest
        ]
        booking.remember_many(keys, using)
    return Recorded(recorded=len(fresh), replayed=len(uses) - len(fresh))
