"""Counters: what the log says of the latest window of a period, kept ready under the account's lock.

The portable form of what `tp_limits_1` does within the metering function of PostgreSQL, step by step the same. Rules
only choose which counter is compared with which limit: what an account used counts whatever model it was for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from math import ceil

from django.db.models import F, Q, QuerySet
from django.utils import timezone as django_timezone

from django_token_pricing.choices import LimitCounting, LimitMode, LimitScope, LimitWindow, Verb
from django_token_pricing.lib import windows
from django_token_pricing.models import (
    LimitCounter,
    LimitOverage,
    LimitRule,
    PoolMember,
    TokenAccount,
    TokenHold,
)
from django_token_pricing.tokens.limits import log, rules
from django_token_pricing.tokens.limits.log import Used
from django_token_pricing.tokens.outcomes import Outcome

TICK = timedelta(microseconds=1)


@dataclass(slots=True)
class Governed:
    """Which rules an account falls under, and the pool in which its user is."""

    account: TokenAccount
    group: TokenAccount | None
    found: list[LimitRule]

    @property
    def is_grouped(self) -> bool:
        """Whether a use is counted on the pool's account, too."""
        return any(rule.scope == LimitScope.POOL and rule.counting == LimitCounting.LEDGER for rule in self.found)


@dataclass(slots=True)
class Verdict:
    """Whether limits let a use pass, and what is to be written when it is booked."""

    refusal: Outcome | None = None
    # (account, rule, start of the window, how much beyond)
    overages: list[tuple[int, LimitRule, datetime, int]] = field(default_factory=list)
    # (counter, the rule that it reaches, or None when it no longer does)
    reached: list[tuple[LimitCounter, LimitRule | None]] = field(default_factory=list)


def governing(account: TokenAccount, using: str) -> Governed:
    """What the locked account falls under now; the pool's account is not locked yet."""
    if account.user_id is None:
        wanted = rules.targets(pool=account.pool_id)
        return Governed(account, None, rules.for_targets(wanted, using) if wanted else [])
    membership = PoolMember.objects.using(using).filter(user=account.user_id, pool__is_active=True)
    group = TokenAccount.objects.using(using).filter(pool__in=membership.values("pool")).first()
    pool = group.pool_id if group is not None else None
    wanted = rules.targets(user=account.user_id, pool=pool, tier=account.tier)
    return Governed(account, group, rules.for_targets(wanted, using))


def check(
    verb: Verb,
    governed: Governed,
    amount: int,
    hold: TokenHold | None,
    used_at: datetime,
    now: datetime,
    using: str,
    *,
    model: str,
    feature: str,
) -> Verdict:
    """Ask the rules in force; counters are brought up to the windows of the use.

    What `hold` reserves, if it is open, has passed already.
    """
    verdict = Verdict()
    current = rules.winners(governed.found, as_of=now, model=model, feature=feature)
    reserved = hold.amount if hold is not None and hold.status == "open" and hold.expires_at > now else None
    held: dict[int, Used] = {}
    for rule in sorted(current, key=lambda rule: (rule.metric, rule.window)):
        if rule.counting != LimitCounting.LEDGER:
            continue
        if rule.window == LimitWindow.CONCURRENT and verb != Verb.HOLD:
            continue
        of = governed.group if rule.scope == LimitScope.POOL and governed.group else governed.account
        counter, counted = None, 0
        starts_at, ends_at = None, None
        if rule.period:
            starts_at, ends_at = windows.bounds(rule.period, used_at, django_timezone.get_default_timezone())
            counter, found = _counted(of.pk, rule.period, starts_at, ends_at, used_at, using)
            counted = found.of(rule.metric)
        used = counted
        if rule.window != LimitWindow.REQUEST:
            if of.pk not in held:
                held[of.pk] = log.held(of.pk, now, using, without_hold=hold.pk if hold else None)
            used += held[of.pk].of(rule.metric)
        add = Used(amount, 1).of(rule.metric)
        most = rule.limit + rule.grace
        has_passed = reserved is not None and add <= Used(reserved, 1).of(rule.metric)
        if rule.mode != LimitMode.SOFT and add > max(most - used, 0) and not has_passed:
            wait = None
            if starts_at is not None and rule.period != "total":
                wait = _wait(of.pk, rule, most - add, counted, starts_at, ends_at, hold, now, using)
            if _takes_longer(wait, verdict.refusal):
                verdict.refusal = Outcome(
                    "throttled" if rule.mode == LimitMode.THROTTLE and wait is not None else "limit",
                    account=governed.account.pk,
                    amount=amount,
                    cap=rule.limit,
                    used=used,
                    booked=now,
                    rule=rule.pk,
                    metric=rule.metric,
                    window=rule.window,
                    wait=wait,
                )
        # Beyond the limit is what is used, not what is held; only what is used at the same time is held.
        over = add - max(rule.limit - (used if rule.window == LimitWindow.CONCURRENT else counted), 0)
        if over > 0 and (verb != Verb.HOLD or rule.window == LimitWindow.CONCURRENT):
            verdict.overages.append((of.pk, rule, _beginning(rule.period, starts_at, used_at), over))
        if counter is not None and verb != Verb.HOLD:
            reached = rule if counted + add >= rule.limit else None
            if counter.reached_id in (None, rule.pk) and counter.reached_id != (reached and reached.pk):
                verdict.reached.append((counter, reached))
    return verdict


def _takes_longer(wait: int | None, other: Outcome | None) -> bool:
    """Of several refusals the one that takes longest is told, so that after its time the request passes."""
    return other is None or (other.wait is not None and (wait is None or wait > other.wait))


def _beginning(period: str, starts_at: datetime | None, used_at: datetime) -> datetime:
    """Of the window in which overage is summed: where it has no beginning of its own, days of UTC stand in."""
    if starts_at is None or windows.is_rolling(period):
        return used_at.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return starts_at


def _counted(
    account: int, period: str, starts_at: datetime, ends_at: datetime | None, used_at: datetime, using: str
) -> tuple[LimitCounter, Used]:
    """What the window has seen, and the counter of the period: brought up to this window, unless it is a later one."""
    counter = LimitCounter.objects.using(using).filter(account=account, period=period).first()
    found = seen(counter, account, period, starts_at, ends_at, used_at, using)
    facts = {"starts_at": starts_at, "ends_at": ends_at, "tokens": found.tokens, "requests": found.requests}
    if counter is None:
        return LimitCounter.objects.using(using).create(account_id=account, period=period, **facts), found
    rolling = windows.is_rolling(period)
    is_there = (counter.starts_at, counter.ends_at) == (starts_at, ends_at)
    is_later = counter.starts_at > used_at or (rolling and counter.starts_at > starts_at)
    if not is_there and not is_later:
        if not rolling:
            counter.reached, counter.reached_at = None, None
        for name, value in facts.items():
            setattr(counter, name, value)
        counter.save(using=using)
    return counter, found


def seen(
    counter: LimitCounter | None,
    account: int,
    period: str,
    starts_at: datetime,
    ends_at: datetime | None,
    used_at: datetime,
    using: str,
) -> Used:
    """What was used in the window of a moment, from the counter as far as it goes and else from the log."""
    if counter is None:
        return log.used(account, starts_at, ends_at, using)
    kept = Used(counter.tokens, counter.requests)
    if (counter.starts_at, counter.ends_at) == (starts_at, ends_at):
        return kept
    length = windows.length_of(period) if windows.is_rolling(period) else None
    if counter.starts_at > used_at:
        # It happened before what the counter counts.
        return log.used(account, starts_at, used_at + length if length else ends_at, using)
    if length is not None and counter.starts_at > starts_at:
        return kept.plus(log.used(account, starts_at, counter.starts_at, using))
    if length is not None and counter.starts_at > starts_at - length:
        # The window moves on: what has left it is taken off.
        return kept.minus(log.used(account, counter.starts_at, starts_at, using))
    return log.used(account, starts_at, ends_at, using)


def _wait(
    account: int,
    rule: LimitRule,
    budget: int,
    counted: int,
    starts_at: datetime,
    ends_at: datetime | None,
    hold: TokenHold | None,
    now: datetime,
    using: str,
) -> int | None:
    """After how many seconds no more than the budget of what counts now will count: None where waiting does not help.

    A counter is gone when its window ends, a use of a rolling window when it is older than that, a hold at its ttl.
    """
    if budget < 0:
        return None
    going: list[tuple[datetime, int]] = []
    if ends_at is not None:
        going.append((ends_at, counted))
    else:
        length = windows.length_of(rule.period) + TICK
        going += [(at + length, use.of(rule.metric)) for at, use in log.each_used(account, starts_at, using)]
    holds = log.open_holds(account, now, using, without_hold=hold.pk if hold else None)
    going += [(at, Used(of, 1).of(rule.metric)) for at, of in holds.values_list("expires_at", "amount")]
    rest = 0
    for gone_at, share in sorted(going, reverse=True):
        rest += share
        if rest > budget:
            return ceil((gone_at - now) / timedelta(seconds=1)) if gone_at > now else None
    return None


def count(verdict: Verdict, governed: Governed, amount: int, used_at: datetime, now: datetime, using: str) -> None:
    """Count a use that was booked, on all counters whose windows it is in."""
    note(verdict, used_at, now, using)
    for account in (governed.account, governed.group if governed.is_grouped else None):
        if account is not None:
            counters = around([account.pk], used_at, using)
            counters.update(tokens=F("tokens") + amount, requests=F("requests") + 1)


def note(verdict: Verdict, used_at: datetime, now: datetime, using: str) -> None:
    """Write down what went beyond a limit, and which limits are reached."""
    for account, rule, starts_at, over in verdict.overages:
        row, is_new = LimitOverage.objects.using(using).get_or_create(
            account_id=account, rule=rule, starts_at=starts_at, defaults={"amount": over, "last_at": now}
        )
        if not is_new:
            rows = LimitOverage.objects.using(using).filter(pk=row.pk)
            rows.update(amount=F("amount") + over, uses=F("uses") + 1, last_at=now)
    for counter, reached in verdict.reached:
        rows_of = LimitCounter.objects.using(using).filter(pk=counter.pk, starts_at__lte=used_at)
        rows_of.update(reached=reached, reached_at=None if reached is None else now)


def give_back(accounts: Iterable[int], amount: int, is_whole: bool, used_at: datetime, using: str) -> None:
    """Take a refund off the counters of locked accounts; what falls below its limit is reached no more."""
    counters = around(accounts, used_at, using)
    counters.update(tokens=F("tokens") - amount, requests=F("requests") - int(is_whole))
    for counter in counters.filter(reached_id__isnull=False).select_related("reached"):
        rule = counter.reached
        if rule is not None and Used(counter.tokens, counter.requests).of(rule.metric) < rule.limit:
            LimitCounter.objects.using(using).filter(pk=counter.pk).update(reached=None, reached_at=None)


def around(accounts: Iterable[int], used_at: datetime, using: str) -> QuerySet[LimitCounter]:
    """The counters of these accounts whose windows hold the moment."""
    rows = LimitCounter.objects.using(using).filter(account__in=list(accounts), starts_at__lte=used_at)
    return rows.filter(Q(ends_at=None) | Q(ends_at__gt=used_at))
