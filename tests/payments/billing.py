"""A host's billing system, in memory: what it tells, in which order, and where it breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django_token_pricing.adapters import PaymentEvent, SubscriptionEvent


class Billing:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.refs: list[Any] | None = None  # None: all that were told
        self.fails_after: int | None = None
        self.asked: list[datetime | None] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def read(self, since: datetime | None) -> Iterator[Any]:
        self.asked.append(since)
        told = 0
        for event in list(self.events):
            if told == self.fails_after:
                raise ConnectionError("the billing system is away")
            if since is None or not is_before(event, since):
                told += 1
                yield event
        self.meanwhile()

    def current(self) -> Iterator[Any]:
        if self.refs == ["away"]:
            raise ConnectionError("the billing system is away")
        yield from {event.facts.ref for event in self.events} if self.refs is None else self.refs


def is_before(event: object, since: datetime) -> bool:
    moment = getattr(event, "occurred_at", None)
    return isinstance(moment, datetime) and moment.tzinfo is not None and moment < since


subscriptions = Billing()
payments = Billing()


class Subscriptions:
    def events(self, *, since: datetime | None) -> Iterator[SubscriptionEvent]:
        return subscriptions.read(since)

    def current_refs(self) -> Iterator[str]:
        return subscriptions.current()


class Payments:
    def events(self, *, since: datetime | None) -> Iterator[PaymentEvent]:
        return payments.read(since)

    def current_refs(self) -> Iterator[str]:
        return payments.current()
