"""Throttles: limits that a cache counts, asked before a request is served and not when tokens move.

They need no exactness over a crash and cost one round trip to the cache, none to the database. What the cache lets pass
was counted there; whether tokens are there and exact limits are kept is decided by consume and hold, as ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import caches
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import conf
from django_token_pricing.choices import FailureMode, LimitMetric, LimitScope
from django_token_pricing.exceptions import InvalidAmount, LimitExceeded, Throttled, ThrottleUnavailable
from django_token_pricing.lib import windows
from django_token_pricing.tokens import arguments
from django_token_pricing.tokens.limits import throttle_counters, throttle_rules
from django_token_pricing.tokens.limits.throttle_counters import MOST, SECOND, Standing
from django_token_pricing.tokens.limits.throttle_rules import Counter

logger = logging.getLogger(__name__)

# Seconds after which to come again when a cache that cannot be reached stands in the way.
RETRY_AFTER = 5
# Seconds between two log lines about a cache that cannot be reached.
LOGGED_EVERY = 60.0
_logged = -LOGGED_EVERY


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """How the tightest throttle stands after a request that passed; false where none is in force for it.

    `remaining` is what is left of `limit` until `reset_at`, when nothing counted so far counts any more.
    """

    rule: int | None = None
    scope: str = ""
    metric: str = ""
    window: str = ""
    limit: int | None = None
    used: int | None = None
    remaining: int | None = None
    reset_at: datetime | None = None

    def __bool__(self) -> bool:
        return self.rule is not None

    @property
    def is_shared(self) -> bool:
        """Whether others count in it, too: what is used says what they do."""
        return self.scope == LimitScope.POOL

    @property
    def reset_after(self) -> int | None:
        """Seconds until `reset_at`, rounded up."""
        return None if self.reset_at is None else max(-((timezone.now() - self.reset_at) // timedelta(seconds=1)), 0)

    @property
    def window_seconds(self) -> int | None:
        length = windows.LENGTHS.get(self.window)
        return None if length is None else int(length.total_seconds())


UNLIMITED = ThrottleState()


def throttle(owner: Any, tokens: int = 0, *, requests: int = 1, model: str = "", feature: str = "") -> ThrottleState:
    """Count a request against the throttles of a user, a pool or an account, in all of them or in none.

    With no tokens and no requests it only says how they stand. Where the cache cannot be reached each rule's own
    setting decides. Changes of rules, tiers and pools count after some seconds (throttle_rules.KEPT).

    Raises Throttled, or LimitExceeded where no waiting would let as much pass; ThrottleUnavailable, which is a
    Throttled, where a rule that lets nothing pass unchecked cannot be checked; UnknownOwner, InvalidAmount.
    """
    amounts = {LimitMetric.TOKENS.value: _amount(tokens), LimitMetric.REQUESTS.value: _amount(requests)}
    counters = throttle_rules.counters(arguments.owner(owner), model, feature)
    if not counters:
        return UNLIMITED
    alias = conf.current().THROTTLE_CACHE
    try:
        found = throttle_counters.count(caches[alias], alias, counters, amounts)
    except Exception:
        # Each backend has errors of its own.
        if _is_news():
            text = "The cache %r cannot count requests; each limit's own setting decides about them"
            logger.exception(text, alias)
        return _without_cache(counters, amounts)
    refusing = [standing for standing in found if not standing.passes()]
    if refusing:
        raise _error(refusing)
    return _tightest(found)


def _amount(value: Any) -> int:
    amount = arguments.amount(value, least=0)
    if amount > MOST:
        raise InvalidAmount(amount=amount, detail=_("the most is %(most)s.") % {"most": MOST})
    return amount


def _error(refusing: list[Standing]) -> LimitExceeded:
    """The error of the rule that has to be waited for the longest."""
    waits = [(standing.wait(), standing) for standing in refusing]
    wait, worst = max(waits, key=lambda pair: (pair[0] is None, pair[0] or 0))
    facts = _facts(worst.counter, worst.amount)
    if wait is None:
        return LimitExceeded(**facts, used=worst.used, retry_after=None)
    return Throttled(**facts, used=worst.used, retry_after=max(-(-wait // SECOND), 1))


def _facts(counter: Counter, requested: int) -> dict[str, Any]:
    rule = counter.rule
    assert rule is not None  # noqa: S101 - what is only counted refuses nothing
    return {
        "rule": rule.pk,
        "scope": rule.scope,
        "metric": rule.metric,
        "window": rule.window,
        "limit": rule.limit,
        "requested": requested,
    }


def _tightest(found: Sequence[Standing]) -> ThrottleState:
    """That of which the least is left, as a share of its limit."""
    states = [_state(standing) for standing in found if standing.counter.rule is not None]
    return min(states, key=lambda state: (state.remaining or 0) / (state.limit or 1), default=UNLIMITED)


def _state(standing: Standing) -> ThrottleState:
    rule = standing.counter.rule
    assert rule is not None  # noqa: S101 - the caller looked
    used = standing.used + standing.amount
    return ThrottleState(
        rule=rule.pk,
        scope=rule.scope,
        metric=rule.metric,
        window=rule.window,
        limit=rule.limit,
        used=used,
        remaining=max(rule.limit - used, 0),
        reset_at=standing.resets(),
    )


def _is_news() -> bool:
    global _logged
    now = time.monotonic()
    if now - _logged < LOGGED_EVERY:
        return False
    _logged = now
    return True


def _without_cache(counters: Sequence[Counter], amounts: dict[str, int]) -> ThrottleState:
    for counter in counters:
        if counter.rule is not None and counter.rule.on_failure == FailureMode.CLOSED:
            facts = _facts(counter, amounts[counter.metric])
            raise ThrottleUnavailable(**facts, used=None, retry_after=RETRY_AFTER)
    return UNLIMITED
