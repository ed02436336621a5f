"""Metering what a provider answered: weighed, booked once, and stored as it came."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.exceptions import (
    IdempotencyConflict,
    InsufficientTokens,
    InvalidKey,
    InvalidResponse,
    InvalidUsage,
    UnknownKey,
)
from django_token_pricing.models import ModelPrice, TokenHold, TokenUsageLog
from tests.world import new_user

ANSWER = {
    "model": "gpt-5",
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 10},
    },
}
WHY = {"reason": "The provider's list", "actor": None}


@pytest.fixture
def owner(user: Any) -> Any:
    tokens.grant(user, 10_000, source="manual")
    return user


def weigh(**values: Any) -> ModelPrice:
    return tokens.set_price(**{"model": "gpt-5", "starts_at": timezone.now() - timedelta(days=400), **WHY, **values})


def test_an_answer_is_weighed_and_booked_with_its_counts(owner: Any) -> None:
    weigh(weight_input=2, weight_output=5, weight_cached_read="0.5")
    done = tokens.meter(owner, ANSWER, provider="OpenAI", feature="chat", key="message:1", metadata={"a": 1})
    assert done.amount == 60 * 2 + 20 + 30 * 5
    assert done.balance_after == 10_000 - done.amount
    row = TokenUsageLog.objects.get()
    assert (row.provider, row.model, row.feature, row.amount) == ("openai", "gpt-5", "chat", done.amount)
    stored = (row.input_tokens, row.output_tokens, row.cached_tokens, row.cache_write_tokens, row.reasoning_tokens)
    assert stored == (100, 30, 40, 0, 10)
    assert (row.cost, row.metadata) == (None, {"a": 1})


def test_without_a_price_a_token_of_the_provider_is_one_of_ours(owner: Any) -> None:
    assert tokens.meter(owner, ANSWER, key="message:1").amount == 130


def test_a_model_that_is_given_goes_before_that_of_the_answer(owner: Any) -> None:
    weigh(model="gpt-5-large", weight_input=3)
    assert tokens.meter(owner, ANSWER, model="gpt-5-large", key="message:1").amount == 330
    assert TokenUsageLog.objects.get().model == "gpt-5-large"


def test_the_weights_are_those_of_the_moment_of_use(owner: Any) -> None:
    weigh(weight_input=2)
    weigh(starts_at=timezone.now() - timedelta(days=1), weight_input=5)
    at = timezone.now() - timedelta(days=2)
    assert tokens.meter(owner, ANSWER, key="message:1", used_at=at).amount == 230


def test_the_same_key_counts_once(owner: Any) -> None:
    first = tokens.meter(owner, ANSWER, key="message:1")
    again = tokens.meter(owner, ANSWER, key="message:1")
    assert again.replayed
    assert again == first
    assert tokens.balance(owner).available == 9_870


def test_the_same_key_counts_once_though_weights_were_changed(owner: Any) -> None:
    first = tokens.meter(owner, ANSWER, key="message:1")
    weigh(weight_input=7)
    again = tokens.meter(owner, ANSWER, key="message:1")
    assert again.replayed
    assert again.amount == first.amount


def test_the_same_key_for_another_answer_or_owner_is_a_conflict(owner: Any) -> None:
    tokens.meter(owner, ANSWER, key="message:1")
    other = {"model": "gpt-5", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    with pytest.raises(IdempotencyConflict):
        tokens.meter(owner, other, key="message:1")
    somebody = new_user()
    tokens.grant(somebody, 1_000, source="manual")
    with pytest.raises(IdempotencyConflict):
        tokens.meter(somebody, ANSWER, key="message:1")


def test_a_hold_is_settled_for_what_the_answer_says(owner: Any) -> None:
    with tokens.hold(owner, 500, key="job:7", feature="report") as hold:
        done = tokens.meter(owner, ANSWER, provider="openai", key=None, hold=hold)
    assert done.amount == 130
    row = TokenUsageLog.objects.get()
    assert (row.model, row.feature, row.provider, row.input_tokens) == ("gpt-5", "report", "openai", 100)
    assert TokenHold.objects.get().settled_amount == 130
    assert tokens.balance(owner).available == 9_870


def test_a_hold_may_be_named_by_its_key_and_settled_twice(owner: Any) -> None:
    tokens.hold(owner, 500, key="job:7")
    tokens.meter(owner, ANSWER, key="job:7", hold="job:7")
    weigh(weight_input=7)
    assert tokens.meter(owner, ANSWER, key=None, hold="job:7").replayed
    assert tokens.balance(owner).available == 9_870


def test_a_hold_of_somebody_else_is_not_settled(owner: Any) -> None:
    hold = tokens.hold(owner, 500, key="job:7")
    with pytest.raises(InvalidKey):
        tokens.meter(new_user(), ANSWER, key=None, hold=hold)
    with pytest.raises(InvalidKey):
        tokens.meter(owner, ANSWER, key="another", hold=hold)
    assert TokenHold.objects.get().status == "open"


def test_a_hold_that_nobody_made_is_not_known(owner: Any) -> None:
    with pytest.raises(UnknownKey):
        tokens.meter(owner, ANSWER, key=None, hold="job:8")


def test_usage_that_cannot_be_read_books_nothing(owner: Any) -> None:
    with pytest.raises(InvalidResponse) as caught:
        tokens.meter(owner, {"usage": {"prompt_tokens": -5, "completion_tokens": 1}}, provider="openai", key="a")
    assert caught.value.provider == "openai"
    assert "prompt_tokens" in caught.value.message
    assert not TokenUsageLog.objects.exists()


@pytest.mark.parametrize("given", [{"model": "m" * 201}, {"model": "a\0b"}, {"provider": 5}, {"provider": "p" * 51}])
def test_names_that_cannot_be_stored_are_refused(owner: Any, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidUsage):
        tokens.meter(owner, ANSWER, key="a", **given)


def test_who_has_too_little_gets_the_same_error_as_from_consume(user: Any) -> None:
    with pytest.raises(InsufficientTokens):
        tokens.meter(user, ANSWER, key="a")


def test_metering_asks_one_thing_more_than_consuming(owner: Any) -> None:
    weigh(weight_input=2)
    tokens.consume(owner, 1, key="warm")
    with CaptureQueriesContext(connection) as consuming:
        tokens.consume(owner, 230, key="b", model="gpt-5")
    with CaptureQueriesContext(connection) as metering:
        tokens.meter(owner, ANSWER, key="a")
    assert len(metering) == len(consuming) + 1


def test_usage_can_be_read_without_booking_it() -> None:
    assert tokens.read_usage(ANSWER, provider="openai").total == 130
