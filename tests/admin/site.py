"""The admin site as tests see it: people, addresses, and rows in every list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import analytics, jobs, tokens
from django_token_pricing.analytics import reports
from django_token_pricing.models import (
    AnalyticsExport,
    Anomaly,
    AnomalyRule,
    Approval,
    ApprovalRule,
    AuditEvent,
    BoostPolicy,
    Job,
    LedgerEntry,
    LimitRule,
    ModelPrice,
    Notification,
    PaymentMirror,
    PoolMember,
    Purchase,
    Renewal,
    RenewalPeriod,
    RenewalPolicy,
    ScheduledRun,
    SubscriptionMirror,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenPackage,
    TokenPool,
    TokenUsageLog,
    WarningRule,
)
from django_token_pricing.tokens.limits import approval as second_person
from django_token_pricing.tokens.limits import rules
from tests import world

MODELS: list[type[Any]] = [
    TokenAccount,
    TokenPool,
    PoolMember,
    TokenPackage,
    Purchase,
    BoostPolicy,
    LimitRule,
    TokenAllocation,
    LedgerEntry,
    TokenUsageLog,
    TokenHold,
    Job,
    Approval,
    ApprovalRule,
    ScheduledRun,
    Notification,
    WarningRule,
    AuditEvent,
    SubscriptionMirror,
    PaymentMirror,
    RenewalPolicy,
    Renewal,
    ModelPrice,
    AnalyticsExport,
    Anomaly,
    AnomalyRule,
]
# What people write in the stock form.
EDITED: list[type[Any]] = [
    TokenPool,
    TokenPackage,
    BoostPolicy,
    LimitRule,
    ApprovalRule,
    WarningRule,
    RenewalPolicy,
    ModelPrice,
    AnomalyRule,
]
VIEW = [f"view_{model._meta.model_name}" for model in MODELS]
# Deeds by the model of the row that they are done at: (the page, the permission).
DEEDS: list[tuple[type[Any], str, str]] = [
    (TokenAccount, "grant", "grant_tokens"),
    (TokenAccount, "subtract", "subtract_tokens"),
    (TokenAccount, "set-balance", "set_balance"),
    (TokenAllocation, "void", "change_lots"),
    (TokenAllocation, "change-dates", "change_lots"),
    (TokenHold, "release", "release_holds"),
    (TokenUsageLog, "refund", "refund_usage"),
    (TokenPool, "add-members", "manage_members"),
    (TokenPool, "remove-members", "manage_members"),
    (TokenPool, "set-caps", "manage_members"),
    (PoolMember, "change-cap", "manage_members"),
    (PoolMember, "remove", "manage_members"),
    (TokenPackage, "delete", "delete_tokenpackage"),
    (TokenAccount, "boost", "boost_tokens"),
    (TokenPool, "boost", "boost_tokens"),
    (Purchase, "take-back", "take_back_purchase"),
    (BoostPolicy, "delete", "delete_boostpolicy"),
    (LimitRule, "retire", "change_limitrule"),
    (ModelPrice, "delete", "delete_modelprice"),
    (Anomaly, "acknowledge", "decide_anomaly"),
    (Anomaly, "resolve", "decide_anomaly"),
    (Anomaly, "mute", "decide_anomaly"),
]
MAY_DO = sorted(
    {"expire_tokens", "renew_subscriptions", "run_tasks", *(permission for _model, _page, permission in DEEDS)}
)
# Queries that a list may take, session and user included.
MOST_QUERIES = 12


def staff(*codenames: str, is_staff: bool = True, is_superuser: bool = False) -> Any:
    user = world.new_user()
    user.is_staff, user.is_superuser = is_staff, is_superuser
    user.save()
    allowed = Permission.objects.filter(content_type__app_label="django_token_pricing", codename__in=codenames)
    user.user_permissions.set(allowed)
    return user


def lists(model: type[Any]) -> str:
    return reverse(f"admin:django_token_pricing_{model._meta.model_name}_changelist")


def page(row: Any) -> str:
    return reverse(f"admin:django_token_pricing_{row._meta.model_name}_change", args=[row.pk])


def deed(row: Any, name: str) -> str:
    route = f"admin:django_token_pricing_{row._meta.model_name}_{name.replace('-', '_')}"
    return reverse(route, args=[row.pk])


def index() -> str:
    return reverse("admin:app_list", args=["django_token_pricing"])


def job(kind: str = "tokens.grant", *accounts: TokenAccount, **params: Any) -> Job:
    """Bulk work on these accounts that waits to be confirmed; not asked for by anybody who looks."""
    selection = {"by": "accounts", "pks": [account.pk for account in accounts]}
    terms = {"amount": 70, "source": "manual", "priority": 100, "starts_on": None, "expires_on": None, **params}
    return jobs.create(kind, params={"selection": selection, **terms}, actor=None, key=uuid4(), now=True)


@dataclass(frozen=True)
class Customer:
    user: Any
    account: TokenAccount


def customer(number: int = 0, *, feature: str = "chat", model: str = "gpt-4o") -> Customer:
    """A user with a row in every list."""
    now = timezone.now()
    user = world.new_user()
    key = str(uuid4())
    tokens.grant(user, 10_000 + number, source="manual", reason="Goodwill", expires_at=now + timedelta(days=5))
    tokens.consume(user, 100, key=f"use:{key}", feature=feature, model=model, cost=Decimal("0.25"), input_tokens=80)
    tokens.hold(user, 50, key=f"job:{key}", feature=feature)
    times = {"occurred_at": now, "synced_at": now}
    told = {"status": "active", "tier": "team", **times}
    renewal(SubscriptionMirror.objects.create(external_ref=f"sub-{key}", user=user, **told))
    PaymentMirror.objects.create(
        external_ref=f"pay-{key}", user=user, status="succeeded", amount=9, currency="EUR", paid_at=now, **times
    )
    world.new_pool(user)
    purchase(TokenAllocation.objects.latest("pk"))
    package(number)
    price(model)
    BoostPolicy.objects.get_or_create(tier="", defaults={"most_tokens": 1_000_000, "most_hours": 48})
    job()
    request(limit(user), user)
    run(finished_at=now)
    warning(user)
    report()
    alert(TokenAccount.objects.get(user=user))
    return Customer(user, TokenAccount.objects.get(user=user))


def renewal(subscription: SubscriptionMirror, **fields: Any) -> Renewal:
    """In the first of its periods; the next one is due."""
    now = timezone.now()
    policy, _is_new = RenewalPolicy.objects.get_or_create(code="team", defaults={"tokens": 1_000, "starts_at": now})
    period = {"starts_at": now - timedelta(days=31), "ends_at": now - timedelta(minutes=1)}
    RenewalPeriod.objects.create(
        subscription=subscription, policy=policy, outcome="granted", tokens=1_000, decided_at=now, **period
    )
    given = {
        "policy": policy,
        "anchor_at": period["starts_at"],
        "period_starts_at": period["starts_at"],
        "period_ends_at": period["ends_at"],
        "granted": 1_000,
        "due_at": period["ends_at"],
        **fields,
    }
    return Renewal.objects.create(subscription=subscription, **given)


def warning(user: Any, **fields: Any) -> Notification:
    """That little is left; its mail waits. Each is of a rule of its own."""
    rule = WarningRule.objects.create(kind="low_tokens", tokens=WarningRule.objects.count())
    facts = {"available": 5, "granted": 100}
    given = {"kind": "low", "facts": facts, "created_at": timezone.now(), "mail": "waiting", **fields}
    return Notification.objects.create(user=user, rule=rule, account=TokenAccount.objects.get(user=user), **given)


def alert(account: TokenAccount, **fields: Any) -> Anomaly:
    """That this account used much more than usual; nobody has said anything of it yet."""
    at = timezone.now() - timedelta(hours=3)
    rule, _is_new = AnomalyRule.objects.get_or_create(
        name="Accounts", defaults={"kind": "seasonal", "scope": "account"}
    )
    given = {
        "kind": "seasonal",
        "scope": "account",
        "target": str(account.pk),
        "account": account,
        "starts_at": at,
        "ends_at": at + timedelta(hours=1),
        "value": 12_000,
        "expected": 500,
        "score": 9,
        "found_at": at,
        "facts": {"unit": "tokens", "side": "spike", "hours": 1, "low": 200, "high": 900},
    }
    return Anomaly.objects.create(rule=rule, **{**given, **fields})


def report() -> AnalyticsExport:
    """As if somebody had taken a report of the last week as a file."""
    terms = reports.Terms("usage", analytics.Period.of_days(7, last=analytics.today()), group="day")
    given = {"report": "usage", "format": "csv", "filters": terms.stored(), "rows": 3, "created_at": timezone.now()}
    return AnalyticsExport.objects.create(event=AuditEvent.objects.latest("pk"), **given)


def run(task: str = "django_token_pricing.tokens.expire", **fields: Any) -> ScheduledRun:
    """A run of a scheduled task that has done its work just now."""
    given = {"started_at": timezone.now(), "outcome": "done", "worker": "celery@one", **fields}
    return ScheduledRun.objects.create(task=task, **given)


def limit(user: Any, **values: Any) -> LimitRule:
    """Of a million tokens a day, for a user."""
    given = {"scope": "user", "user": user, "limit": 1_000_000, "reason": "Fair use", "actor": None, **values}
    return rules.set_limit(**given)


def request(rule: LimitRule, user: Any) -> Approval:
    """To retire a limit, which this person asks for."""
    ApprovalRule.objects.get_or_create(kind=second_person.KIND, defaults={"above": 1_000_000})
    return second_person.ask(rule, None, actor=user, reason="A large customer", key=uuid4())


def purchase(lot: TokenAllocation, **fields: Any) -> Purchase:
    """As if this lot had been bought."""
    given = {"account": lot.account, "tokens": lot.amount, "amount": 9, "currency": "EUR", "payment_ref": "pay"}
    sold, _is_new = TokenPackage.objects.get_or_create(code="sold", defaults={"name": "Sold", "tokens": 1_000})
    made = {**given, "package": sold, "digest": uuid4(), "purchased_at": lot.booked_at, "allocation": lot, **fields}
    return Purchase.objects.create(**made)


def price(model: str, **values: Any) -> ModelPrice:
    """Of a model, from a moment of its own on."""
    given = {"input": 2, "output": 8, "reason": "The provider's list", "actor": None, **values}
    return tokens.set_price(model=model, **given)


def package(number: int = 0, **fields: Any) -> TokenPackage:
    """On sale for EUR and USD."""
    given = {"name": f"Pack {number}", "code": f"pack-{uuid4()}", "tokens": 1_000, **fields}
    made = TokenPackage.objects.create(**given)
    for currency, amount in (("EUR", 9), ("USD", 10)):
        made.prices.create(currency=currency, amount=amount)
    return made
