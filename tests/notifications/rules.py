"""Short ways to rules, and to what they came to."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Permission

from django_token_pricing import notifications, tokens
from django_token_pricing.models import Notification, TokenAccount, WarningRule
from tests import world


def low(percent: int, **more: Any) -> WarningRule:
    return WarningRule.objects.create(kind="low_percent", percent=percent, **more)


def low_tokens(amount: int, **more: Any) -> WarningRule:
    return WarningRule.objects.create(kind="low_tokens", tokens=amount, **more)


def expiring(days: int, **more: Any) -> WarningRule:
    return WarningRule.objects.create(kind="expiring", days=days, **more)


def expired(**more: Any) -> WarningRule:
    return WarningRule.objects.create(kind="expired", **more)


def reached(percent: int = 100, **more: Any) -> WarningRule:
    return WarningRule.objects.create(kind="limit", percent=percent, **more)


def operator() -> Any:
    user = world.new_user()
    user.user_permissions.add(Permission.objects.get(codename="receive_warnings"))
    return user


def use(user: Any, amount: int) -> None:
    tokens.consume(user, amount, key=str(uuid4()))


def scan(as_of: datetime | None = None) -> int:
    """How many warnings fire."""
    tokens.refresh_summaries()
    return notifications.warn(as_of=as_of).warnings


def titles(user: Any) -> list[str]:
    """What the user has in the inbox, the oldest first."""
    return [notifications.words(row).title for row in reversed(notifications.inbox(user))]


def account(user: Any) -> TokenAccount:
    return TokenAccount.objects.get(user=user)


def rows() -> list[Notification]:
    return list(Notification.objects.order_by("pk"))
