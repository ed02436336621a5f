"""Who is in the story: staff who log in to the admin, and customers with their subscriptions, payments and pools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain, islice

from dateutil.relativedelta import relativedelta
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
from django.db.models import Case, F, When
from django.db.models.functions import Coalesce
from factory.random import randgen

from billing.levels import LEVELS, PACK, Offer
from billing.models import Payment, Subscription
from customers.models import User
from demo.factories import (
    REGIONS,
    PaymentFactory,
    PoolMemberFactory,
    Region,
    SubscriptionFactory,
    TokenPoolFactory,
    UserFactory,
    some_region,
)
from django_token_pricing.models import (
    BoostPolicy,
    PoolMember,
    RenewalPolicy,
    TokenPackage,
    TokenPackagePrice,
    TokenPool,
)

PASSWORD = "northwind"
OWNER, OPERATOR, VIEWER, STRANGER = (f"{role}@example.com" for role in ("owner", "operator", "viewer", "stranger"))

Level, State = Subscription.Level, Subscription.State


@dataclass(frozen=True, slots=True)
class Company:
    """Its employees share a pool, each with a subscription of their own; `share` of all customers work there."""

    name: str
    domain: str
    country: str
    share: float


COMPANIES = [
    Company("Fjordline Logistics", "fjordline.example", "NL", 0.07),
    Company("Alder & Finch Law", "alderfinch.example", "GB", 0.05),
    Company("Clinique Bellevue", "bellevue.example", "FR", 0.05),
    Company("Kestrel Robotics", "kestrel.example", "DE", 0.04),
    Company("Maison Lavande", "lavande.example", "FR", 0.03),
]
EMPLOYEE_LEVELS = {Level.STARTER: 60, Level.TEAM: 40}
LEVELS_OF_OTHERS = {Level.FREE: 42, Level.STARTER: 28, Level.TEAM: 18, Level.BUSINESS: 12}
# How many of the paying customers are in a state that is not plain running: a trait of the factory, and a share.
TRAITS = {"trial": 0.07, "overdue": 0.05, "leaving": 0.05, "stopped": 0.07, "run_out": 0.03, "frozen": 0.02}
# Packages by code: (name, what is in it and costs, valid for days, purchases per user, on sale).
PACKAGES = {
    "top-up": ("Top-up", PACK, None, None, True),
    "month-boost": ("Month boost", Offer(1_000_000, {"EUR": 3_900, "USD": 4_300, "GBP": 3_400}), 30, None, True),
    "launch-2025": ("Launch offer", Offer(500_000, {"EUR": 900, "USD": 900}), 90, 1, False),
}
MONTH = timedelta(days=30)
# Tokens, hours and boosts a month, by tier; "" is for all others.
BOOSTS = {"": (100_000, 24, 1), "team": (300_000, 48, 2), "business": (1_000_000, 72, 4)}
# What goes on of a period's tokens, by tier: the share in per cent, at most so many times a tier's tokens.
CARRIED = {Level.STARTER: 0, Level.TEAM: 50, Level.BUSINESS: 100}


def add_staff() -> User:
    """Owner, operator, viewer, and a stranger without any permission. Answers the operator."""
    ours = Permission.objects.filter(content_type__app_label="django_token_pricing")
    operators = Group.objects.create(name="Token operators")
    theirs = Permission.objects.filter(
        content_type__app_label__in=["billing", "customers"], codename__startswith="view_"
    )
    operators.permissions.set([*ours.exclude(codename__startswith="delete_"), *theirs])
    viewers = Group.objects.create(name="Token viewers")
    viewers.permissions.set(ours.filter(codename__startswith="view_").exclude(codename="view_costs"))
    password = make_password(PASSWORD)
    named = {OWNER: "Nora Owner", OPERATOR: "Omar Operator", VIEWER: "Vera Viewer", STRANGER: "Stan Stranger"}
    staff = {
        email: UserFactory(email=email, name=name, password=password, is_staff=True, is_superuser=email == OWNER)
        for email, name in named.items()
    }
    staff[OPERATOR].groups.add(operators)
    staff[VIEWER].groups.add(viewers)
    return staff[OPERATOR]


def add_customers(count: int, *, since: datetime, as_of: datetime) -> list[Subscription]:
    """`count` users with a subscription each, in every state, more of them the later it gets."""
    places = list(islice(chain(_employees(count), _others()), count))
    paying = [number for number, (_, level, _) in enumerate(places) if level != Level.FREE]
    randgen.shuffle(paying)
    traits: dict[int, str] = {}
    for trait, share in TRAITS.items():
        for _ in range(max(1, round(share * len(paying)))):
            traits[paying.pop()] = trait

    made = []
    for number, (region, level, domain) in enumerate(places):
        trait = traits.get(number, "")
        user = UserFactory.build(
            region=region, created_at=_joined(trait, since=since, as_of=as_of), **({"domain": domain} if domain else {})
        )
        seats = randgen.choice([1, 2, 3, 5, 8]) if level == Level.BUSINESS and not domain else 1
        made.append(
            SubscriptionFactory.build(
                customer=user, region=region, level=level, seats=seats, as_of=as_of, **({trait: True} if trait else {})
            )
        )
    _tell_apart([subscription.customer for subscription in made])
    User.objects.bulk_create([subscription.customer for subscription in made])
    Subscription.objects.bulk_create(made)
    # The model stamps what is saved with the present moment; the story happened earlier.
    over = When(state__in=[State.STOPPED, State.RUN_OUT], then=F("current_to"))
    Subscription.objects.update(changed_at=Case(over, default=F("current_from")))
    return made


def add_payments(subscriptions: list[Subscription], *, since: datetime, as_of: datetime) -> list[Payment]:
    """A payment for each month, and token packs now and then. Some bounced, were refunded or charged back."""
    made = []
    for subscription in subscriptions:
        if subscription.level != Level.FREE and subscription.state != State.TRIAL:
            made += _monthly(subscription, as_of)
        if randgen.random() < 0.2:
            made += _packs(subscription, as_of)
    made = sorted((payment for payment in made if payment.due_at >= since), key=lambda payment: payment.due_at)
    Payment.objects.bulk_create(made)
    Payment.objects.update(changed_at=Coalesce("settled_at", "due_at"))
    return made


def add_pools(subscriptions: list[Subscription]) -> list[TokenPool]:
    """A pool for each company with its employees; most have a monthly cap."""
    pools = [TokenPoolFactory(name=company.name) for company in COMPANIES]
    by_domain = {company.domain: pool for company, pool in zip(COMPANIES, pools, strict=True)}
    caps = [None, 100_000, 250_000, 250_000, 500_000]
    PoolMember.objects.bulk_create(
        PoolMemberFactory.build(pool=pool, user=subscription.customer, monthly_cap=randgen.choice(caps))
        for subscription in subscriptions
        if (pool := by_domain.get(subscription.customer.email.partition("@")[2]))
    )
    return pools


def add_packages(editor: User) -> int:
    """Three packages with their prices, entered by the operator. Answers how many."""
    for place, (code, (name, offer, days, per_user, is_active)) in enumerate(PACKAGES.items(), start=1):
        package = TokenPackage(
            code=code,
            name=name,
            tokens=offer.tokens,
            validity_days=days,
            per_user=per_user,
            is_active=is_active,
            place=place * 10,
        )
        prices = [
            TokenPackagePrice(package=package, currency=currency, amount=Decimal(cents) / 100)
            for currency, cents in offer.cents.items()
        ]
        for row in (package, *prices):
            # simple-history takes both for the version that it writes.
            row._history_user, row._change_reason = editor, "The price list"
            row.save()
    return len(PACKAGES)


def add_boost_policies(editor: User) -> int:
    """Entered by the operator. Answers how many."""
    for tier, (tokens, hours, per_month) in BOOSTS.items():
        policy = BoostPolicy(tier=tier, most_tokens=tokens, most_hours=hours, per_month=per_month)
        policy._history_user, policy._change_reason = editor, "What support may give in a hurry"
        policy.save()
    return len(BOOSTS)


def add_renewal_policies(editor: User, *, as_of: datetime) -> int:
    """For what is renewed from now on; until here the story tells of the past. Answers how many."""
    for level, share in CARRIED.items():
        policy = RenewalPolicy(
            code=level,
            tokens=LEVELS[level].tokens,
            is_per_seat=True,
            rollover="percent" if share else "none",
            rollover_percent=share or None,
            rollover_cap=LEVELS[level].tokens if share else None,
            starts_at=as_of,
        )
        policy._history_user, policy._change_reason = editor, "Tokens come by themselves from now on"
        policy.save()
    return len(CARRIED)


def _employees(count: int) -> Iterator[tuple[Region, str, str]]:
    for company in COMPANIES:
        region = next(region for region in REGIONS if region.country == company.country)
        for _ in range(max(2, round(company.share * count))):
            yield region, _one_of(EMPLOYEE_LEVELS), company.domain


def _others() -> Iterator[tuple[Region, str, str]]:
    while True:
        yield some_region(), _one_of(LEVELS_OF_OTHERS), ""


def _one_of(weights: dict[Level, int]) -> Level:
    return randgen.choices(list(weights), list(weights.values()))[0]


def _joined(trait: str, *, since: datetime, as_of: datetime) -> datetime:
    if trait == "trial":
        moment = as_of - timedelta(days=randgen.uniform(1, 13))
        return moment.replace(microsecond=0)
    span = as_of - since
    if trait:
        moment = as_of - span * randgen.uniform(0.65, 1)
    elif randgen.random() < 0.25:
        moment = since - 10 * MONTH * randgen.random()
    else:
        moment = since + span * randgen.random() ** 0.8
    # Every month has a 28th, so periods neither overlap nor leave gaps.
    return moment.replace(day=min(moment.day, 28), microsecond=0)


def _tell_apart(users: list[User]) -> None:
    taken: set[str] = set()
    for user in users:
        name, _, domain = user.email.partition("@")
        number = 1
        while user.email in taken:
            number += 1
            user.email = f"{name}{number}@{domain}"
        taken.add(user.email)


def _monthly(subscription: Subscription, as_of: datetime) -> Iterator[Payment]:
    for number in range(1_000):
        due_at = subscription.signed_up_at + relativedelta(months=number)
        if due_at > subscription.current_from:
            return
        is_last = due_at == subscription.current_from
        if is_last and subscription.state == State.FROZEN:
            return
        if is_last and subscription.state == State.OVERDUE:
            yield _bounced(subscription, due_at)
        elif randgen.random() < 0.03 and due_at + timedelta(days=2) < as_of:
            yield _bounced(subscription, due_at)
            yield PaymentFactory.build(subscription=subscription, due_at=due_at, settled_at=due_at + timedelta(days=2))
        else:
            payment = PaymentFactory.build(subscription=subscription, due_at=due_at)
            luck = randgen.random()
            if luck < 0.02:
                payment.refunded_cents = payment.total_cents // randgen.choice([1, 2])
            elif luck < 0.024:
                payment.state = Payment.State.CHARGED_BACK
            yield payment


def _bounced(subscription: Subscription, due_at: datetime) -> Payment:
    return PaymentFactory.build(subscription=subscription, due_at=due_at, settled_at=None, state=Payment.State.BOUNCED)


def _packs(subscription: Subscription, as_of: datetime) -> Iterator[Payment]:
    moment = subscription.signed_up_at + 3 * MONTH * randgen.random()
    while moment < as_of:
        waits = moment > as_of - timedelta(days=2)
        yield PaymentFactory.build(
            subscription=None,
            payer=subscription.customer,
            purpose=f"{PACK.tokens:,} tokens",
            currency_code=subscription.currency_code,
            total_cents=PACK.cents[subscription.currency_code],
            due_at=moment,
            state=Payment.State.WAITING if waits else Payment.State.PAID,
            settled_at=None if waits else moment,
        )
        moment += 4 * MONTH * randgen.random()
