"""Usage without a charge: history brought in, or a trace replayed. It draws on no lot and moves no balance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import connections, transaction

from django_token_pricing.choices import Verb
from django_token_pricing.exceptions import IdempotencyConflict, UnknownOwner
from django_token_pricing.models import IdempotencyKey, TokenUsageLog
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.metering import Use
from django_token_pricing.tokens.staging import Stage

COLUMNS = {
    "amount": "bigint",
    "key": "text",
    "digest": "uuid",
    "used_at": "timestamptz",
    "model": "text",
    "feature": "text",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cached_tokens": "bigint",
    "cost": "numeric",
    "metadata": "jsonb",
}
STEP = 5_000


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
    source = iter(uses)
    recorded = replayed = 0
    step_of = _staged if connections[using].vendor == "postgresql" else _stepwise
    with transaction.atomic(using=using):
        booking.start_writing(using)
        while step := list(islice(source, STEP)):
            stored = step_of(step, using)
            recorded += stored
            replayed += len(step) - stored
    return Recorded(recorded=recorded, replayed=replayed)


def _staged(uses: list[Use], using: str) -> int:
    with connections[using].cursor() as cursor:
        stage = Stage(cursor, COLUMNS, "django_token_pricing_tokenusagelog_id_seq", using)
        stage.fill(_columns(uses, using))
        if not stage.open_accounts():
            (missing,) = stage.one("SELECT user_id FROM tp_stage WHERE account_id IS NULL LIMIT 1")
            raise UnknownOwner(owner=missing)
        cursor.execute(
            """
            INSERT INTO django_token_pricing_idempotencykey
                (digest, verb, account_id, amount, detail, booked_at, usage_id)
            SELECT digest, 'record', account_id, amount, '', clock_timestamp(), id FROM tp_stage
            WHERE digest IS NOT NULL ORDER BY id ON CONFLICT (digest) DO NOTHING
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
                (id, account_id, amount, is_charged, used_at, booked_at, tier, key, model, feature, input_tokens,
                 output_tokens, cached_tokens, cost, metadata)
            SELECT t.id, t.account_id, t.amount, false, coalesce(t.used_at, c.now), c.now, a.tier, t.key,
                coalesce(t.model, ''), coalesce(t.feature, ''), t.input_tokens, t.output_tokens, t.cached_tokens,
                t.cost, coalesce(t.metadata, '{}')
            FROM tp_stage t JOIN django_token_pricing_tokenaccount a ON a.id = t.account_id
            LEFT JOIN django_token_pricing_idempotencykey k ON k.digest = t.digest
            CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) c
            WHERE t.digest IS NULL OR k.usage_id = t.id
            ORDER BY t.id
            """
        )
        stored: int = cursor.rowcount
    return stored


def _columns(uses: list[Use], using: str) -> Iterator[tuple[Any, ...]]:
    pools: dict[Owner, int | None] = {}
    for use in uses:
        account = None
        if use.owner.pool is not None:
            if use.owner not in pools:
                pools[use.owner] = booking.account_of(use.owner, using)
            account = pools[use.owner]
        facts = use.usage
        yield (
            use.owner.user,
            account,
            use.amount,
            use.key,
            use.digest,
            facts.used_at,
            facts.model,
            facts.feature,
            facts.input_tokens,
            facts.output_tokens,
            facts.cached_tokens,
            facts.cost,
            None if facts.metadata is None else json.dumps(facts.metadata),
        )


def _stepwise(uses: list[Use], using: str) -> int:
    accounts = booking.accounts_of({use.owner for use in uses}, using)
    digests = [use.digest for use in uses if use.digest]
    known = {
        key.digest: (key.verb, key.account_id, key.amount)
        for key in IdempotencyKey.objects.using(using).filter(digest__in=digests)
    }
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
        for use in fresh
    ]
    TokenUsageLog.objects.using(using).bulk_create(rows)
    IdempotencyKey.objects.using(using).bulk_create(
        IdempotencyKey(
            digest=use.digest, verb=Verb.RECORD, account_id=row.account_id, amount=use.amount, booked_at=now, usage=row
        )
        for use, row in zip(fresh, rows, strict=True)
        if use.digest
    )
    return len(fresh)
