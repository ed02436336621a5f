"""The price list: which price is valid when, what counts come to at it, and how people change it."""

from __future__ import annotations

from datetime import datetime, timedelta
from datetime import timezone as tz
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.exceptions import InvalidInput, InvalidMoment, InvalidPrice, PriceTaken
from django_token_pricing.lib.provider_usage import Counts
from django_token_pricing.models import AuditEvent, ModelPrice, RollupState
from django_token_pricing.tokens import prices

JANUARY, MARCH, JUNE = (datetime(2025, month, 1, tzinfo=tz.utc) for month in (1, 3, 6))
WHY = {"reason": "The provider's list", "actor": None}


def set_price(**values: Any) -> ModelPrice:
    return tokens.set_price(**{"model": "gpt-5", "starts_at": JANUARY, "input": 2, "output": 8, **WHY, **values})


@pytest.fixture
def rolled_up(db: None) -> RollupState:
    return RollupState.objects.create(pk=1, zone="UTC", folded_at=timezone.now())


def reached(state: RollupState) -> datetime | None:
    state.refresh_from_db()
    return state.prices_changed_from


# Which one is valid ---------------------------------------------------------------------------------------------------


def test_a_price_is_valid_until_the_next_one_begins(db: None) -> None:
    set_price()
    set_price(starts_at=MARCH, input=1)
    before = tokens.price_of("", "gpt-5", MARCH - timedelta(microseconds=1))
    after = tokens.price_of("", "gpt-5", MARCH)
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (2, 1)


def test_there_is_no_price_before_the_first_and_none_of_another_model(db: None) -> None:
    set_price()
    assert tokens.price_of("", "gpt-5", JANUARY - timedelta(seconds=1)) is None
    assert tokens.price_of("", "GPT-5", MARCH) is None
    assert tokens.price_of("", "", MARCH) is None


def test_a_price_of_the_provider_goes_before_a_later_one_of_any(db: None) -> None:
    set_price(provider="azure", input=3)
    set_price(starts_at=MARCH, input=1)
    azure, openai = (tokens.price_of(provider, "gpt-5", JUNE) for provider in ("azure", "openai"))
    assert azure is not None
    assert openai is not None
    assert (azure.input, openai.input) == (3, 1)


def test_what_a_row_leaves_open_is_that_of_its_plain_kind(db: None) -> None:
    set_price(weight_output=4)
    price = tokens.price_of("", "gpt-5", JUNE)
    assert price is not None
    assert (price.cached_read, price.cached_write, price.reasoning) == (2, 2, 8)
    assert (price.weight_input, price.weight_cached_read, price.weight_reasoning) == (1, 1, 4)


# What it comes to -----------------------------------------------------------------------------------------------------

COUNTS = Counts(input=1000, output=100, cached_read=600, cached_write=100, reasoning=40)


def test_each_kind_of_tokens_costs_its_own_price(db: None) -> None:
    set_price(cached_read="0.2", cached_write="2.5", reasoning=10)
    price = tokens.price_of("", "gpt-5", JUNE)
    expected = (300 * Decimal(2) + 600 * Decimal("0.2") + 100 * Decimal("2.5") + 60 * 8 + 40 * 10) / 1_000_000
    assert tokens.cost_of(COUNTS, price) == expected


def test_the_cost_is_unknown_without_a_price_and_with_one_that_says_so(db: None) -> None:
    assert tokens.cost_of(COUNTS, None) is None
    set_price(input=None, output=None, weight_input=2)
    assert tokens.cost_of(COUNTS, tokens.price_of("", "gpt-5", JUNE)) is None


def test_tokens_are_weighed_by_kind_and_rounded_up_once(db: None) -> None:
    set_price(weight_input="0.001", weight_output="0.01", weight_cached_read=0)
    assert tokens.weighted(COUNTS, tokens.price_of("", "gpt-5", JUNE)) == 2  # 0.4 + 1.0


def test_without_a_price_a_token_is_a_token() -> None:
    assert tokens.weighted(COUNTS, None) == 1100


def test_the_largest_counts_are_weighed_exactly(db: None) -> None:
    set_price(weight_input="99999.999999")
    most = Counts(input=10**12, output=0)
    assert tokens.weighted(most, tokens.price_of("", "gpt-5", JUNE)) == 99_999_999_999_000_000


# Changing -------------------------------------------------------------------------------------------------------------


def test_a_new_price_begins_now_and_leaves_a_version_and_an_event(db: None) -> None:
    before = timezone.now()
    price = set_price(starts_at=None)
    assert price.starts_at >= before - timedelta(seconds=5)
    assert price.history.get().history_change_reason == "The provider's list"
    event = AuditEvent.objects.get()
    assert (event.action, event.reason) == ("prices.add", "The provider's list")
    assert event.changes["input"] == [None, "2.000000"]


def test_a_change_leaves_what_was_before(db: None) -> None:
    price = set_price()
    tokens.set_price(model="gpt-5", input=3, output=8, price=price, reason="Raised", actor=None)
    row = ModelPrice.objects.get()
    assert (row.pk, row.input, row.starts_at) == (price.pk, 3, JANUARY)
    assert row.history.count() == 2
    assert AuditEvent.objects.get(action="prices.change").changes == {"input": ["2.000000", "3.000000"]}


def test_a_change_into_the_same_writes_nothing(db: None) -> None:
    price = set_price()
    set_price(price=price)
    assert price.history.count() == 1
    assert AuditEvent.objects.count() == 1


def test_a_price_that_is_removed_leaves_its_versions(db: None) -> None:
    price = set_price()
    tokens.remove_price(price, reason="Entered twice", actor=None)
    assert not ModelPrice.objects.exists()
    assert ModelPrice.history.count() == 2
    assert AuditEvent.objects.filter(action="prices.remove", reason="Entered twice").count() == 1


def test_two_prices_cannot_begin_at_the_same_moment(db: None) -> None:
    first = set_price()
    with pytest.raises(PriceTaken) as caught:
        set_price(input=7)
    assert caught.value.price == first.pk
    set_price(provider="azure")  # that is another
    assert ModelPrice.objects.count() == 2


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"input": -1}, "input"),
        ({"input": 1_000_001}, "input"),
        ({"input": "1.0000001"}, "input"),
        ({"input": 1.5}, "input"),
        ({"input": True}, "input"),
        ({"input": "abc"}, "input"),
        ({"input": Decimal("NaN")}, "input"),
        ({"input": Decimal("Infinity")}, "input"),
        ({"output": None}, "output"),
        ({"input": None}, "input"),
        ({"input": None, "output": None, "reasoning": 1}, "reasoning"),
        ({"weight_input": 100_001}, "weight_input"),
        ({"weight_reasoning": -1}, "weight_reasoning"),
        ({"model": ""}, "model"),
        ({"model": " "}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"model": "a\0b"}, "model"),
        ({"provider": "p" * 51}, "provider"),
    ],
)
def test_what_is_no_price_is_refused_by_its_name(db: None, values: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidPrice) as caught:
        set_price(**values)
    assert caught.value.name == name
    assert not ModelPrice.objects.exists()


def test_a_moment_needs_a_zone(db: None) -> None:
    with pytest.raises(InvalidMoment):
        set_price(starts_at=datetime(2025, 1, 1))  # noqa: DTZ001 - what is refused


def test_a_reason_is_needed(db: None) -> None:
    with pytest.raises(InvalidInput):
        set_price(reason=" ")


def test_a_name_with_markup_in_it_is_a_name(db: None) -> None:
    set_price(model="<b>gpt</b>")
    assert tokens.price_of("", "<b>gpt</b>", JUNE) is not None


# Many at once ---------------------------------------------------------------------------------------------------------


def test_many_prices_are_set_with_one_event_and_keep_their_weights(db: None) -> None:
    set_price(weight_input=3)
    set_price(model="o4", starts_at=MARCH, input=9)
    rows = [
        tokens.NewPrice(model="gpt-5", input=Decimal(1), output=Decimal(4)),
        tokens.NewPrice(model="o4", input=Decimal(5), output=Decimal(6)),
    ]
    assert tokens.set_prices(rows, starts_at=MARCH, source="genai-prices", **WHY) == 2
    new = ModelPrice.objects.get(model="gpt-5", starts_at=MARCH)
    assert (new.input, new.weight_input, new.source) == (1, 3, "genai-prices")
    assert ModelPrice.objects.get(model="o4").input == 5
    assert AuditEvent.objects.get(action="prices.import").count == 2


def test_many_prices_are_all_set_or_none(db: None) -> None:
    rows = [tokens.NewPrice(model="gpt-5", input=Decimal(1)), tokens.NewPrice(model="a", input=Decimal(-1))]
    with pytest.raises(InvalidPrice):
        tokens.set_prices(rows, source="genai-prices", **WHY)
    assert not ModelPrice.objects.exists()


# What is rolled up already --------------------------------------------------------------------------------------------


def test_a_price_from_the_past_on_asks_for_re_pricing_from_then(rolled_up: RollupState) -> None:
    set_price(starts_at=MARCH)
    assert reached(rolled_up) == MARCH
    set_price(model="o4", starts_at=JUNE)
    assert reached(rolled_up) == MARCH
    set_price(model="o4", starts_at=JANUARY)
    assert reached(rolled_up) == JANUARY


def test_a_price_from_now_on_leaves_the_past_alone(rolled_up: RollupState) -> None:
    set_price(starts_at=None)
    set_price(starts_at=timezone.now() + timedelta(days=3))
    assert reached(rolled_up) is None


def test_moving_a_price_reaches_back_to_the_earlier_of_the_two_moments(rolled_up: RollupState) -> None:
    price = set_price(starts_at=MARCH)
    RollupState.objects.update(prices_changed_from=None)
    set_price(price=price, starts_at=timezone.now() + timedelta(days=1))
    assert reached(rolled_up) == MARCH


def test_removing_a_price_of_the_past_reaches_back_to_it(rolled_up: RollupState) -> None:
    price = set_price()
    RollupState.objects.update(prices_changed_from=None)
    tokens.remove_price(price, reason="Entered twice", actor=None)
    assert reached(rolled_up) == JANUARY


def test_weights_change_no_cost(rolled_up: RollupState) -> None:
    price = set_price()
    RollupState.objects.update(prices_changed_from=None)
    set_price(price=price, weight_input=5)
    assert reached(rolled_up) is None


def test_before_the_first_roll_up_there_is_nothing_to_bring_up_to_date(db: None) -> None:
    set_price()
    assert not RollupState.objects.exists()


# In this process ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_price_is_asked_for_once_in_a_few_seconds() -> None:
    set_price()
    with CaptureQueriesContext(connection) as queries:
        for _ in range(5):
            assert tokens.price_of("", "gpt-5", JUNE) is not None
            assert tokens.price_of("", "other", JUNE) is None
    assert len(queries) == 2


@pytest.mark.django_db(transaction=True)
def test_a_change_is_seen_at_once_where_it_commits() -> None:
    price = set_price()
    assert tokens.price_of("", "gpt-5", JUNE) is not None
    set_price(price=price, input=5)
    found = tokens.price_of("", "gpt-5", JUNE)
    assert found is not None
    assert found.input == 5


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_taken_back_is_not_kept() -> None:
    price = set_price()
    with transaction.atomic():
        set_price(price=price, input=5)
        within = tokens.price_of("", "gpt-5", JUNE)
        transaction.set_rollback(True)
    after = tokens.price_of("", "gpt-5", JUNE)
    assert within is not None
    assert after is not None
    assert (within.input, after.input) == (5, 2)


@pytest.mark.django_db(transaction=True)
def test_no_more_models_are_kept_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices.lookup, "MOST_KEPT", 3)
    for number in range(10):
        tokens.price_of("", f"model {number}", JUNE)
    assert len(prices.lookup._kept) <= 3
