"""The rules: set and retired by people, and chosen for a use.

Of the rules that fit a use one counts for each metric and window, the most specific. So that there is always one, two
rules for the same target, model, feature, metric and window are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import IntegrityError, connections, models, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from django_token_pricing import audit
from django_token_pricing.audit import versions
from django_token_pricing.choices import (
    FailureMode,
    LimitAlignment,
    LimitCounting,
    LimitMetric,
    LimitMode,
    LimitScope,
    LimitWindow,
)
from django_token_pricing.exceptions import InvalidInput, InvalidMoment, LimitTaken
from django_token_pricing.lib import windows
from django_token_pricing.lib.digests import digest
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.models import LimitCounter, LimitRule, PoolMember, TokenAccount, TokenPool
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.arguments import Owner

SCOPES = {LimitScope.USER: 3, LimitScope.POOL: 2, LimitScope.TIER: 1, LimitScope.DEFAULT: 0}
# What people decide of a rule; the rest follows from it.
FIELDS = (
    *("scope", "user_id", "pool_id", "tier", "model", "feature", "metric", "window", "alignment", "time_zone"),
    *("limit", "mode", "grace", "counting", "on_failure", "starts_at", "ends_at"),
)


def set_limit(
    *,
    scope: LimitScope | str,
    user: Any = None,
    pool: TokenPool | None = None,
    tier: str = "",
    model: str = "",
    feature: str = "",
    metric: LimitMetric | str = LimitMetric.TOKENS,
    window: LimitWindow | str = LimitWindow.DAY,
    alignment: LimitAlignment | str = LimitAlignment.CALENDAR,
    time_zone: str = "",
    limit: int,
    mode: LimitMode | str = LimitMode.HARD,
    grace: int = 0,
    counting: LimitCounting | str = LimitCounting.LEDGER,
    on_failure: FailureMode | str = FailureMode.OPEN,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    reason: str,
    actor: models.Model | None,
    rule: LimitRule | None = None,
    tried_out: str = "",
) -> LimitRule:
    """Set a new rule, or change `rule` into this one. It counts from the next use on, with what was used before.
    The audit trail keeps `tried_out`: how it was tried on past usage, in words.

    A rule for the same that has ended makes room for the new one: it is retired. Raises LimitTaken where there is one
    that has not, UnknownOwner, InvalidMoment, InvalidInput.
    """
    arguments.reason(reason)
    wanted = draft(
        scope=scope,
        user=user,
        pool=pool,
        tier=tier,
        model=model,
        feature=feature,
        metric=metric,
        window=window,
        alignment=alignment,
        time_zone=time_zone,
        limit=limit,
        mode=mode,
        grace=grace,
        counting=counting,
        on_failure=on_failure,
        starts_at=starts_at,
        ends_at=ends_at,
    )
    using = booking.database()
    after = {} if rule is None or rule.pool_id is None else {rule.pool_id: False}
    if wanted.pool_id is not None:
        after[wanted.pool_id] = wanted.counting == LimitCounting.LEDGER
    replaced = Q(slot=wanted.slot) if rule is None else Q(slot=wanted.slot) | Q(pk=rule.pk)
    with booking.writing(using), _quiet(after, replaced, using):
        now = booking.clock(using)
        if wanted.ends_at is not None and wanted.ends_at <= now:
            raise InvalidMoment(name="ends_at", value=wanted.ends_at, detail=_("the limit would be over already."))
        before = None if rule is None else _present(rule, using)
        other = LimitRule.objects.using(using).filter(slot=wanted.slot).first()
        if other is not None and other != before:
            if other.ends_at is None or other.ends_at > now:
                raise LimitTaken(rule=other.pk)
            _retire(other, now, _("It has ended, and another takes its place."), actor, using)
        changes = {name: (getattr(before, name, None), getattr(wanted, name)) for name in FIELDS}
        if before is not None:
            wanted.pk, wanted.created_at = before.pk, before.created_at
            changes = {name: change for name, change in changes.items() if change[0] != change[1]}
        if tried_out:
            changes["tried_out"] = (None, tried_out)
        _save(wanted, reason, actor, using)
        action = "limits.set" if before is None else "limits.change"
        audit.record(action, target=wanted, actor=actor, reason=reason, changes=changes, using=using)
    return wanted


def retire_limit(rule: LimitRule, *, reason: str, actor: models.Model | None) -> LimitRule:
    """End a rule for good; its versions and what was recorded beyond it stay. Raises InvalidInput."""
    arguments.reason(reason)
    using = booking.database()
    after = {} if rule.pool_id is None else {rule.pool_id: False}
    with booking.writing(using), _quiet(after, Q(pk=rule.pk), using):
        return _retire(_present(rule, using), booking.clock(using), reason, actor, using)


def draft(
    *,
    scope: LimitScope | str,
    user: Any = None,
    pool: TokenPool | None = None,
    tier: str = "",
    model: str = "",
    feature: str = "",
    metric: LimitMetric | str = LimitMetric.TOKENS,
    window: LimitWindow | str = LimitWindow.DAY,
    alignment: LimitAlignment | str = LimitAlignment.CALENDAR,
    time_zone: str = "",
    limit: int,
    mode: LimitMode | str = LimitMode.HARD,
    grace: int = 0,
    counting: LimitCounting | str = LimitCounting.LEDGER,
    on_failure: FailureMode | str = FailureMode.OPEN,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> LimitRule:
    """The rule that these values make, checked and not saved. Raises UnknownOwner, InvalidMoment, InvalidInput."""
    chosen = _choice("scope", LimitScope, scope)
    rule = LimitRule(
        scope=chosen,
        tier=_text("tier", tier, 64),
        model=_text("model", model, arguments.TEXT_LENGTH["model"]),
        feature=_text("feature", feature, arguments.TEXT_LENGTH["feature"]),
        metric=_choice("metric", LimitMetric, metric),
        window=_choice("window", LimitWindow, window),
        alignment=_choice("alignment", LimitAlignment, alignment),
        time_zone=_text("time_zone", time_zone, 64),
        limit=_whole("limit", limit),
        mode=_choice("mode", LimitMode, mode),
        grace=_whole("grace", grace),
        counting=_choice("counting", LimitCounting, counting),
        on_failure=_choice("on_failure", FailureMode, on_failure),
        starts_at=arguments.moment("starts_at", starts_at),
        ends_at=arguments.moment("ends_at", ends_at),
    )
    whom = {"user": user is not None, "pool": pool is not None, "tier": bool(rule.tier)}
    if whom != {name: name == chosen for name in whom}:
        raise InvalidInput(detail=_("A limit for one user names a user, one for a pool a pool, one for a tier a tier."))
    if user is not None:
        rule.user_id = _owner(user).user
    if pool is not None:
        rule.pool_id = _owner(pool).pool
    _refuse_contradictions(rule)
    rule.target = target_of(rule)
    rule.period = windows.period_of(rule.window, rule.alignment, rule.time_zone)
    rule.slot = digest("\x00".join((rule.target, rule.model, rule.feature, rule.metric, rule.window)))
    return rule


def _owner(subject: Any) -> Owner:
    return arguments.owner(subject)


def _choice(name: str, choices: type[models.TextChoices], value: Any) -> str:
    try:
        return str(choices(value).value)
    except ValueError:
        facts = {"name": name, "value": value, "known": ", ".join(choices.values)}
        raise InvalidInput(detail=_("%(name)s cannot be %(value)r; it is one of %(known)s.") % facts) from None


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not is_storable(value):
        facts = {"name": name, "most": most}
        raise InvalidInput(detail=_("%(name)s must be text of at most %(most)s characters.") % facts)
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= arguments.MOST:
        facts = {"name": name, "most": arguments.MOST}
        raise InvalidInput(detail=_("%(name)s must be a whole number from 0 to %(most)s.") % facts)
    return int(value)


def _refuse_contradictions(rule: LimitRule) -> None:
    """Raises InvalidInput for values of which each is right and that do not go together."""
    has_window = rule.window in windows.LENGTHS
    is_rolling = rule.alignment == LimitAlignment.ROLLING
    detail = ""
    if len(target_of(rule)) > 100:
        detail = _("The key of the user is too long to be given a limit.")
    elif is_rolling and not has_window:
        detail = _("Only a minute, an hour, a day, a week or a month can be rolling.")
    elif rule.time_zone and (is_rolling or not has_window):
        detail = _("A time zone goes with a minute, an hour, a day, a week or a month of the calendar.")
    elif rule.time_zone and not _is_zone(rule.time_zone):
        detail = _("There is no time zone “%(zone)s”.") % {"zone": rule.time_zone}
    elif rule.metric == LimitMetric.REQUESTS and rule.window == LimitWindow.REQUEST:
        detail = _("A request is always one request; limit its tokens.")
    elif rule.mode == LimitMode.THROTTLE and not has_window:
        detail = _("Only a limit of a minute, an hour, a day, a week or a month can say when to try again.")
    elif (rule.mode == LimitMode.GRACE) != bool(rule.grace):
        detail = _("“Allow some more” needs how much more, and nothing else takes it.")
    elif rule.limit + rule.grace > arguments.MOST:
        detail = _("The limit and its grace come to more than can be counted.")
    elif rule.starts_at and rule.ends_at and rule.ends_at <= rule.starts_at:
        detail = _("The limit would end before it begins.")
    elif rule.counting == LimitCounting.CACHE and not has_window:
        detail = _("Only a limit of a minute, an hour, a day, a week or a month can be counted in the cache.")
    elif rule.counting == LimitCounting.CACHE and rule.mode == LimitMode.SOFT:
        detail = _("The cache keeps no record of what goes beyond a limit: count this one exactly.")
    if detail:
        raise InvalidInput(detail=detail)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _present(rule: LimitRule, using: str) -> LimitRule:
    """The rule as it is now, locked. Raises InvalidInput for one that is over."""
    rows = LimitRule.objects.using(using).filter(pk=rule.pk)
    if connections[using].features.has_select_for_update:
        rows = rows.select_for_update(no_key=connections[using].features.has_select_for_no_key_update)
    found = rows.first()
    if found is None or found.retired_at is not None or found.target != rule.target:
        raise InvalidInput(detail=_("This limit was changed or retired meanwhile; look at it again."))
    return found


def _retire(rule: LimitRule, now: datetime, reason: str, actor: models.Model | None, using: str) -> LimitRule:
    slot, rule.slot, rule.retired_at = rule.slot, None, now
    _save(rule, reason, actor, using)
    changes = {"retired_at": (None, now), "slot": (slot, None)}
    audit.record("limits.retire", target=rule, actor=actor, reason=reason, changes=changes, using=using)
    return rule


def _save(rule: LimitRule, reason: str, actor: models.Model | None, using: str) -> None:
    """Write the row, and with it its version. Raises LimitTaken for what another just set."""
    row: Any = rule
    row._history_user, row._change_reason = actor, versions.fitting(reason, LimitRule.history.model)
    try:
        with transaction.atomic(using=using):
            rule.save(using=using)
    except IntegrityError:
        other = LimitRule.objects.using(using).filter(slot=rule.slot).exclude(pk=rule.pk).first()
        if rule.slot is None or other is None:
            raise
        raise LimitTaken(rule=other.pk) from None


@contextmanager
def _quiet(after: dict[int, bool], replaced: Q, using: str) -> Iterator[None]:
    """While pools get their first rule or lose their last one, no use of theirs or of their members is under way.

    A pool that has rules counts each use of its members on its own account; one that has none leaves them to the log.
    So whoever changes that waits for the uses under way and lets the pool's counters be made anew. Members join under
    the lock of the pool's row, so that none comes in between. `after` says of each pool whether a rule comes that
    counts on it, `replaced` which ones go.
    """
    booking.lock_pools(after, using)
    changing = []
    for pool, comes in after.items():
        rules = LimitRule.objects.using(using).filter(
            target=f"pool:{pool}", retired_at=None, counting=LimitCounting.LEDGER
        )
        if rules.exists() != (comes or rules.exclude(replaced).exists()):
            changing.append(pool)
    if changing:
        members = PoolMember.objects.using(using).filter(pool__in=changing).values_list("user", flat=True)
        owners = {Owner(pool=pool) for pool in changing} | {Owner(user=user) for user in members}
        accounts = booking.accounts_of(owners, using)
        booking.lock_accounts((account.pk for account in accounts.values()), using)
        LimitCounter.objects.using(using).filter(account__pool__in=changing).delete()
    yield


def target_of(rule: LimitRule) -> str:
    """Scope and whom, as they are looked up."""
    match rule.scope:
        case LimitScope.USER:
            return f"user:{rule.user_id}"
        case LimitScope.POOL:
            return f"pool:{rule.pool_id}"
        case LimitScope.TIER:
            return f"tier:{rule.tier}"
    return "default"


def targets(*, user: Any = None, pool: int | None = None, tier: str = "") -> list[str]:
    """The targets that a user, perhaps in a pool, falls under; a pool itself has no rules but its own."""
    wanted = [] if pool is None else [f"pool:{pool}"]
    if user is None:
        return wanted
    return [f"user:{user}", *wanted, *([f"tier:{tier}"] if tier else []), "default"]


def rank(rule: LimitRule) -> tuple[int, int]:
    """How specific a rule is; of those that fit the greatest counts."""
    return SCOPES[LimitScope(rule.scope)], 2 * bool(rule.model) + bool(rule.feature)


def is_current(rule: LimitRule, as_of: datetime) -> bool:
    """Neither retired, nor waiting for its start, nor past its end at that moment."""
    return (
        rule.retired_at is None
        and (rule.starts_at is None or rule.starts_at <= as_of)
        and (rule.ends_at is None or as_of < rule.ends_at)
    )


def winners(rules: Iterable[LimitRule], *, as_of: datetime, model: str = "", feature: str = "") -> list[LimitRule]:
    """Of rules for any target, those that count for a use of this model and feature, one a metric and window.

    Where a rule that is counted in the cache is the most specific, no other one is asked in its place.
    """
    best: dict[tuple[str, str], LimitRule] = {}
    for rule in rules:
        if is_current(rule, as_of) and rule.model in ("", model) and rule.feature in ("", feature):
            place = rule.metric, rule.window
            if place not in best or rank(rule) > rank(best[place]):
                best[place] = rule
    return sorted(best.values(), key=lambda rule: rule.pk)


def in_force(owner: Any, *, as_of: datetime, model: str = "", feature: str = "") -> list[LimitRule]:
    """The rules that count for a user, a pool or an account, one a metric and window: those counted exactly and those
    in the cache. Raises UnknownOwner.
    """
    using = booking.database()
    whose = arguments.owner(owner)
    account = TokenAccount.objects.using(using).filter(**whose.lookup).only("tier").first()
    pool = whose.pool
    if pool is None:
        membership = PoolMember.objects.using(using).filter(user=whose.user, pool__is_active=True)
        pool = membership.values_list("pool", flat=True).first()
    found = for_targets(targets(user=whose.user, pool=pool, tier="" if account is None else account.tier), using)
    return winners(found, as_of=as_of, model=model, feature=feature)


def for_targets(wanted: list[str], using: str) -> list[LimitRule]:
    """The rules with one of these targets that are not retired."""
    rows = LimitRule.objects.using(using).filter(target__in=wanted, retired_at=None)
    # A collation of the database may take targets for the same that are not.
    return [rule for rule in rows if rule.target in wanted]
