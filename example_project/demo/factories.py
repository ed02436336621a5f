"""Northwind's customers, subscriptions and payments, and pools to share tokens in, made to look real.

All randomness comes from factory_boy's generator, so `factory.random.reseed_random` makes runs alike.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import factory
from dateutil.relativedelta import relativedelta
from django.contrib.auth.hashers import make_password
from django.utils import timezone
from django.utils.text import slugify
from factory.random import randgen
from faker import Faker

from billing.levels import LEVELS
from billing.models import Payment, Subscription
from customers.models import User
from django_token_pricing.models import PoolMember, TokenPool


@dataclass(frozen=True, slots=True)
class Region:
    """Where a customer lives: decides names, currency and clock."""

    locale: str
    country: str
    tz: str
    currency: str
    share: int


REGIONS = [
    Region("fr_FR", "FR", "Europe/Paris", "EUR", 26),
    Region("de_DE", "DE", "Europe/Berlin", "EUR", 17),
    Region("en_GB", "GB", "Europe/London", "GBP", 15),
    Region("es_ES", "ES", "Europe/Madrid", "EUR", 9),
    Region("nl_NL", "NL", "Europe/Amsterdam", "EUR", 8),
    Region("it_IT", "IT", "Europe/Rome", "EUR", 8),
    Region("en_US", "US", "America/New_York", "USD", 11),
    Region("en_IN", "IN", "Asia/Kolkata", "INR", 6),
]
MAIL_HOSTS = ["post.example", "mail.example", "inbox.example", "freelance.example", "studio.example", "campus.example"]

# Customers do not log in here; hashing a password for each would take a minute.
_NO_PASSWORD = make_password(None)


def some_region() -> Region:
    return randgen.choices(REGIONS, [region.share for region in REGIONS])[0]


@cache
def _names(locale: str) -> Faker:
    """It draws from factory_boy's generator unless it is given one of its own."""
    return Faker(locale)


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User

    class Params:
        region = factory.LazyFunction(some_region)
        domain = factory.LazyFunction(lambda: randgen.choice(MAIL_HOSTS))

    id = factory.LazyFunction(lambda: uuid.UUID(int=randgen.getrandbits(128), version=4))
    name = factory.LazyAttribute(
        lambda user: f"{_names(user.region.locale).first_name()} {_names(user.region.locale).last_name()}"
    )
    email = factory.LazyAttribute(lambda user: f"{slugify(user.name).replace('-', '.')}@{user.domain}")
    password = _NO_PASSWORD
    created_at = factory.LazyFunction(timezone.now)


class SubscriptionFactory(factory.django.DjangoModelFactory):
    """A running monthly subscription at `as_of`. Traits give the other states."""

    class Meta:
        model = Subscription

    class Params:
        as_of = factory.LazyFunction(timezone.now)
        region = factory.LazyFunction(some_region)
        trial = factory.Trait(
            state=Subscription.State.TRIAL,
            trial_until=factory.LazyAttribute(lambda row: row.signed_up_at + timedelta(days=14)),
            current_to=factory.SelfAttribute("trial_until"),
        )
        overdue = factory.Trait(state=Subscription.State.OVERDUE)
        frozen = factory.Trait(state=Subscription.State.FROZEN)
        leaving = factory.Trait(cancels_on=factory.LazyAttribute(lambda row: row.current_to.date()))
        # Ended a period ago, so that the months since are quiet.
        stopped = factory.Trait(state=Subscription.State.STOPPED, ended=True)
        run_out = factory.Trait(state=Subscription.State.RUN_OUT, ended=True)
        ended = False

    customer = factory.SubFactory(UserFactory)
    level = Subscription.Level.STARTER
    state = Subscription.State.RUNNING
    signed_up_at = factory.SelfAttribute("customer.created_at")
    current_from = factory.LazyAttribute(
        lambda row: period_start(row.signed_up_at, row.as_of) - relativedelta(months=bool(row.ended))
    )
    current_to = factory.LazyAttribute(lambda row: row.current_from + relativedelta(months=1))
    currency_code = factory.SelfAttribute("region.currency")
    country = factory.SelfAttribute("region.country")
    tz = factory.SelfAttribute("region.tz")


class PaymentFactory(factory.django.DjangoModelFactory):
    """A payment for one month of the subscription, settled when it was due."""

    class Meta:
        model = Payment

    subscription = factory.SubFactory(SubscriptionFactory)
    payer = factory.SelfAttribute("subscription.customer")
    purpose = factory.LazyAttribute(lambda row: f"{row.subscription.get_level_display()}, one month")
    total_cents = factory.LazyAttribute(
        lambda row: LEVELS[row.subscription.level].cents[row.currency_code] * row.subscription.seats
    )
    currency_code = factory.SelfAttribute("subscription.currency_code")
    state = Payment.State.PAID
    due_at = factory.SelfAttribute("subscription.current_from")
    settled_at = factory.SelfAttribute("due_at")


class TokenPoolFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = TokenPool

    name = factory.Faker("company")


class PoolMemberFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = PoolMember

    pool = factory.SubFactory(TokenPoolFactory)
    user = factory.SubFactory(UserFactory)


def period_start(anchor: datetime, as_of: datetime) -> datetime:
    """The start of the monthly period around `as_of`, counted from the anchor."""
    passed = relativedelta(as_of, anchor)
    return anchor + relativedelta(months=passed.years * 12 + passed.months)
