"""What a change of a limit does to those it is for: whether it may refuse what passed, and by how much it loosens.

Both are measured by the most that a use can find allowed: the limit with its grace. A rule is compared with what
counted in its place: with itself as it was, or with the rule beneath it that it overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from django_token_pricing.choices import LimitCounting, LimitMode, LimitScope
from django_token_pricing.exceptions import UnknownOwner
from django_token_pricing.models import LimitRule, PoolMember, TokenAccount, TokenPool
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.arguments import MOST
from django_token_pricing.tokens.limits import rules

TEXTS = ("scope", "tier", "model", "feature", "metric", "window", "alignment", "time_zone")
MOMENTS = ("starts_at", "ends_at")
PLAIN = (*TEXTS, "limit", "mode", "grace", "counting", "on_failure")


def ceiling(rule: LimitRule | None) -> int | None:
    """The most that can be used under a rule; None where nothing is ever refused."""
    if rule is None or rule.mode == LimitMode.SOFT:
        return None
    return rule.limit + rule.grace


def beneath(rule: LimitRule, *, as_of: datetime) -> LimitRule | None:
    """What would count for the same in its place if this rule were not there: the next less specific one."""
    using = booking.database()
    user, pool, tier = rule.user_id, rule.pool_id, rule.tier
    if user is not None:
        membership = PoolMember.objects.using(using).filter(user=user, pool__is_active=True)
        pool = membership.values_list("pool", flat=True).first()
        tier = TokenAccount.objects.using(using).filter(user=user).values_list("tier", flat=True).first() or ""
    found = rules.for_targets(rules.targets(user=user, pool=pool, tier=tier), using)
    less = [
        other
        for other in found
        if (other.metric, other.window) == (rule.metric, rule.window) and rules.rank(other) < rules.rank(rule)
    ]
    chosen = rules.winners(less, as_of=as_of, model=rule.model, feature=rule.feature)
    return chosen[0] if chosen else None


def taken(rule: LimitRule, *, except_for: LimitRule | None, as_of: datetime) -> LimitRule | None:
    """The rule that is in the way of a new one: for the same, and not over."""
    others = LimitRule.objects.using(booking.database()).filter(slot=rule.slot)
    if except_for is not None:
        others = others.exclude(pk=except_for.pk)
    other = others.first()
    return None if other is None or (other.ends_at is not None and other.ends_at <= as_of) else other


def loosens_by(wanted: LimitRule | None, *, before: LimitRule | None, as_of: datetime) -> int:
    """By how much more can be used: `wanted` in the place of `before`, or of nothing, or (None) `before` retired.

    In the rule's own metric; the greatest number there is where a limit falls away. 0 where nothing is loosened.
    """
    if before is not None and _is_over(before, as_of):
        before = None
    if wanted is None:
        return 0 if before is None else _gap(before, beneath(before, as_of=as_of))
    if before is None:
        return _gap(beneath(wanted, as_of=as_of), wanted)
    gap = _gap(before, wanted)
    if _is_shorter(wanted, before, as_of):
        gap = max(gap, _gap(before, beneath(before, as_of=as_of)))
    return gap


def is_tighter(wanted: LimitRule, *, before: LimitRule | None, as_of: datetime) -> bool:
    """Whether the rule may refuse what would have passed: then it should be tried out on past usage first."""
    if ceiling(wanted) is None:
        return False
    if before is None or _is_over(before, as_of):
        return _is_less(wanted, beneath(wanted, as_of=as_of))
    if _is_less(wanted, before) or wanted.period != before.period:
        return True
    return _is_shorter(before, wanted, as_of) and _is_less(wanted, beneath(wanted, as_of=as_of))


def is_same(wanted: LimitRule, before: LimitRule) -> bool:
    return all(getattr(wanted, name) == getattr(before, name) for name in rules.FIELDS)


def _gap(before: LimitRule | None, after: LimitRule | None) -> int:
    most_before, most_after = ceiling(before), ceiling(after)
    if before is None or most_before is None:
        return 0
    # Uses pass by a limit that is counted in the cache unless the site asks it.
    is_exact_no_more = after is not None and (before.counting, after.counting) == (
        LimitCounting.LEDGER,
        LimitCounting.CACHE,
    )
    if most_after is None or is_exact_no_more:
        return MOST
    return max(0, most_after - most_before)


def _is_less(rule: LimitRule, than: LimitRule | None) -> bool:
    mine, theirs = ceiling(rule), ceiling(than)
    if than is not None and (than.counting, rule.counting) == (LimitCounting.CACHE, LimitCounting.LEDGER):
        return mine is not None
    return mine is not None and (theirs is None or mine < theirs)


def _is_over(rule: LimitRule, as_of: datetime) -> bool:
    return rule.retired_at is not None or (rule.ends_at is not None and rule.ends_at <= as_of)


def _is_shorter(rule: LimitRule, than: LimitRule, as_of: datetime) -> bool:
    """Whether it leaves out a time, from that moment on, in which the other one counts."""
    begins_later = rule.starts_at is not None and rule.starts_at > max(than.starts_at or as_of, as_of)
    ends_sooner = rule.ends_at is not None and (than.ends_at is None or rule.ends_at < than.ends_at)
    return begins_later or ends_sooner


# As they are stored with a request -----------------------------------------------------------------------------------


def terms(rule: LimitRule) -> dict[str, Any]:
    """What people decide of a rule, as JSON holds it."""
    found: dict[str, Any] = {name: getattr(rule, name) for name in PLAIN}
    found["user"] = None if rule.user_id is None else str(rule.user_id)
    found["pool"] = rule.pool_id
    for name in MOMENTS:
        value = getattr(rule, name)
        found[name] = None if value is None else value.isoformat()
    return found


def given(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Those terms as `set_limit` and `draft` take them. Raises UnknownOwner for a user or a pool that is gone."""
    found: dict[str, Any] = {name: stored[name] for name in PLAIN}
    for name, model in (("user", get_user_model()), ("pool", TokenPool)):
        key = stored[name]
        row = None if key is None else model._base_manager.filter(pk=key).first()
        if key is not None and row is None:
            raise UnknownOwner(owner=_("%(kind)s %(key)s") % {"kind": model._meta.verbose_name, "key": key})
        found[name] = row
    for name in MOMENTS:
        found[name] = parse_datetime(stored[name]) if stored[name] else None
    return found


def whom(rule: LimitRule) -> str:
    """For whom it is, as people call them; asks for the user or the pool."""
    match rule.scope:
        case LimitScope.USER:
            return "" if rule.user is None else str(rule.user.get_username())
        case LimitScope.POOL:
            return "" if rule.pool is None else rule.pool.name
        case LimitScope.TIER:
            return rule.tier
    return str(LimitScope.DEFAULT.label)
