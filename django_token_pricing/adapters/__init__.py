"""The host's side of the plug: protocols, facts, and the adapters that the settings name."""

from __future__ import annotations

from typing import cast

from django.utils.module_loading import import_string

from django_token_pricing import conf
from django_token_pricing.adapters.protocols import (
    NotificationAdapter,
    PaymentAdapter,
    PaymentEvent,
    PaymentFacts,
    SubscriptionAdapter,
    SubscriptionEvent,
    SubscriptionFacts,
    TokensNotice,
    WarningNotice,
)

__all__ = [
    "NotificationAdapter",
    "PaymentAdapter",
    "PaymentEvent",
    "PaymentFacts",
    "SubscriptionAdapter",
    "SubscriptionEvent",
    "SubscriptionFacts",
    "TokensNotice",
    "WarningNotice",
    "get_notification_adapter",
    "get_payment_adapter",
    "get_subscription_adapter",
]


def get_subscription_adapter() -> SubscriptionAdapter:
    return cast("SubscriptionAdapter", import_string(conf.current().SUBSCRIPTION_ADAPTER)())


def get_payment_adapter() -> PaymentAdapter:
    return cast("PaymentAdapter", import_string(conf.current().PAYMENT_ADAPTER)())


def get_notification_adapter() -> NotificationAdapter:
    return cast("NotificationAdapter", import_string(conf.current().NOTIFICATION_ADAPTER)())
