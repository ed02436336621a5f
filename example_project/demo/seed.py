"""The story from its first day to now, in one transaction: it is there whole or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

import factory.random
from dateutil.relativedelta import relativedelta
from django.db import transaction
from django.utils import timezone

from demo import insights, ledger, limits, people, prices, warnings
from django_token_pricing import payments
from django_token_pricing.automation import renewals
from django_token_pricing.models import PoolMember, Renewal

SEED = 2026


@transaction.atomic
def seed(*, users: int, months: int, tell: Callable[[str], object]) -> None:
    """Fill the empty database. `tell` gets a line when a step is done, with the seconds that it took."""
    factory.random.reseed_random(SEED)
    as_of = timezone.now()
    since = as_of - relativedelta(months=months)
    started = monotonic()

    def done(what: str) -> None:
        nonlocal started
        tell(f"{monotonic() - started:6.1f} s  {what}")
        started = monotonic()

    operator = people.add_staff()
    subscriptions = people.add_customers(users, since=since, as_of=as_of)
    paid = people.add_payments(subscriptions, since=since, as_of=as_of)
    story = ledger.Story(
        operator=operator,
        subscriptions=subscriptions,
        payments=paid,
        pools=people.add_pools(subscriptions),
        employees=set(PoolMember.objects.values_list("user_id", flat=True)),
        since=since,
        as_of=as_of,
        rng=random.Random(SEED),
    )
    done(f"{len(subscriptions)} customers with subscriptions, {len(paid):,} payments, {len(story.pools)} pools")
    done(f"{people.add_packages(operator)} packages, {people.add_boost_policies(operator)} boost policies")
    done(prices.add_prices(operator, since=since, as_of=as_of))
    # First of all that has to do with tokens: accounts take their tier from the mirrors.
    payments.sync_subscriptions(full=True)
    payments.sync_payments(full=True)
    done("both synced to their mirrors")
    done(ledger.grant_plans(story))
    recorded, recent = ledger.record_old_uses(story)
    done(recorded)
    done(ledger.grant_extras(story))
    done(ledger.grant_pools(story))
    done(ledger.charge_recent_uses(recent))
    done(ledger.grant_offer(story))
    done(ledger.support_and_jobs(story))
    done(ledger.sweep(story))
    policies = people.add_renewal_policies(operator, as_of=as_of)
    renewals.start(as_of=as_of, now=True)
    done(f"{policies} policies of renewal, {Renewal.objects.count()} subscriptions that renew")
    done(warnings.warn(operator))
    done(limits.add_limits(story))
    done(insights.add_rules(operator))
