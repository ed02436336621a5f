"""The adapters of a host that names none: no subscriptions, no payments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django_token_pricing.adapters.protocols import PaymentEvent, SubscriptionEvent


class NoSubscriptions:
    def events(self, *, since: datetime | None) -> Iterator[SubscriptionEvent]:
        return iter(())

    def current_refs(self) -> Iterator[str]:
        return iter(())


class NoPayments:
    def events(self, *, since: datetime | None) -> Iterator[PaymentEvent]:
        return iter(())

    def current_refs(self) -> Iterator[str]:
        return iter(())
