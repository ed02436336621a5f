"""Limits at the end of the story: by tier, for one pool, an override, and one change that waits for a second person."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django.db.models import Sum

from billing.models import Subscription
from customers.models import User
from demo.ledger import Story
from django_token_pricing.choices import LimitMetric, LimitMode, LimitScope, LimitWindow
from django_token_pricing.models import TokenUsageLog
from django_token_pricing.tokens.limits import approval, rules

Level = Subscription.Level


def add_limits(story: Story) -> str:
    operator = story.operator

    def limit(amount: int, reason: str, **terms: object) -> rules.LimitRule:
        return rules.set_limit(limit=amount, reason=reason, actor=operator, **terms)  # type: ignore[arg-type]

    limit(200_000, "Longest context that we sell", scope=LimitScope.DEFAULT, window=LimitWindow.REQUEST)
    limit(
        8,
        "Fair share of the machines",
        scope=LimitScope.DEFAULT,
        metric=LimitMetric.REQUESTS,
        window=LimitWindow.CONCURRENT,
    )
    limit(
        2_000_000,
        "Free plan",
        scope=LimitScope.TIER,
        tier=Level.FREE.value,
        window=LimitWindow.MONTH,
    )
    team = limit(
        1_200_000,
        "Team plan",
        scope=LimitScope.TIER,
        tier=Level.TEAM.value,
        window=LimitWindow.MONTH,
        mode=LimitMode.GRACE,
        grace=120_000,
    )
    pool = story.pools[0]
    limit(
        20_000_000,
        "Order of January",
        scope=LimitScope.POOL,
        pool=pool,
        window=LimitWindow.MONTH,
        mode=LimitMode.SOFT,
    )
    # Who uses the most in that tier finishes a project.
    uses = TokenUsageLog.objects.filter(account__tier=Level.TEAM.value, used_at__gte=story.as_of - timedelta(days=30))
    busiest = uses.values("account__user").annotate(used=Sum("amount")).order_by("-used", "account__user").first()
    if busiest is not None:
        limit(
            2_000_000,
            "Migration project, agreed on the phone",
            scope=LimitScope.USER,
            user=User.objects.get(pk=busiest["account__user"]),
            window=LimitWindow.MONTH,
            ends_at=story.as_of + timedelta(days=21),
        )
    wanted = rules.draft(**{**_terms(team), "limit": 3_000_000})
    approval.ask(team, wanted, actor=operator, reason="Several teams run into it every month.", key=uuid4())
    return f"{rules.LimitRule.objects.count()} limits, and a change of one that waits for the owner"


def _terms(rule: rules.LimitRule) -> dict[str, object]:
    names = [name for name in rules.FIELDS if name not in ("user_id", "pool_id")]
    return {name: getattr(rule, name) for name in names}
