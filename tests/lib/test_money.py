from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_token_pricing.lib.money import Money, split


def test_a_split_gives_the_odd_unit_to_the_earlier_of_equals() -> None:
    assert [part.amount for part in split(Money("10.00", "INR"), weights=[1, 1, 1])] == [
        Decimal("3.34"),
        Decimal("3.33"),
        Decimal("3.33"),
    ]


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any),
    st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_parts_sum_to_the_whole_and_stray_less_than_a_unit(units: int, weights: list[int], currency: str) -> None:
    digits = {"EUR": 2, "JPY": 0, "KWD": 3}[currency]
    total = Money(Decimal(units).scaleb(-digits), currency)
    parts = split(total, weights=weights)
    assert sum(part.amount for part in parts) == total.amount
    for part, weight in zip(parts, weights, strict=True):
        exact = Decimal(units * weight) / sum(weights)
        assert abs(part.amount.scaleb(digits) - exact) < 1


def test_rounding_is_half_up_by_the_currency() -> None:
    assert Money("2.345", "EUR").rounded() == Money("2.35", "EUR")
    assert Money("2.5", "JPY").rounded() == Money("3", "JPY")
    assert Money("2.3455", "KWD").rounded() == Money("2.346", "KWD")


@pytest.mark.parametrize("amount", [1.5, True, None])
def test_floats_are_no_money(amount: object) -> None:
    with pytest.raises(TypeError):
        Money(amount, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "12A"])
def test_a_currency_is_three_capitals(currency: str) -> None:
    with pytest.raises(ValueError, match="currency"):
        Money("1", currency)


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_weights_that_divide_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="Weights"):
        split(Money("1", "EUR"), weights=weights)
