"""Granting to many at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_token_pricing import signals, tokens
from django_token_pricing.lib.money import Money
from django_token_pricing.models import AuditEvent, LedgerEntry, TokenAccount, TokenAllocation
from tests.world import new_pool, new_user, new_users


def everyone(users: list[Any]) -> Any:
    return get_user_model()._base_manager.filter(pk__in=[user.pk for user in users])


def available(owners: list[Any]) -> list[int]:
    found = tokens.balances(owners)
    return [found[owner].available for owner in owners]


def test_each_row_becomes_a_lot_with_its_own_terms(db: None) -> None:
    one, two = new_users(2)
    pool = new_pool()
    later = timezone.now() + timedelta(days=3)
    result = tokens.grant_many(
        [
            tokens.GrantRow(one, 5),
            tokens.GrantRow(two, 7, source="purchase", priority=1, expires_at=later, paid=Money("9.90", "EUR")),
            tokens.GrantRow(pool, 11),
            tokens.GrantRow(one, 13),
        ],
        source="plan",
        reason="new season",
    )
    assert (result.granted, result.tokens) == (4, 36)
    assert available([one, two, pool]) == [18, 7, 11]
    lot = TokenAllocation.objects.get(account__user=two)
    assert (lot.source, lot.priority, lot.expires_at, str(lot.paid_amount)) == ("purchase", 1, later, "9.9000")


def test_a_queryset_gives_all_of_them_the_same(db: None) -> None:
    users = new_users(3)
    tokens.grant(users[0], 1, source="manual")
    tokens.grant_many(everyone(users), 10, source="plan")
    assert available(users) == [11, 10, 10]


def test_a_queryset_of_accounts_leaves_closed_ones_out(db: None) -> None:
    stays, leaves = new_users(2)
    tokens.grant_many(everyone([stays, leaves]), 1, source="plan")
    leaves.delete()
    assert tokens.grant_many(TokenAccount.objects.all(), 2, source="plan").granted == 1


def test_an_empty_selection_books_nothing(db: None) -> None:
    result = tokens.grant_many(get_user_model()._base_manager.none(), 10, source="plan")
    assert (result.granted, result.event, AuditEvent.objects.count()) == (0, None, 0)


def test_the_batch_is_one_event_to_which_lots_and_entries_point(db: None) -> None:
    actor = new_user()
    result = tokens.grant_many(everyone(new_users(3)), 10, source="plan", reason="launch", actor=actor)
    event = AuditEvent.objects.get()
    assert (event.pk, event.count, event.actor, event.reason) == (result.event, 3, actor, "launch")
    assert LedgerEntry.objects.filter(event=event).count() == TokenAllocation.objects.filter(event=event).count() == 3


@pytest.mark.parametrize("as_queryset", [True, False])
def test_the_same_batch_twice_grants_once(db: None, as_queryset: bool) -> None:
    users = new_users(3)

    def batch(people: list[Any]) -> Any:
        return everyone(people) if as_queryset else [tokens.GrantRow(person, 10) for person in people]

    tokens.grant_many(batch(users[:2]), 10, source="plan", key="november")
    again = tokens.grant_many(batch(users), 10, source="plan", key="november")
    assert (again.granted, again.replayed) == (1, 2)
    assert available(users) == [10, 10, 10]


def test_a_batch_and_a_single_grant_share_their_keys(db: None) -> None:
    user = new_user()
    tokens.grant_many([tokens.GrantRow(user, 10, key="row:1")], source="plan")
    assert tokens.grant(user, 10, source="plan", key="row:1").replayed
    assert tokens.balance(user).available == 10


def test_one_row_that_conflicts_stops_the_whole_batch(db: None) -> None:
    one, two = new_users(2)
    tokens.grant(one, 10, source="plan", key="row:1")
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.grant_many([tokens.GrantRow(two, 10), tokens.GrantRow(one, 11, key="row:1")], source="plan")
    assert available([one, two]) == [10, 0]


def test_a_key_that_stands_twice_in_a_batch_counts_once_or_conflicts(db: None) -> None:
    one, two = new_users(2)
    same = tokens.GrantRow(one, 10, key="row:1")
    assert tokens.grant_many([same, same], source="plan").replayed == 1
    with pytest.raises(tokens.IdempotencyConflict):
        tokens.grant_many([tokens.GrantRow(one, 1, key="k"), tokens.GrantRow(two, 1, key="k")], source="plan")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"amount": 0}, tokens.InvalidAmount),
        ({"amount": 2**63 - 1}, tokens.InvalidAmount),
        ({"expires_at": timezone.now() - timedelta(days=1)}, tokens.InvalidMoment),
        ({"source": "sofa"}, tokens.InvalidUsage),
        ({"key": "x" * 201}, tokens.InvalidKey),
    ],
)
def test_a_bad_row_is_refused_and_nothing_is_granted(db: None, row: dict[str, Any], error: type[Exception]) -> None:
    one, two = new_users(2)
    tokens.grant(two, 1, source="plan")
    with pytest.raises(error), transaction.atomic():
        tokens.grant_many([tokens.GrantRow(one, 10), tokens.GrantRow(two, **{"amount": 10, **row})], source="plan")
    assert available([one, two]) == [0, 1]


def test_an_owner_who_is_gone_stops_the_batch(db: None) -> None:
    stays, leaves = new_users(2)
    rows = [tokens.GrantRow(stays, 1), tokens.GrantRow(leaves, 1)]
    get_user_model()._base_manager.filter(pk=leaves.pk).delete()
    with pytest.raises(tokens.UnknownOwner), transaction.atomic():
        tokens.grant_many(rows, source="plan")
    assert tokens.balance(stays).available == 0


def test_one_signal_tells_of_the_batch(db: None, django_capture_on_commit_callbacks: Any) -> None:
    heard = []

    def hear(result: Any, **kwargs: Any) -> None:
        heard.append(result)

    signals.tokens_granted.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            result = tokens.grant_many(everyone(new_users(3)), 10, source="plan")
    finally:
        signals.tokens_granted.disconnect(hear)
    assert heard == [result]


@pytest.mark.postgres
def test_the_number_of_statements_does_not_grow_with_the_batch(db: None) -> None:
    from django.db import connection

    counts = []
    for number in (3, 300):
        users = new_users(number)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            tokens.grant_many(everyone(users), 10, source="plan")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_rows_with_a_reason_of_their_own_have_an_audit_event_of_it(db: None) -> None:
    one, two, three, four = new_users(4)
    result = tokens.grant_many(
        [
            tokens.GrantRow(one, 5, reason="ticket 1"),
            tokens.GrantRow(two, 7, reason="ticket 2"),
            tokens.GrantRow(three, 11),
            tokens.GrantRow(four, 13, reason="ticket 1"),
        ],
        source="manual",
        reason="support in November",
        actor=one,
    )
    events = {event.reason: event for event in AuditEvent.objects.action("tokens.grant_many")}
    assert {reason: (event.count, event.changes["granted"][1]) for reason, event in events.items()} == {
        "support in November": (4, 36),
        "ticket 1": (2, 18),
        "ticket 2": (1, 7),
    }
    assert events["support in November"].pk == result.event
    assert {event.actor for event in events.values()} == {one}
    assert events["ticket 1"].target_id == str(result.event)
    lots = {lot.account.user: lot.event for lot in TokenAllocation.objects.select_related("account", "event")}
    assert {user: event.reason for user, event in lots.items() if event} == {
        one: "ticket 1",
        two: "ticket 2",
        three: "support in November",
        four: "ticket 1",
    }
    for entry in LedgerEntry.objects.select_related("allocation"):
        assert entry.event_id == entry.allocation.event_id
