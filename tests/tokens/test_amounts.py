"""Which amounts, moments and facts of a use are taken, and which are refused before anything is written."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone as django_timezone

from django_token_pricing import tokens
from django_token_pricing.models import LedgerEntry, TokenAllocation, TokenUsageLog
from tests.tokens.clock import Clock
from tests.world import new_user

pytestmark = pytest.mark.django_db

MOST = 2**63 - 1
NOT_AMOUNTS = [True, 1.0, float("nan"), float("inf"), Decimal(1), "1", None, -1, MOST + 1, 10**30]


def written() -> int:
    return LedgerEntry.objects.count() + TokenUsageLog.objects.count()


VERBS: dict[str, Any] = {
    "grant": lambda user, amount: tokens.grant(user, amount, source="manual"),
    "hold": lambda user, amount: tokens.hold(user, amount, key="h"),
    "consume": lambda user, amount: tokens.consume(user, amount, key="c"),
    "settle": lambda user, amount: tokens.settle("open", amount),
    "subtract": lambda user, amount: tokens.subtract(user, amount, reason="r", actor=None),
    "set_balance": lambda user, amount: tokens.set_balance(user, amount, reason="r", actor=None),
    "use": lambda user, amount: tokens.consume_many([tokens.Use(user, amount, key="m")]),
    "rollover": lambda user, amount: tokens.rollover(TokenAllocation.objects.get(), amount or 0, expires_at=None),
    "refund": lambda user, amount: tokens.refund("used", amount or 0, key="r", reason="r"),
}


@pytest.mark.parametrize("amount", NOT_AMOUNTS, ids=repr)
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_not_a_positive_whole_number_is_refused(user: Any, verb: str, amount: Any) -> None:
    tokens.grant(user, 100, source="manual")
    tokens.consume(user, 10, key="used")
    tokens.hold(user, 5, key="open")
    before = written()
    with pytest.raises(tokens.InvalidAmount) as refusal:
        VERBS[verb](user, amount)
    assert refusal.value.code == "invalid_amount"
    assert written() == before


@pytest.mark.parametrize("verb", ["grant", "hold", "subtract", "set_balance", "rollover", "refund"])
def test_zero_is_refused_by_every_verb_but_consume_and_settle(user: Any, verb: str) -> None:
    tokens.grant(user, 100, source="manual")
    tokens.consume(user, 10, key="used")
    with pytest.raises(tokens.InvalidAmount):
        VERBS[verb](user, 0)


def test_consuming_zero_books_the_use_and_draws_nothing(user: Any) -> None:
    answer = tokens.consume(user, 0, key="k", model="m")
    assert (answer.amount, answer.balance_after, answer.lots) == (0, 0, [])
    use = TokenUsageLog.objects.get()
    assert (use.amount, use.model, use.pk) == (0, "m", answer.usage)
    assert not LedgerEntry.objects.exists()
    assert tokens.consume(user, 0, key="k").replayed


def test_settling_for_zero_books_the_use_and_gives_all_back(user: Any) -> None:
    tokens.grant(user, 100, source="manual")
    tokens.hold(user, 60, key="k")
    answer = tokens.settle("k", 0)
    assert (answer.amount, answer.balance_after, answer.lots) == (0, 100, [])
    assert tokens.balance(user).held == 0
    assert tokens.settle("k", 0).replayed


def test_the_largest_amount_can_be_granted_held_and_consumed(user: Any) -> None:
    tokens.grant(user, MOST, source="manual")
    tokens.hold(user, MOST, key="k")
    assert tokens.balance(user).held == MOST
    assert tokens.settle("k", MOST).lots[0].amount == MOST
    assert tokens.refund("k", reason="r").balance_after == MOST


def test_a_grant_beyond_what_an_account_can_count_is_refused(user: Any) -> None:
    tokens.grant(user, MOST, source="manual")
    with pytest.raises(tokens.InvalidAmount):
        tokens.grant(user, 1, source="manual")


def test_a_refund_beyond_what_an_account_can_count_is_refused(user: Any) -> None:
    tokens.grant(user, MOST, source="manual")
    tokens.consume(user, 5, key="k")
    tokens.grant(user, 5, source="manual")
    with pytest.raises(tokens.InvalidAmount):
        tokens.refund("k", reason="r")


def test_consuming_the_largest_amount_from_too_little_says_what_is_there(user: Any) -> None:
    tokens.grant(user, 7, source="manual")
    with pytest.raises(tokens.InsufficientTokens) as refusal:
        tokens.consume(user, MOST, key="k")
    assert refusal.value.facts == {"requested": MOST, "available": 7, "spendable": 7}
    assert refusal.value.code == "insufficient_tokens"


@pytest.mark.parametrize("priority", [True, 1.5, "1", 32768, -32769, None])
def test_a_priority_that_is_no_small_whole_number_is_refused(user: Any, priority: Any) -> None:
    with pytest.raises(tokens.InvalidAmount):
        tokens.grant(user, 1, source="manual", priority=priority)


def test_a_source_is_taken_as_choice_and_as_value(user: Any) -> None:
    tokens.grant(user, 1, source=tokens.Source.PURCHASE)
    tokens.grant(user, 1, source="purchase")
    assert set(TokenAllocation.objects.values_list("source", flat=True)) == {"purchase"}
    with pytest.raises(tokens.InvalidUsage):
        tokens.grant(user, 1, source="thin air")


# Moments

NAIVE = datetime(2050, 1, 1)  # noqa: DTZ001 - what is to be refused


def test_moments_without_a_zone_are_refused(user: Any) -> None:
    for terms in ({"expires_at": NAIVE}, {"starts_at": NAIVE}):
        with pytest.raises(tokens.InvalidMoment):
            tokens.grant(user, 1, source="manual", **terms)
    for call in (
        lambda: tokens.consume(user, 0, key="k", used_at=NAIVE),
        lambda: tokens.hold(user, 1, key="k", used_at=NAIVE),
        lambda: tokens.balance(user, as_of=NAIVE),
        lambda: tokens.expire(as_of=NAIVE),
        lambda: tokens.statement(user, since=NAIVE),
        lambda: tokens.statement(user, until=NAIVE),
    ):
        with pytest.raises(tokens.InvalidMoment):
            call()
    assert written() == 0


@pytest.mark.parametrize("moment", ["2050-01-01", 0, object()], ids=["text", "number", "object"])
def test_what_is_no_moment_is_refused(user: Any, moment: Any) -> None:
    for call in (
        lambda: tokens.grant(user, 1, source="manual", expires_at=moment),
        lambda: tokens.grant(user, 1, source="manual", starts_at=moment),
        lambda: tokens.consume(user, 0, key="k", used_at=moment),
        lambda: tokens.balance(user, as_of=moment),
        lambda: tokens.expire(as_of=moment),
        lambda: tokens.statement(user, since=moment),
    ):
        with pytest.raises(tokens.InvalidMoment):
            call()


def test_a_plain_date_is_refused_or_understood_wherever_a_moment_is_read(user: Any) -> None:
    tokens.grant(user, 5, source="manual")
    tomorrow = django_timezone.localdate() + timedelta(days=1)
    for call in (
        lambda: tokens.balance(user, as_of=tomorrow),  # type: ignore[arg-type]
        lambda: tokens.expire(as_of=tomorrow),  # type: ignore[arg-type]
        lambda: list(tokens.statement(user, until=tomorrow)),  # type: ignore[arg-type]
    ):
        try:
            call()
        except tokens.InvalidMoment:
            continue


def test_a_date_as_expiry_means_the_end_of_that_day_in_the_sites_zone(user: Any, clock: Clock) -> None:
    lot = tokens.grant(user, 10, source="manual", expires_at=date(2031, 5, 20))
    end = datetime(2031, 5, 21, tzinfo=ZoneInfo("Europe/Berlin"))
    assert TokenAllocation.objects.get(pk=lot.allocation).expires_at == end
    clock.at(end - timedelta(microseconds=1))
    assert tokens.balance(user).available == 10
    clock.at(end)
    assert tokens.balance(user).available == 0


def test_the_last_days_of_a_long_and_a_short_day_are_their_own(user: Any, clock: Clock) -> None:
    """Clocks change on 26 October 2031, so that day has 25 hours."""
    lot = tokens.grant(user, 10, source="manual", expires_at=date(2031, 10, 26))
    assert TokenAllocation.objects.get(pk=lot.allocation).expires_at == datetime(2031, 10, 26, 23, tzinfo=timezone.utc)


def test_a_date_as_start_means_the_beginning_of_that_day_or_is_refused(user: Any, clock: Clock) -> None:
    try:
        tokens.grant(user, 10, source="manual", starts_at=date(2031, 5, 20))
    except tokens.InvalidMoment:
        return
    clock.at(datetime(2031, 5, 20, 12, tzinfo=timezone.utc))
    assert tokens.balance(user).available == 10


def test_a_lot_that_would_end_in_the_past_is_refused(user: Any, clock: Clock) -> None:
    for terms in (
        {"expires_at": clock.now},
        {"expires_at": clock.now - timedelta(days=1)},
        {"starts_at": clock.now + timedelta(days=2), "expires_at": clock.now + timedelta(days=1)},
        {"starts_at": clock.now + timedelta(days=2), "expires_at": clock.now + timedelta(days=2)},
    ):
        with pytest.raises(tokens.InvalidMoment):
            tokens.grant(user, 1, source="manual", **terms)
    assert written() == 0


@pytest.mark.parametrize(
    "last",
    [
        date.max,
        datetime.max.replace(tzinfo=timezone.utc),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
    ids=["day", "utc", "west", "east"],
)
def test_the_end_of_time_as_expiry_is_refused_or_leaves_the_account_readable(user: Any, last: Any) -> None:
    """Hosts write 9999-12-31 for “never”."""
    try:
        tokens.grant(user, 10, source="manual", expires_at=last)
    except tokens.InvalidMoment:
        return
    assert tokens.balance(user).available == 10
    assert tokens.consume(user, 1, key="k").balance_after == 9
    assert tokens.expire(as_of=django_timezone.now()).lots == 0


@pytest.mark.parametrize("first", [date.min, datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))])
def test_the_beginning_of_time_is_refused_or_leaves_the_account_readable(user: Any, first: Any) -> None:
    try:
        tokens.grant(user, 10, source="manual", starts_at=first)
        tokens.consume(user, 1, key="k", used_at=first if isinstance(first, datetime) else None)
    except tokens.InvalidMoment:
        return
    assert tokens.balance(user).available == 9
    assert TokenUsageLog.objects.get().used_at


def test_a_use_may_lie_five_minutes_ahead_and_no_more(user: Any) -> None:
    now = django_timezone.now()
    tokens.consume(user, 0, key="a", used_at=now + timedelta(minutes=4, seconds=59))
    tokens.consume(user, 0, key="b", used_at=now - timedelta(days=4000))
    for call in (tokens.consume, lambda *a, **k: tokens.consume_many([tokens.Use(*a, **k)])):
        with pytest.raises(tokens.InvalidMoment):
            call(user, 0, key="c", used_at=now + timedelta(minutes=6))
    with pytest.raises(tokens.InvalidMoment):
        tokens.hold(user, 1, key="c", used_at=now + timedelta(minutes=6))


def test_a_use_has_the_moment_it_happened_and_the_one_it_was_booked(user: Any, clock: Clock) -> None:
    happened = clock.now - timedelta(days=3)
    now = django_timezone.now()
    tokens.consume(user, 0, key="a", used_at=min(happened, now))
    tokens.consume(user, 0, key="b")
    first, second = TokenUsageLog.objects.order_by("pk")
    assert (first.used_at, first.booked_at >= clock.now) == (min(happened, now), True)
    assert second.used_at == second.booked_at > first.booked_at


@pytest.mark.parametrize(
    "ttl", [0, -1, True, "1", float("nan"), float("inf"), 1e300, 10**400, timedelta(0), timedelta(days=367), 1e-9]
)
def test_a_hold_that_would_last_no_time_or_too_long_is_refused(user: Any, ttl: Any) -> None:
    tokens.grant(user, 10, source="manual")
    with pytest.raises(tokens.InvalidMoment):
        tokens.hold(user, 1, key="k", ttl=ttl)


# Owners


def test_who_is_no_saved_user_or_pool_is_refused(user: Any, django_user_model: Any) -> None:
    gone = new_user()
    stale = type(gone)._base_manager.get(pk=gone.pk)
    gone.delete()
    for owner in (None, "somebody", user.pk, django_user_model(), django_user_model, gone, stale):
        for call in (
            lambda owner=owner: tokens.grant(owner, 1, source="manual"),
            lambda owner=owner: tokens.consume(owner, 1, key="k"),
            lambda owner=owner: tokens.hold(owner, 1, key="k"),
            lambda owner=owner: tokens.subtract(owner, 1, reason="r", actor=None),
        ):
            with pytest.raises(tokens.UnknownOwner):
                call()
    with pytest.raises(tokens.UnknownOwner):
        tokens.consume_many([tokens.Use(user, 0, key="k"), tokens.Use(stale, 0, key="l")])
    assert written() == 0


# What a use was for

USAGE: dict[str, Any] = {
    "model": "gpt-ähm-🙂",
    "feature": "chat",
    "input_tokens": 0,
    "output_tokens": MOST,
    "cached_tokens": 7,
    "cost": Decimal("0.0000000001"),
    "metadata": {"a": [1, None, {"b": "ü"}], "q": 'it\'s "quoted" \\ % %s {}'},
}


def facts(use: TokenUsageLog) -> dict[str, Any]:
    return {name: getattr(use, name) for name in USAGE}


def test_a_use_is_stored_as_it_was_told(user: Any) -> None:
    tokens.consume(user, 0, key="k", **USAGE)
    assert facts(TokenUsageLog.objects.get()) == USAGE


def test_what_nobody_told_of_a_use_stays_empty(user: Any) -> None:
    tokens.consume(user, 0, key="k")
    empty = {"model": "", "feature": "", "input_tokens": None, "output_tokens": None, "cached_tokens": None}
    assert facts(TokenUsageLog.objects.get()) == {**empty, "cost": None, "metadata": {}}


def test_what_is_told_at_settling_goes_before_what_was_told_at_holding(user: Any) -> None:
    tokens.grant(user, 10, source="manual")
    tokens.hold(user, 5, key="k", **USAGE)
    tokens.settle("k", 4, model="other", input_tokens=9, metadata={"x": 1})
    assert facts(TokenUsageLog.objects.get()) == {**USAGE, "model": "other", "input_tokens": 9, "metadata": {"x": 1}}


def test_the_moment_told_at_holding_is_that_of_the_use(user: Any) -> None:
    tokens.grant(user, 10, source="manual")
    happened = django_timezone.now() - timedelta(hours=3)
    tokens.hold(user, 5, key="k", used_at=happened)
    tokens.settle("k", 4)
    assert TokenUsageLog.objects.get().used_at == happened


BAD_FACTS: list[dict[str, Any]] = [
    {"model": 5},
    {"model": "x" * 201},
    {"model": "a\x00b"},
    {"model": "\ud800"},
    {"feature": "x" * 101},
    {"feature": "\udfff"},
    {"input_tokens": -1},
    {"input_tokens": 1.0},
    {"output_tokens": True},
    {"cached_tokens": MOST + 1},
    {"cost": 1.5},
    {"cost": "1"},
    {"cost": True},
    {"cost": Decimal("NaN")},
    {"cost": Decimal("sNaN")},
    {"cost": Decimal("-0.01")},
    {"cost": 10**10},
    {"cost": Decimal("9999999999.99999999999")},
    {"metadata": []},
    {"metadata": {"a": float("nan")}},
    {"metadata": {"a": ...}},
    {"metadata": {"a": "\x00"}},
    {"metadata": {"\x00": 1}},
    {"metadata": {"a": "\ud800"}},
    {"metadata": {(1, 2): 1}},
]


@pytest.mark.parametrize("given", BAD_FACTS, ids=ascii)
def test_facts_of_a_use_that_cannot_be_stored_are_refused(user: Any, given: dict[str, Any]) -> None:
    tokens.grant(user, 10, source="manual")
    for call in (lambda: tokens.consume(user, 1, key="k", **given), lambda: tokens.hold(user, 1, key="k", **given)):
        with pytest.raises((tokens.InvalidUsage, tokens.InvalidAmount)):
            call()
    assert tokens.consume(user, 1, key="k").balance_after == 9


def test_metadata_that_names_an_escape_in_words_is_stored(user: Any) -> None:
    told = {"pattern": "\\u0000"}
    tokens.consume(user, 0, key="k", metadata=told)
    assert TokenUsageLog.objects.get().metadata == told


def test_an_unknown_fact_is_an_error_of_the_caller(user: Any) -> None:
    with pytest.raises(TypeError):
        tokens.consume(user, 0, key="k", colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        tokens.hold(user, 1, key="k", colour="red")


def test_what_was_paid_for_a_lot_is_kept_with_its_currency(user: Any) -> None:
    lot = tokens.grant(user, 1, source="purchase", paid=("19.9900", "EUR"))
    row = TokenAllocation.objects.get(pk=lot.allocation)
    assert (row.paid_amount, row.paid_currency) == (Decimal("19.99"), "EUR")
    for paid in (5, "5 EUR", (1.5, "EUR"), ("1", "euro"), ("-1", "EUR"), ("0.00001", "EUR"), ("NaN", "EUR")):
        with pytest.raises(tokens.InvalidUsage):
            tokens.grant(user, 1, source="purchase", paid=paid)  # type: ignore[arg-type]
