"""Tokens in the story: lots from every source, uses recorded and charged, holds, refunds, corrections.

The ledger books at the database's clock and takes no past moment. So the uses of the last days are charged, and all
before that are recorded without a charge, as a host does that moves in; what they would have taken of lots that still
live is subtracted in one go.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from django.utils import timezone

from billing.levels import LEVELS
from billing.models import Payment, Subscription
from customers.models import User
from demo import rhythm
from demo.rhythm import MadeUse, Persona, Spike
from django_token_pricing import tokens
from django_token_pricing.choices import Source
from django_token_pricing.exceptions import InsufficientTokens
from django_token_pricing.lib.money import Money
from django_token_pricing.models import Purchase, TokenAllocation, TokenPool

Level, State = Subscription.Level, Subscription.State
ENDED = {State.STOPPED, State.RUN_OUT}
DAY = timedelta(days=1)
CHARGED_DAYS = 3
# Uses on an ordinary working day; a few customers use far more than their level suggests.
PACES = {Level.FREE: 0.5, Level.STARTER: 1.5, Level.TEAM: 3, Level.BUSINESS: 5.5}
HEAVY_SHARE, HEAVY_PACE, FASTEST = 0.03, 4, 25
# Employees use more than their own subscription gives; the pool of their company is there for that.
EMPLOYEE_PACE = 2
CORRECTIONS = ["Granted twice by mistake", "Meant for another customer", "Charged back by the bank"]
MOVED_IN = "Used in this period before metering moved here"
SPIKE_DAYS_AGO, SPIKE_USES = (12, 33, 61, 130, 210), 300


@dataclass(slots=True)
class Story:
    """What the steps share: who is in it, when it opened and when it is now."""

    operator: User
    subscriptions: list[Subscription]
    payments: list[Payment]
    pools: list[TokenPool]
    # The keys of those who share a pool.
    employees: set[Any]
    since: datetime
    as_of: datetime
    rng: random.Random
    offer_ends_at: datetime | None = None

    @property
    def live(self) -> list[Subscription]:
        return [subscription for subscription in self.subscriptions if subscription.state not in ENDED]

    def some(self, share: float) -> list[User]:
        """A share of the customers with a live subscription, at least one."""
        live = self.live
        return [row.customer for row in self.rng.sample(live, max(1, round(share * len(live))))]


def grant_plans(story: Story) -> str:
    rows = [
        tokens.GrantRow(
            subscription.customer,
            LEVELS[subscription.level].tokens * subscription.seats,
            key=f"plan:{subscription.pk}:{subscription.current_from:%Y-%m-%d}",
            source=Source.TRIAL if subscription.state == State.TRIAL else Source.PLAN,
            starts_at=subscription.current_from,
            expires_at=subscription.current_to,
            paid=_paid(subscription),
        )
        for subscription in story.live
    ]
    tokens.grant_many(rows, source=Source.PLAN, reason="Tokens of the subscription's period")
    return f"{len(rows)} lots from subscriptions"


def _paid(subscription: Subscription) -> Money | None:
    """What the customer pays for the period: it becomes revenue as the tokens are used."""
    cents = LEVELS[subscription.level].cents.get(subscription.currency_code)
    if cents is None or subscription.state == State.TRIAL:
        return None
    return Money(Decimal(cents * subscription.seats).scaleb(-2), subscription.currency_code)


def grant_extras(story: Story) -> str:
    """Lots from other sources: bought, promoted, given by hand; some end within days."""
    count = sell_packs(story)
    campaigns = [
        ("autumn", 0.2, 50_000, story.as_of + 4 * DAY, "Autumn campaign"),
        ("webinar", 0.08, 25_000, story.as_of + 11 * DAY, "Guests of the webinar"),
    ]
    for name, share, amount, expires_at, reason in campaigns:
        rows = [tokens.GrantRow(user, amount, key=f"{name}:{user.pk}") for user in story.some(share)]
        tokens.grant_many(
            rows, source=Source.PROMOTION, expires_at=expires_at, priority=50, reason=reason, actor=story.operator
        )
        count += len(rows)
    by_hand = [
        (0.03, 80_000, Source.MANUAL, None, "Goodwill after last week's outage"),
        (0.03, 30_000, Source.REFERRAL, story.as_of + 90 * DAY, "Brought a colleague"),
    ]
    for share, amount, source, expires_at, reason in by_hand:
        for user in story.some(share):
            tokens.grant(user, amount, source=source, expires_at=expires_at, reason=reason, actor=story.operator)
            count += 1
    return f"{count + boost(story)} lots bought, promoted and given by hand"


def sell_packs(story: Story) -> int:
    """Those that were paid for of late, each at what was paid then. Answers how many."""
    count = 0
    for payment in story.payments:
        if payment.subscription_id is not None or not payment.settled_at:
            continue
        if payment.settled_at > story.as_of - 60 * DAY:
            paid = Money(Decimal(payment.total_cents).scaleb(-2), payment.currency_code)
            done = tokens.purchase(payment.payer, "top-up", payment_ref=f"payment:{payment.pk}", agreed=paid)
            # The ledger takes no past moment; in the story it was bought when it was paid for.
            Purchase.objects.filter(pk=done.purchase).update(purchased_at=payment.settled_at)
            count += 1
    return count


def boost(story: Story) -> int:
    """Boosts within the policy, and one that waits for a second person. Answers how many were given."""
    given = story.some(0.02)
    for user in given:
        reason = "A deadline today, asked for by phone"
        tokens.boost(user, 80_000, hours=24, reason=reason, actor=story.operator)
    large = [row.customer for row in story.live if row.level == Level.BUSINESS and row.customer not in given]
    for user in large[:1]:
        reason = "Their launch is tomorrow, and the contract allows it"
        tokens.ask_boost(user, 400_000, hours=48, reason=reason, actor=story.operator, key=uuid4())
    return len(given)


def grant_pools(story: Story) -> str:
    """Companies buy for a quarter, part of which is used; the first has ordered the next quarter too."""
    terms = {"source": Source.PURCHASE, "paid": Money("90.00", "EUR"), "actor": story.operator}
    for number, pool in enumerate(story.pools):
        ends_at = story.as_of + (20 + 17 * number) * DAY
        quarters = [("Order for the quarter", ends_at - 91 * DAY, ends_at)]
        if number == 0:
            quarters.append(("Order for the next quarter", ends_at, ends_at + 91 * DAY))
        for reason, starts_at, expires_at in quarters:
            key = f"pool:{pool.pk}:{starts_at:%Y-%m-%d}"
            tokens.grant(pool, 3_000_000, key=key, starts_at=starts_at, expires_at=expires_at, reason=reason, **terms)
        tokens.subtract(pool, 1_700_000 - 300_000 * number, reason=MOVED_IN, actor=story.operator)
    return f"{len(story.pools)} pools with tokens"


def record_old_uses(story: Story) -> tuple[str, list[MadeUse]]:
    """Record what is older than the last days, take it off the lots that still live; answers the uses of those days."""
    charged_from = story.as_of - CHARGED_DAYS * DAY
    period_starts = {row.customer_id: row.current_from for row in story.live}
    taken: Counter[Any] = Counter()
    recent: list[MadeUse] = []
    recorded = 0

    def old() -> Iterator[tokens.Use]:
        nonlocal recorded
        for use in rhythm.uses(_personas(story), _spikes(story), since=story.since, until=story.as_of, rng=story.rng):
            if use.used_at >= charged_from:
                recent.append(use)
                continue
            if use.owner.pk in period_starts and use.used_at >= period_starts[use.owner.pk]:
                taken[use.owner.pk] += use.amount
            recorded += 1
            yield tokens.Use(use.owner, use.amount, **_facts(use))

    tokens.record_many(old())
    _move_in(story, taken)
    return f"{recorded:,} uses recorded without a charge", recent


def _move_in(story: Story, taken: Counter[Any]) -> None:
    for customer, balance in tokens.balances(row.customer for row in story.live).items():
        # Those without a pool keep a twentieth, so that the last days too have uses of those who use much.
        most = balance.available if customer.pk in story.employees else balance.available * 19 // 20
        if amount := min(taken[customer.pk], most):
            tokens.subtract(customer, amount, reason=MOVED_IN, actor=story.operator)


def charge_recent_uses(uses: list[MadeUse]) -> str:
    uses.sort(key=lambda use: use.used_at)
    charged = sum(_charge(use, f"request:{number}") for number, use in enumerate(uses, start=1))
    return f"{charged:,} uses charged, {len(uses) - charged:,} refused for lack of tokens"


def _charge(use: MadeUse, key: str) -> bool:
    try:
        tokens.consume(use.owner, use.amount, key=key, **_facts(use))
    except InsufficientTokens:
        return False
    return True


def grant_offer(story: Story) -> str:
    """An offer that lapses while the story is written; `sweep` books that at its end."""
    story.offer_ends_at = timezone.now() + timedelta(seconds=3)
    rows = [tokens.GrantRow(user, 60_000, key=f"weekend:{user.pk}") for user in story.some(0.05)]
    tokens.grant_many(
        rows,
        source=Source.PROMOTION,
        expires_at=story.offer_ends_at,
        priority=50,
        reason="Weekend offer",
        actor=story.operator,
    )
    return f"{len(rows)} lots of an offer that ends now"


def support_and_jobs(story: Story) -> str:
    """Holds in every state, refunds and corrections, for customers whom none of it leaves without tokens."""
    balances = tokens.balances(row.customer for row in story.live)
    well_off = [customer for customer, balance in balances.items() if balance.available > 60_000]

    def pick(most: int) -> list[User]:
        return story.rng.sample(well_off, min(most, len(well_off)))

    for number, customer in enumerate(pick(12), start=1):
        _run_job(customer, number)
    for number, customer in enumerate(pick(6), start=1):
        _refund_a_use(story, customer, number)
    for customer, reason in zip(pick(3), CORRECTIONS, strict=False):
        tokens.subtract(customer, 15_000, reason=reason, actor=story.operator)
    for customer in pick(4):
        _roll_over(story, customer)
    for customer in pick(1):
        tokens.set_balance(customer, 250_000, reason="Agreed by contract for the pilot", actor=story.operator)
    return "holds, refunds, corrections and rollovers"


def sweep(story: Story) -> str:
    """Book what lapsed meanwhile."""
    if story.offer_ends_at is not None:
        time.sleep(max(0.0, (story.offer_ends_at - timezone.now()).total_seconds()))
    return f"{tokens.expire(as_of=timezone.now()).lots} lots lapsed"


def _run_job(customer: User, number: int) -> None:
    """Of three jobs one is done, one failed and gave its tokens back, one still runs."""
    reserved = 8_000 + 500 * number
    job = tokens.hold(
        customer,
        reserved,
        key=f"job:{number}",
        ttl=timedelta(hours=12),
        model="claude-sonnet-4.5",
        feature="summaries",
    )
    if number % 3 == 0:
        given, made = reserved * 2 // 3, reserved // 6
        job.settle(
            given + made, input_tokens=given, output_tokens=made, cost=Decimal(3 * given + 15 * made) / 1_000_000
        )
    elif number % 3 == 1:
        job.release()


def _roll_over(story: Story, customer: User) -> None:
    lot = tokens.grant(customer, 60_000, source=Source.PLAN, expires_at=story.as_of + DAY, reason="Last period")
    tokens.rollover(
        TokenAllocation.objects.get(pk=lot.allocation),
        30_000,
        expires_at=story.as_of + 31 * DAY,
        reason="Half of what is unused may be carried over",
        actor=story.operator,
    )


def _refund_a_use(story: Story, customer: User, number: int) -> None:
    key, amount = f"support:{number}", 4_000 + 500 * number
    tokens.consume(customer, amount, key=key, model="gpt-4o", feature="chat", used_at=timezone.now())
    if number % 2:
        tokens.refund(key, reason="The answer was cut off", actor=story.operator)
    else:
        tokens.refund(key, amount // 2, key=f"{key}:half", reason="Half of the answer was lost", actor=story.operator)


def _personas(story: Story) -> list[Persona]:
    return [
        Persona(
            owner=subscription.customer,
            pace=_pace(story, subscription),
            since=max(subscription.signed_up_at, story.since),
            until=_last_day(subscription, story.as_of),
            zone=ZoneInfo(subscription.tz),
        )
        for subscription in story.subscriptions
    ]


def _pace(story: Story, subscription: Subscription) -> float:
    pace = PACES[subscription.level] * story.rng.lognormvariate(0, 0.6)
    if story.rng.random() < HEAVY_SHARE:
        pace *= HEAVY_PACE
    if subscription.customer_id in story.employees:
        pace *= EMPLOYEE_PACE
    return min(pace, FASTEST)


def _last_day(subscription: Subscription, as_of: datetime) -> datetime:
    if subscription.state in ENDED:
        return subscription.current_to
    return subscription.current_from if subscription.state == State.FROZEN else as_of


def _spikes(story: Story) -> list[Spike]:
    spikes = []
    for ago in SPIKE_DAYS_AGO:
        moment = story.as_of - ago * DAY
        there = [row.customer for row in story.live if row.level != Level.FREE and row.signed_up_at < moment - 5 * DAY]
        if there:
            spikes.append(Spike(story.rng.choice(there), moment.date(), SPIKE_USES))
    return spikes


def _facts(use: MadeUse) -> dict[str, Any]:
    return {
        "model": use.model,
        "feature": use.feature,
        "input_tokens": use.input_tokens,
        "output_tokens": use.output_tokens,
        "cached_tokens": use.cached_tokens,
        "cost": use.cost,
        "used_at": use.used_at,
    }
