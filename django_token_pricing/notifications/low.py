"""Little left. Summaries say who may be low, by an index; what the account has is then read from the ledger.

Rules for several thresholds fire separately. An account that falls below two at once is told of the tighter one alone,
and the wider one counts as fired.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import DecimalField, Exists, F, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import LessThan
from django.utils import timezone

from django_token_pricing import tokens
from django_token_pricing.choices import EntryKind, Source, WarningKind
from django_token_pricing.lib.periods import month_of, start_of_day
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import (
    AccountSummary,
    LedgerEntry,
    PoolMember,
    TokenAccount,
    TokenAllocation,
    WarningRule,
    WarningState,
)
from django_token_pricing.notifications.firing import Due, states_of

# Candidates that one query reads; each batch of them is then looked at.
PIECE = 20_000


def due(rules: Sequence[WarningRule], at: datetime, as_of: datetime | None, using: str) -> Iterator[list[Due]]:
    """What is due of all these rules, in batches of accounts. `as_of` is None where balances are asked as they are."""
    if not rules:
        return
    month = _Month.of(at)
    for rule in rules:
        for piece in _candidates(rule, month, using):
            for accounts in steps(piece):
                yield _judged(accounts, rules, month, as_of, using)


class _Month:
    """The calendar month of the site's zone in which a moment falls."""

    def __init__(self, at: datetime, starts_at: datetime, ends_at: datetime, name: str) -> None:
        self.at, self.starts_at, self.ends_at, self.name = at, starts_at, ends_at, name

    @classmethod
    def of(cls, at: datetime) -> _Month:
        zone = timezone.get_default_timezone()
        first = month_of(at, zone)
        after = (first + timedelta(days=31)).replace(day=1)
        return cls(at, start_of_day(first, zone), start_of_day(after, zone), f"{first:%Y-%m}")


def _candidates(rule: WarningRule, month: _Month, using: str) -> Iterator[list[int]]:
    """Accounts that were low at the last refresh, and of which nothing says that they were warned since their last
    grant. Accounts that had nothing this month are not low but empty, and nobody waits for news of them.
    """
    measure, most = ("share_left", rule.percent) if rule.kind == WarningKind.LOW_PERCENT else ("available", rule.tokens)
    done = WarningState.objects.filter(rule=rule, account=OuterRef("account"), period=month.name)
    # One probe of an index for each row. As a join it is quadratic where PostgreSQL has no statistics of new states.
    granted_then = Coalesce(Subquery(done.values("granted")[:1]), Value(-1, output_field=DecimalField()))
    rows = AccountSummary.objects.using(using).filter(
        LessThan(granted_then, F("granted")),
        ~Exists(_plenty(rule)),
        share_left__isnull=False,
        **{f"{measure}__lte": most},
    )
    if rule.tier:
        rows = rows.filter(tier=rule.tier)
    last: tuple[int, int] | None = None
    while True:
        later = rows
        if last is not None:
            # The first condition is the one that an index serves; the second breaks ties.
            later = rows.filter(
                Q(**{f"{measure}__gt": last[0]}) | Q(account__gt=last[1]), **{f"{measure}__gte": last[0]}
            )
        found = list(later.order_by(measure, "account").values_list(measure, "account")[:PIECE])
        yield [account for _measure, account in found]
        if len(found) < PIECE:
            return
        last = found[-1]


def _plenty(rule: WarningRule) -> Any:
    """What a pool has for an account whose owner may draw on it without a cap: then the account is not low."""
    least = rule.tokens if rule.kind == WarningKind.LOW_TOKENS else OuterRef("granted")
    return PoolMember.objects.filter(
        user=OuterRef("account__user"),
        pool__is_active=True,
        monthly_cap=None,
        pool__account__summary__available__gt=least,
    )


def _judged(
    pks: Sequence[int], rules: Sequence[WarningRule], month: _Month, as_of: datetime | None, using: str
) -> list[Due]:
    accounts = list(
        TokenAccount.objects.using(using)
        .filter(Q(user__isnull=False) | Q(pool__isnull=False), pk__in=pks)
        .only("user", "pool", "tier")
        .order_by("pk")
    )
    if not accounts:
        return []
    balances = tokens.balances(accounts, as_of=as_of)
    whole = _granted(accounts, month, using)
    states = states_of(rules, accounts, [month.name], using)
    grants = _grants(accounts, states, using)
    unused = [account for account in accounts if not any(whole[account.pk])]
    used = _users_of_tokens(unused, month, using)
    found: list[Due] = []
    behind: list[WarningState] = []
    for account in accounts:
        granted, live = whole[account.pk]
        base, left = max(granted, live), balances[account].spendable
        if not base and account.pk not in used:
            continue
        met = []
        for rule in rules:
            if not _concerns(rule, account):
                continue
            threshold = _threshold(rule, base)
            if left > threshold:
                continue
            state = states.get((rule.pk, account.pk, month.name))
            is_due = state is None or any(
                booked_at > state.fired_at and after > threshold for booked_at, after in grants[account.pk]
            )
            if state is not None and not is_due and state.granted < granted:
                state.granted = granted
                behind.append(state)
            met.append((threshold, rule.pk, rule, state, is_due))
        facts = {"available": left, "granted": base}
        found += _tightest(account, met, facts, granted, month)
    # What was granted lifted them not above the threshold; they are no candidates again before the next grant.
    WarningState.objects.using(using).bulk_update(behind, ["granted"], batch_size=250)
    return found


def _concerns(rule: WarningRule, account: TokenAccount) -> bool:
    return rule.tier in ("", account.tier) and (rule.tells_admins or account.user_id is not None)


def _threshold(rule: WarningRule, base: int) -> int:
    """In tokens: an account with no more than that is low."""
    if rule.kind == WarningKind.LOW_PERCENT:
        return base * (rule.percent or 0) // 100
    return rule.tokens or 0


def _tightest(
    account: TokenAccount,
    met: list[tuple[int, int, WarningRule, WarningState | None, bool]],
    facts: dict[str, Any],
    granted: int,
    month: _Month,
) -> Iterator[Due]:
    met.sort(key=lambda one: one[:2])
    of_user = next((rule.pk for _least, _pk, rule, _state, _due in met if rule.tells_user), None)
    of_admins = next((rule.pk for _least, _pk, rule, _state, _due in met if rule.tells_admins), None)
    for _threshold, pk, rule, state, is_due in met:
        if is_due:
            yield Due(
                rule=rule,
                account=account,
                period=month.name,
                ends_at=month.ends_at,
                facts=facts,
                granted=granted,
                seen=None if state is None else state.fired_at,
                tells_user=pk == of_user,
                tells_admins=pk == of_admins,
            )


def _granted(accounts: Sequence[TokenAccount], month: _Month, using: str) -> dict[int, tuple[int, int]]:
    """What was granted this month, and what the live lots were granted with: by account, as summaries have it."""
    this_month = Q(booked_at__gte=month.starts_at, booked_at__lte=month.at) & ~Q(source=Source.ROLLOVER)
    live = Q(is_open=True, starts_at__lte=month.at) & (Q(expires_at=None) | Q(expires_at__gt=month.at))
    rows = (
        TokenAllocation.objects.using(using)
        .filter(this_month | live, account__in=accounts)
        .order_by()
        .values_list("account")
        .annotate(granted=Coalesce(Sum("amount", filter=this_month), 0), live=Coalesce(Sum("amount", filter=live), 0))
    )
    found = {account: (int(granted), int(live_ones)) for account, granted, live_ones in rows}
    return {account.pk: found.get(account.pk, (0, 0)) for account in accounts}


def _users_of_tokens(accounts: Sequence[TokenAccount], month: _Month, using: str) -> set[int]:
    """Those that used tokens this month: of a lot that was granted before, and is used up."""
    if not accounts:
        return set()
    drawn = LedgerEntry.objects.using(using).filter(
        account__in=accounts, kind=EntryKind.CONSUME, booked_at__gte=month.starts_at, booked_at__lte=month.at
    )
    return set(drawn.order_by().values_list("account", flat=True).distinct())


def _grants(
    accounts: Sequence[TokenAccount], states: dict[tuple[int, int, str], WarningState], using: str
) -> dict[int, list[tuple[datetime, int]]]:
    """Grants since the earliest warning, by account: when, and what the books held then."""
    found: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    if states:
        entries = LedgerEntry.objects.using(using).filter(
            account__in={state.account_id for state in states.values()},
            kind=EntryKind.GRANT,
            booked_at__gt=min(state.fired_at for state in states.values()),
        )
        for account, booked_at, after in entries.values_list("account", "booked_at", F("balance_after")):
            found[account].append((booked_at, after))
    return found
