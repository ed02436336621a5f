"""Writing down that warnings fired: their states, and what people are told of them, in one short transaction.

The rules' rows are the lock, so that of two workers with the same accounts the second finds the states of the first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import PermissionsMixin
from django.db import router, transaction
from django.db.models import F
from django.utils import timezone

from django_token_pricing import signals
from django_token_pricing.choices import DeliveryStatus, NotificationKind, WarningKind
from django_token_pricing.lib.periods import month_of
from django_token_pricing.models import (
    Notification,
    NotificationPreference,
    TokenAccount,
    WarningRule,
    WarningState,
    WarningTally,
)

# Candidates that are looked at and written down together.
BATCH = 500
KINDS = {
    WarningKind.LOW_PERCENT: NotificationKind.LOW,
    WarningKind.LOW_TOKENS: NotificationKind.LOW,
    WarningKind.EXPIRING: NotificationKind.EXPIRING,
    WarningKind.EXPIRED: NotificationKind.EXPIRED,
    WarningKind.LIMIT: NotificationKind.LIMIT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A warning that is to fire for an account. `seen` is when it fired in this period before, as it was read."""

    rule: WarningRule
    account: TokenAccount
    period: str
    ends_at: datetime | None
    facts: dict[str, Any]
    granted: int = 0
    seen: datetime | None = None
    # A wider warning that a tighter one has overtaken fires in silence.
    tells_user: bool = True
    tells_admins: bool = True

    @property
    def place(self) -> tuple[int, int, str]:
        return self.rule.pk, self.account.pk, self.period


@dataclass(slots=True)
class Fired:
    """What a batch came to."""

    warnings: int = 0
    notifications: list[Notification] = field(default_factory=list)


def database() -> str:
    return router.db_for_write(WarningRule)


def states_of(
    rules: Sequence[WarningRule], accounts: Sequence[TokenAccount], periods: Sequence[str], using: str
) -> dict[tuple[int, int, str], WarningState]:
    found = WarningState.objects.using(using).filter(account__in=accounts, rule__in=rules, period__in=periods)
    return {(state.rule_id, state.account_id, state.period): state for state in found}


def fire(due: Sequence[Due], at: datetime, using: str) -> Fired:
    """Write down what is due, but for what another worker wrote down meanwhile, and for rules that were switched off.

    All is there or nothing. A user who was deleted meanwhile breaks it with an IntegrityError.
    """
    if not due:
        return Fired()
    with transaction.atomic(using=using):
        active = _lock({one.rule.pk for one in due}, using)
        rules = list({one.rule.pk: one.rule for one in due}.values())
        states = states_of(rules, [one.account for one in due], sorted({one.period for one in due}), using)
        firing = [
            one
            for one in due
            if one.rule.pk in active and one.seen == (states[one.place].fired_at if one.place in states else None)
        ]
        _write_states(firing, states, at, using)
        told = [one for one in firing if one.tells_user or one.tells_admins]
        _count(Counter(one.rule.pk for one in told), at, using)
        rows = [*_for_users(told, at), *_for_operators(told, at, using)]
        made = Notification.objects.using(using).bulk_create(as_preferred(rows, using), batch_size=BATCH)
        _announce(firing, made, using)
    return Fired(len(told), made)


def _lock(pks: set[int], using: str) -> set[int]:
    """Those that are still switched on. A write locks on every database, and makes an SQLite transaction a writer."""
    rules = WarningRule.objects.using(using).filter(pk__in=pks)
    rules.update(is_active=F("is_active"))
    return set(rules.filter(is_active=True).values_list("pk", flat=True))


def _write_states(
    firing: Sequence[Due], states: dict[tuple[int, int, str], WarningState], at: datetime, using: str
) -> None:
    new, again = [], []
    for one in firing:
        state = states.get(one.place)
        if state is None:
            state = WarningState(rule=one.rule, account=one.account, period=one.period)
            new.append(state)
        else:
            again.append(state)
        state.fired_at, state.ends_at, state.granted = at, one.ends_at, one.granted
    WarningState.objects.using(using).bulk_create(new, batch_size=BATCH)
    WarningState.objects.using(using).bulk_update(again, ["fired_at", "ends_at", "granted"], batch_size=250)


def _count(fired: Counter[int], at: datetime, using: str) -> None:
    month = month_of(at, timezone.get_default_timezone())
    tallies = WarningTally.objects.using(using)
    for rule, number in sorted(fired.items()):
        if not tallies.filter(rule=rule, month=month).update(fired=F("fired") + number):
            tallies.create(rule_id=rule, month=month, fired=number)


def _for_users(told: Sequence[Due], at: datetime) -> Iterator[Notification]:
    for one in told:
        if one.rule.tells_user and one.tells_user and one.account.user_id is not None:
            yield _row(one.account.user_id, one.rule, one.account, one.facts, at)


def _for_operators(told: Sequence[Due], at: datetime, using: str) -> Iterator[Notification]:
    """One for a rule and all accounts of the batch: an operator reads no thousand lines, and a mail server neither."""
    by_rule: dict[int, list[Due]] = defaultdict(list)
    for one in told:
        if one.rule.tells_admins and one.tells_admins:
            by_rule[one.rule.pk].append(one)
    if not by_rule:
        return
    people = operators(using)
    for concerned in by_rule.values():
        rule = concerned[0].rule
        only = concerned[0] if len(concerned) == 1 else None
        account = None if only is None else only.account
        facts = {
            **({} if only is None else only.facts),
            "count": len(concerned),
            "percent": rule.percent,
            "tokens_left": rule.tokens,
            "days": rule.days,
            "tier": rule.tier,
        }
        for pk in people:
            yield _row(pk, rule, account, facts, at)


def operators(using: str) -> list[Any]:
    """Who may be told of warnings that concern operators; a user model without permissions has nobody."""
    if not issubclass(get_user_model(), PermissionsMixin):
        return []
    # Any backend may know of more; this one can say who they are in one query.
    people = ModelBackend().with_perm("django_token_pricing.receive_warnings")
    return list(people.using(using).order_by("pk").values_list("pk", flat=True))


def _row(
    user: Any, rule: WarningRule, account: TokenAccount | None, facts: dict[str, Any], at: datetime
) -> Notification:
    return Notification(
        user_id=user,
        account=account,
        rule=rule,
        kind=KINDS[WarningKind(rule.kind)].value,
        facts=facts,
        created_at=at,
    )


def as_preferred(rows: Sequence[Notification], using: str) -> list[Notification]:
    """Each in the ways that its reader wants; who wants to hear nothing gets no row."""
    wanted = NotificationPreference.objects.using(using).filter(user__in={row.user_id for row in rows})
    preferred = {(one.user_id, one.kind): one for one in wanted}
    now = timezone.now()
    kept = []
    for row in rows:
        preference = preferred.get((row.user_id, row.kind))
        row.is_shown = preference is None or preference.in_app
        if preference is None or preference.by_mail:
            row.mail, row.mail_at = DeliveryStatus.WAITING, now
        if row.is_shown or row.mail == DeliveryStatus.WAITING:
            kept.append(row)
    return kept


def _announce(firing: Sequence[Due], made: list[Notification], using: str) -> None:
    if made:
        tell = partial(signals.warnings_fired.send_robust, sender=WarningRule, notifications=made)
        transaction.on_commit(tell, using=using)
    low = sorted({one.account.pk for one in firing if KINDS[WarningKind(one.rule.kind)] == NotificationKind.LOW})
    if low:
        transaction.on_commit(partial(signals.balance_low.send_robust, sender=TokenAccount, accounts=low), using=using)
