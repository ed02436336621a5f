from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from django_token_pricing import audit
from django_token_pricing.exceptions import AppendOnly
from django_token_pricing.models import AuditEvent, TokenPool
from tests.world import new_pool, new_user


@pytest.fixture
def actor(db: None) -> Any:
    return new_user()


@pytest.fixture
def pool(db: None) -> TokenPool:
    return new_pool()


def test_an_event_says_who_did_what_to_which_row_when_and_why(actor: Any, pool: TokenPool) -> None:
    audit.record("pools.cap", target=pool, actor=actor, reason="asked for", changes={"cap": (None, Decimal("10.50"))})
    event = AuditEvent.objects.get()
    assert (event.actor, event.actor_label) == (actor, actor.get_username())
    assert (event.target_type, event.target_id) == ("django_token_pricing.tokenpool", str(pool.pk))
    assert event.diff() == [("cap", None, "10.50")]
    assert timezone.now() - event.at < timedelta(minutes=1)


def test_an_event_outlives_the_names_it_holds(actor: Any, pool: TokenPool) -> None:
    name = pool.name
    audit.record("pools.close", target=pool, actor=actor)
    actor.delete()
    pool.delete()
    event = AuditEvent.objects.get()
    assert (event.actor, event.target_label) == (None, name)
    assert event.actor_label != ""


def test_search_narrows_by_actor_row_action_and_time(actor: Any, pool: TokenPool) -> None:
    event = audit.record("tokens.grant", target=pool, actor=actor)
    audit.record("tokens.grant_many")
    audit.record("tokensale.open")
    events = AuditEvent.objects
    assert list(events.by(actor)) == list(events.of(pool)) == list(events.action("tokens.grant")) == [event]
    assert events.action("tokens").count() == 2
    event.refresh_from_db()
    assert events.between(event.at, None).count() == 3
    assert events.between(None, event.at).count() == 0


def test_an_event_is_final(actor: Any) -> None:
    event = audit.record("tokens.grant", actor=actor)
    with pytest.raises(AppendOnly):
        event.save()
    with pytest.raises(AppendOnly):
        event.delete()
