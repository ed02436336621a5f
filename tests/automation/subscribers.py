"""Subscriptions as the host tells them, policies, and what renewal made of them."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import count
from typing import Any

from django_token_pricing import tokens
from django_token_pricing.automation import renewals
from django_token_pricing.models import Job, Renewal, RenewalPeriod, RenewalPolicy, SubscriptionMirror
from tests import world

_numbers = count(1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=timezone.utc)


def new_policy(**facts: Any) -> RenewalPolicy:
    given = {"code": f"plan{next(_numbers)}", "tokens": 1_000, "starts_at": LONG_AGO, **facts}
    return RenewalPolicy.objects.create(**given)


def subscribe(policy: RenewalPolicy | str, anchor_at: datetime | None, **facts: Any) -> SubscriptionMirror:
    given = {
        "external_ref": f"sub{next(_numbers)}",
        "plan_code": policy if isinstance(policy, str) else policy.code,
        "status": "active",
        "anchor_at": anchor_at,
        "time_zone": "UTC",
        "occurred_at": LONG_AGO,
        "synced_at": LONG_AGO,
        **facts,
    }
    if "user" not in given:
        given["user"] = world.new_user()
    return SubscriptionMirror.objects.create(**given)


def told(subscription: SubscriptionMirror, **facts: Any) -> None:
    """The host says something new of it."""
    SubscriptionMirror.objects.filter(pk=subscription.pk).update(**facts)


def renew(as_of: datetime) -> Job | None:
    return renewals.start(as_of=as_of, now=True)


def standing(subscription: SubscriptionMirror) -> Renewal:
    return Renewal.objects.get(pk=subscription.pk)


def periods(subscription: SubscriptionMirror) -> list[tuple[str, str, str, int, int]]:
    """From, until, outcome, tokens and what was carried, in the subscription's days of UTC."""
    rows = RenewalPeriod.objects.filter(subscription=subscription).order_by("starts_at")
    return [
        (f"{row.starts_at:%Y-%m-%d}", f"{row.ends_at:%Y-%m-%d}", row.outcome, row.tokens, row.carried) for row in rows
    ]


def granted_on(subscription: SubscriptionMirror) -> list[datetime]:
    rows = RenewalPeriod.objects.filter(subscription=subscription, outcome="granted")
    return list(rows.order_by("starts_at").values_list("starts_at", flat=True))


def available(subscription: SubscriptionMirror) -> int:
    return tokens.balance(subscription.user).available
