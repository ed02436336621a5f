"""Which throttles count for whom, kept in the process for some seconds so that a request asks no database.

Rules for everybody and for tiers are few and are read together. What is for one user or one pool is read with that
owner's tier and pool, when the owner is first seen: a million overrides are never loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import quote

from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from django_token_pricing.choices import LimitCounting, LimitScope
from django_token_pricing.models import LimitRule, PoolMember, SubscriptionMirror, TokenAccount
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.limits import rules

# Seconds after which a rule that was changed, a new tier or another pool counts in every process.
KEPT = 5.0
# Owners kept in a process; the one that was read first makes room.
MOST_OWNERS = 10_000


@dataclass(frozen=True, slots=True)
class Counter:
    """What is counted for a request, and the rule that it must not pass; None where it is only counted.

    Rules choose and counters count: a request counts in each period that the owner has a throttle of, whatever its
    model and feature, so that the rule which counts next finds what was used.
    """

    subject: str
    metric: str
    period: str
    rule: LimitRule | None = None

    @property
    def name(self) -> str:
        return f"tp:{self.subject}:{self.metric}:{self.period}:"


@dataclass(slots=True)
class Known:
    """What a process knows of an owner, until then."""

    until: float
    subject: str
    pool: str
    found: list[LimitRule]
    models: frozenset[str]
    features: frozenset[str]
    chosen: dict[tuple[str, str], tuple[Counter, ...]] = field(default_factory=dict)

    def counters(self, model: str, feature: str) -> tuple[Counter, ...]:
        # Callers may name any model; those that no rule names are one to us, so that few answers are kept.
        use = model if model in self.models else "", feature if feature in self.features else ""
        if use not in self.chosen:
            self.chosen[use] = self._choose(*use)
        return self.chosen[use]

    def _choose(self, model: str, feature: str) -> tuple[Counter, ...]:
        as_of = timezone.now()
        counters = {}
        for rule in self.found:
            if rule.counting == LimitCounting.CACHE and rules.is_current(rule, as_of):
                counters[self._place(rule)] = Counter(*self._place(rule))
        for rule in rules.winners(self.found, as_of=as_of, model=model, feature=feature):
            if rule.counting == LimitCounting.CACHE:
                counters[self._place(rule)] = Counter(*self._place(rule), rule)
        return tuple(counter for _place, counter in sorted(counters.items()))

    def _place(self, rule: LimitRule) -> tuple[str, str, str]:
        subject = self.pool if rule.scope == LimitScope.POOL else self.subject
        return subject, rule.metric, rule.period


_lock = Lock()
_owners: dict[tuple[str, Owner], Known] = {}
_shared: dict[str, tuple[float, list[LimitRule]]] = {}


def counters(owner: Owner, model: str, feature: str) -> tuple[Counter, ...]:
    """What to count for a request of this owner; empty where no throttle is for it."""
    using = booking.database()
    known = _owners.get((using, owner))
    if known is None or known.until < time.monotonic():
        known = _read(owner, using)
        with _lock:
            # Read anew, it is the last to go again.
            _owners.pop((using, owner), None)
            _owners[using, owner] = known
            if len(_owners) > MOST_OWNERS:
                del _owners[next(iter(_owners))]
    return known.counters(model, feature)


def forget(**kwargs: Any) -> None:
    """Read all anew: a rule was changed here."""
    with _lock:
        _owners.clear()
        _shared.clear()


def _read(owner: Owner, using: str) -> Known:
    until = time.monotonic() + KEPT
    pool, tier = owner.pool, ""
    if pool is None:
        membership = PoolMember.objects.using(using).filter(user=owner.user, pool__is_active=True)
        pool = membership.values_list("pool", flat=True).first()
        tier = _tier(owner, using)
    wanted = rules.targets(user=owner.user, pool=pool, tier=tier)
    own = [target for target in wanted if target.startswith(("user:", "pool:"))]
    found = [rule for rule in _for_many(using) if rule.target in wanted] + rules.for_targets(own, using)
    if not any(rule.counting == LimitCounting.CACHE for rule in found):
        found = []
    # A cache may take neither spaces nor control characters in a key.
    subject = quote(wanted[0], safe=":")
    models, features = (frozenset(getattr(rule, name) for rule in found) for name in ("model", "feature"))
    return Known(until, subject, f"pool:{pool}", found, models, features)


def _tier(owner: Owner, using: str) -> str:
    tiers = TokenAccount.objects.using(using).filter(user=owner.user).values_list("tier", flat=True)
    tier = tiers.first()
    if tier is None:
        # An account that is not there yet will begin with this one.
        tier = SubscriptionMirror.objects.using(using).filter(user=owner.user).tiers().first()
    return tier or ""


def _for_many(using: str) -> list[LimitRule]:
    """The rules for everybody and for tiers, whichever way they are counted: the most specific one decides that."""
    until, found = _shared.get(using, (0.0, []))
    if until < time.monotonic():
        rows = LimitRule.objects.using(using).filter(scope__in=[LimitScope.TIER, LimitScope.DEFAULT], retired_at=None)
        until, found = time.monotonic() + KEPT, list(rows)
        with _lock:
            _shared[using] = until, found
    return found


post_save.connect(forget, sender=LimitRule, dispatch_uid="django_token_pricing.tokens.limits.throttle_rules.forget")
post_delete.connect(forget, sender=LimitRule, dispatch_uid="django_token_pricing.tokens.limits.throttle_rules.forget")
