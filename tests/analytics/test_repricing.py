"""Costs at the price list of now: compared first, month by month, then taken over exactly."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from datetime import timezone as tz
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from django_token_pricing import analytics, audit, jobs, tokens
from django_token_pricing.analytics import repricing
from django_token_pricing.exceptions import InvalidInput, InvalidPeriod, RollupsPruned
from django_token_pricing.models import Job, LedgerPrune, RollupState, UsageDay
from tests.analytics.rolled import roll_up
from tests.world import new_user

pytestmark = pytest.mark.django_db

MARCH, APRIL, MAY, JUNE = (date(2025, month, 1) for month in (3, 4, 5, 6))
WHY: dict[str, Any] = {"reason": "The provider's list", "actor": None}


def at(day: date, hours: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=tz.utc) + timedelta(hours=hours)


def use(day: date, model: str = "gpt-5", **facts: Any) -> None:
    given = {"input_tokens": 1_000_000, "output_tokens": 0, "used_at": at(day), **facts}
    tokens.record_many([tokens.Use(new_user(), 10, key=str(uuid4()), model=model, **given)])


def price(day: date, amount: int, **values: Any) -> Any:
    given = {"model": "gpt-5", "starts_at": at(day, 0), "input": amount, "output": amount, **WHY, **values}
    return tokens.set_price(**given)


def compared(first: date, until: date) -> Job:
    job = analytics.ask_repricing(first, until, actor=None, key=uuid4())
    jobs.work(job.pk)
    job.refresh_from_db()
    return job


def applied(job: Job) -> Job:
    jobs.confirm(job, reason="As listed", actor=None)
    jobs.work(job.pk)
    job.refresh_from_db()
    assert job.status == "done", job.problem
    return job


def lines(job: Job) -> dict[str, analytics.Repriced]:
    found = map(analytics.Repriced.of, job.preview["lines"])
    return {line.model: line for line in found}


def test_a_use_costs_what_was_charged_at_its_moment() -> None:
    use(MARCH)
    use(APRIL + timedelta(days=3))
    use(APRIL + timedelta(days=20))
    roll_up()
    price(MARCH, 2)
    price(APRIL + timedelta(days=10), 5)
    job = compared(MARCH, MAY)
    line = lines(job)["gpt-5"]
    assert (line.before, line.after, line.unpriced_before, line.unpriced_after) == (0, 9, 3, 0)
    applied(job)
    assert sum(UsageDay.objects.values_list("cost", flat=True)) == 9
    assert analytics.verify() == []


def test_a_comparison_changes_nothing() -> None:
    use(MARCH)
    roll_up()
    price(MARCH, 2)
    compared(MARCH, APRIL)
    assert UsageDay.objects.get().cost == 0
    assert RollupState.objects.get().prices_changed_from == at(MARCH, 0)


def test_uses_with_a_cost_of_their_own_keep_it() -> None:
    use(MARCH, cost=Decimal("0.5"))
    use(MARCH, input_tokens=None, output_tokens=None)
    roll_up()
    price(MARCH, 2)
    job = compared(MARCH, APRIL)
    whole = analytics.Repriced.of(job.preview["whole"])
    assert (whole.before, whole.after, whole.unpriced_after) == (Decimal("0.5"), Decimal("0.5"), 1)
    assert job.preview["changed"] == 0


def test_each_kind_of_tokens_and_the_provider_count() -> None:
    facts = {"cached_tokens": 400_000, "output_tokens": 100_000, "reasoning_tokens": 50_000}
    use(MARCH, provider="azure", **facts)
    use(MARCH, **facts)
    roll_up()
    price(MARCH, 2, cached_read=1, reasoning=20)
    price(MARCH, 4, provider="azure")
    line = lines(compared(MARCH, APRIL))["gpt-5"]
    assert line.after == Decimal("0.6") * 2 + Decimal("0.4") + Decimal("0.05") * 2 + Decimal("0.05") * 20 + Decimal(
        "4.4"
    )


def test_months_that_were_not_asked_for_stay_as_they_are_and_stay_noted() -> None:
    use(MARCH)
    use(APRIL)
    roll_up()
    price(MARCH, 2)
    applied(compared(MARCH, APRIL))
    assert list(UsageDay.objects.order_by("day").values_list("cost", flat=True)) == [2, 0]
    since = RollupState.objects.get().prices_changed_from
    assert since is not None
    assert since.astimezone(analytics.zone()).date() == APRIL


def test_all_months_from_the_change_on_clear_the_note() -> None:
    use(MARCH)
    roll_up()
    price(MARCH, 2)
    first, until = analytics.months_to_reprice()
    assert (first, until.day) == (MARCH, 1)
    assert until > analytics.today()
    applied(compared(first, until))
    assert RollupState.objects.get().prices_changed_from is None


def test_prices_that_change_after_the_comparison_ask_for_another() -> None:
    use(MARCH)
    roll_up()
    price(MARCH, 2)
    job = compared(MARCH, APRIL)
    price(APRIL, 3)
    with pytest.raises(InvalidInput):
        jobs.confirm(job, reason="As listed", actor=None)


def test_prices_that_change_while_it_runs_keep_their_note(monkeypatch: pytest.MonkeyPatch) -> None:
    use(MARCH)
    use(MAY)
    roll_up()
    price(MARCH, 2)
    job = compared(MARCH, JUNE)
    made = []

    def rebuild(first: date, until: date) -> analytics.Rebuilt:
        if first == APRIL:
            price(MARCH + timedelta(days=1), 3)
        made.append(first)
        return analytics.rebuild(first, until)

    monkeypatch.setattr(repricing, "rebuild", rebuild)
    applied(job)
    assert made == [MARCH, APRIL, MAY]
    assert RollupState.objects.get().prices_changed_from == at(MARCH, 0)


@pytest.mark.django_db(transaction=True)
def test_a_use_that_came_meanwhile_is_folded_first() -> None:
    use(MARCH)
    analytics.fold()
    price(MARCH, 2)
    use(MARCH)
    line = lines(compared(MARCH, APRIL))["gpt-5"]
    assert (line.before, line.after) == (2, 4)


@pytest.mark.parametrize(
    ("first", "until"),
    [
        (MARCH, MARCH),
        (APRIL, MARCH),
        (MARCH + timedelta(days=1), APRIL),
        (date(1975, 1, 1), date(2025, 1, 1)),
    ],
)
def test_what_are_no_months_is_refused(first: date, until: date) -> None:
    with pytest.raises(InvalidPeriod):
        analytics.ask_repricing(first, until, actor=None, key=uuid4())
    assert not Job.objects.exists()


def test_months_that_were_pruned_cannot_be_worked_out_anew() -> None:
    LedgerPrune.objects.create(before=at(MAY), event=audit.record("tokens.prune"))
    with pytest.raises(RollupsPruned):
        analytics.ask_repricing(APRIL, JUNE, actor=None, key=uuid4())
    assert analytics.repriceable_months()[0] == JUNE


def test_models_without_a_price_are_named_with_why() -> None:
    use(analytics.today() - timedelta(days=3), "unknown")
    use(analytics.today() - timedelta(days=3), "counts missing", input_tokens=None, output_tokens=None)
    use(analytics.today() - timedelta(days=3), "late")
    price(analytics.today() - timedelta(days=90), 1, model="counts missing")
    price(analytics.today() - timedelta(days=1), 1, model="late")
    roll_up()
    found = {row.model: row for row in analytics.models_without_price(analytics.today() - timedelta(days=30))}
    assert set(found) == {"unknown", "counts missing", "late"}
    assert found["unknown"].priced_from is None
    late, missing = found["late"].priced_from, found["counts missing"].priced_from
    assert late is not None
    assert missing is not None
    assert missing < found["counts missing"].first < late
    assert analytics.models_without_price(analytics.today()) == []
    assert set(analytics.models_in_use(analytics.today() - timedelta(days=30))) == set(found)
