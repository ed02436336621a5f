"""A grant as a job (frozen, previewed, confirmed, done in chunks) against bare INSERT..SELECT of the same rows.

Then the engine against the same chunks without it, and a batch in which each row has an audit event of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from uuid import uuid4

from django.contrib.auth import get_user_model

from benchmarks.grants import inserting, prepare
from benchmarks.harness import (
    ENTRY,
    KEY,
    LOT,
    Goal,
    Options,
    add_users,
    alternate,
    bare_copy,
    database,
    execute,
    options,
    peak_memory,
    seconds,
    times,
    users,
)
from django_token_pricing import jobs, tokens
from django_token_pricing.models import Job, TokenAccount
from django_token_pricing.tokens import GrantRow

CHUNK = 10_000
TERMS = {"amount": 1_000, "source": "plan", "priority": 100, "starts_on": None, "expires_on": None}

jobs.register_selection("first", lambda chosen, actor: TokenAccount.objects.filter(user__lte=chosen["most"]))


def empty() -> None:
    execute("TRUNCATE django_token_pricing_jobrow, django_token_pricing_jobfile, django_token_pricing_job CASCADE")
    prepare()


def previewed(number: int) -> Job:
    params = {"selection": {"by": "first", "most": number}, **TERMS}
    return jobs.create("tokens.grant", params=params, actor=None, key=uuid4(), now=True)


def previewing(number: int) -> float:
    empty()
    return seconds(lambda: previewed(number))


def doing(number: int) -> float:
    empty()
    job = jobs.confirm(previewed(number), reason="Goodwill", actor=None)
    return seconds(lambda: jobs.work(job.pk))


def chunks(number: int) -> float:
    """The same grants by the same verb in the same chunks, without the engine: a range of accounts each."""
    empty()
    accounts = TokenAccount.objects.filter(user__lte=number)
    numbers = list(accounts.order_by("pk").values_list("pk", flat=True)[::CHUNK])
    give = partial(tokens.grant_many, amount=1_000, source="plan")
    steps = list(zip(numbers, [*numbers[1:], None], strict=True))

    def do() -> None:
        for first, after in steps:
            give(accounts.filter(pk__gte=first, **({} if after is None else {"pk__lt": after})))

    return seconds(do)


def against_chunks(rounds: int, number: int) -> None:
    """Small sizes are noisy, so these two alternate more often than others."""
    pairs = alternate(max(rounds, 5), partial(doing, number), partial(chunks, number))
    times(f"job of {number:,} grants, done : the same chunks alone", pairs, Goal(1.1, 1.05, low=True), rows=number)


def audited(number: int) -> float:
    """Each row with a reason, and so an audit event, of its own."""
    prepare()
    owners = users(number)

    def rows() -> Iterator[GrantRow]:
        for place, owner in enumerate(owners):
            yield GrantRow(owner, 1_000, reason=f"ticket {place}")

    return seconds(lambda: tokens.grant_many(rows(), source="plan"))


def run(given: Options) -> None:
    some, all_of_them = (5_000, 20_000) if given.quick else (100_000, 1_000_000)
    with database():
        add_users(all_of_them)
        tokens.grant_many(get_user_model().objects.all(), 1, source="plan")
        bare_copy(LOT, "lot", storage="WITH (fillfactor = 70)", instead={LOT: "bare.lot"})
        bare_copy(ENTRY, "entry", instead={LOT: "bare.lot"})
        bare_copy(KEY, "key")
        before = peak_memory()
        for number in (some, all_of_them):
            print(f"  {number:,} accounts frozen and previewed: {previewing(number):.1f} s")
            pairs = alternate(given.rounds, partial(doing, number), partial(inserting, number))
            times(f"job of {number:,} grants, done : INSERT..SELECT", pairs, Goal(2, 1.4, low=True), rows=number)
            print(f"  peak memory of the process: {before:.0f} MB before, {peak_memory():.0f} MB after")
        against_chunks(given.rounds, some)
        pairs = alternate(given.rounds, partial(audited, some), partial(inserting, some))
        times(f"{some:,} grants, an audit event each : INSERT..SELECT", pairs, Goal(3, 2, low=True), rows=some)


if __name__ == "__main__":
    run(options(__doc__))
