"""The plug: Northwind's subscriptions and payments in the words of django-token-pricing.

Rows are read with an iterator, since a full resync of a grown table would not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import QuerySet

from billing.models import Payment, Subscription
from django_token_pricing.adapters import PaymentEvent, PaymentFacts, SubscriptionEvent, SubscriptionFacts
from django_token_pricing.choices import PaymentStatus, SubscriptionStatus

SUBSCRIPTION_STATUS = {
    Subscription.State.TRIAL: SubscriptionStatus.TRIALING,
    Subscription.State.RUNNING: SubscriptionStatus.ACTIVE,
    Subscription.State.OVERDUE: SubscriptionStatus.PAST_DUE,
    Subscription.State.FROZEN: SubscriptionStatus.PAUSED,
    Subscription.State.STOPPED: SubscriptionStatus.CANCELED,
    Subscription.State.RUN_OUT: SubscriptionStatus.EXPIRED,
}
PAYMENT_STATUS = {
    Payment.State.WAITING: PaymentStatus.PENDING,
    Payment.State.PAID: PaymentStatus.SUCCEEDED,
    Payment.State.BOUNCED: PaymentStatus.FAILED,
    Payment.State.CHARGED_BACK: PaymentStatus.DISPUTED,
}


class Subscriptions:
    """Fulfils `SubscriptionAdapter`. Northwind keeps no history, so a row's last change is its one event."""

    def events(self, *, since: datetime | None) -> Iterator[SubscriptionEvent]:
        for subscription in _changed(Subscription.objects.all(), since):
            yield SubscriptionEvent(subscription.changed_at, subscription_facts(subscription))

    def current_refs(self) -> Iterator[str]:
        return _refs(Subscription.objects.all())


class Payments:
    """Fulfils `PaymentAdapter`."""

    def events(self, *, since: datetime | None) -> Iterator[PaymentEvent]:
        for payment in _changed(Payment.objects.all(), since):
            yield PaymentEvent(payment.changed_at, payment_facts(payment))

    def current_refs(self) -> Iterator[str]:
        return _refs(Payment.objects.all())


def subscription_facts(subscription: Subscription) -> SubscriptionFacts:
    return SubscriptionFacts(
        ref=str(subscription.pk),
        user=subscription.customer_id,
        status=SUBSCRIPTION_STATUS[Subscription.State(subscription.state)],
        tier=subscription.level,
        period_starts_at=subscription.current_from,
        period_ends_at=subscription.current_to,
        anchor_at=subscription.trial_until or subscription.signed_up_at,
        trial_ends_at=subscription.trial_until,
        cancel_at=_cancel_moment(subscription),
        currency=subscription.currency_code,
        region=subscription.country,
        time_zone=subscription.tz,
        quantity=subscription.seats,
    )


def payment_facts(payment: Payment) -> PaymentFacts:
    return PaymentFacts(
        ref=str(payment.pk),
        user=payment.payer_id,
        status=_payment_status(payment),
        amount=_from_cents(payment.total_cents),
        currency=payment.currency_code,
        subscription_ref=str(payment.subscription_id or ""),
        refunded_amount=_from_cents(payment.refunded_cents),
        paid_at=payment.settled_at,
        description=payment.purpose,
    )


def _changed(rows: QuerySet[Any], since: datetime | None) -> Iterator[Any]:
    if since is not None:
        rows = rows.filter(changed_at__gte=since)
    return rows.order_by("changed_at", "pk").iterator()


def _refs(rows: QuerySet[Any]) -> Iterator[str]:
    return (str(pk) for pk in rows.values_list("pk", flat=True).iterator())


def _cancel_moment(subscription: Subscription) -> datetime | None:
    """The customer's own midnight: a date alone does not say when."""
    if subscription.cancels_on is None:
        return None
    zone = ZoneInfo(subscription.tz or settings.TIME_ZONE)
    return datetime.combine(subscription.cancels_on, time.min, tzinfo=zone)


def _payment_status(payment: Payment) -> PaymentStatus:
    """Northwind's refunds are an amount beside the state; ours are states."""
    if payment.state == Payment.State.PAID and payment.refunded_cents:
        whole = payment.refunded_cents == payment.total_cents
        return PaymentStatus.REFUNDED if whole else PaymentStatus.PARTLY_REFUNDED
    return PAYMENT_STATUS[Payment.State(payment.state)]


def _from_cents(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)
