"""Emergency boosts: tokens in a hurry, within what a policy allows, that end by themselves.

A boost is a lot of the source “emergency”. It is spent before all others: it is there for what is urgent now, and ends
soonest. How many an account had this month is counted under its lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.utils import formats, timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from django_token_pricing import approvals, audit, signals
from django_token_pricing.choices import ApprovalStatus, EntryKind, Source, Verb
from django_token_pricing.exceptions import BoostRefused, InvalidInput, InvalidMoment
from django_token_pricing.models import Approval, BoostPolicy, TokenAccount, TokenAllocation
from django_token_pricing.tokens import arguments, booking, grants
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.balances import balance
from django_token_pricing.tokens.results import Grant

KIND = "tokens.boost"
BOOST_PRIORITY = 10
MOST_HOURS = 8_784


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a boost of an account may be now: `left` of its boosts this month, None for any number."""

    most_tokens: int
    most_hours: int
    per_month: int | None
    given: int

    @property
    def left(self) -> int | None:
        return None if self.per_month is None else max(self.per_month - self.given, 0)


def boost(
    owner: Any,
    amount: int,
    *,
    hours: int | None = None,
    until: datetime | None = None,
    reason: str,
    actor: models.Model | None,
    key: str | None = None,
) -> Grant:
    """Give tokens in an emergency, for some hours or until a moment; what is left then is gone by itself.

    The boost policy of the account's tier, else the one without a tier, says how many tokens, for how long, and how
    often in a calendar month of the site's zone; lots of the source “emergency” count, however they were granted. The
    lot has priority 10, so it is spent before others. The same key with the same owner and amount gives the first
    answer again.

    Raises BoostRefused, ApprovalNeeded above the size from which a second person is needed (see `ask_boost`),
    UnknownOwner, IdempotencyConflict, InvalidAmount, InvalidKey, InvalidMoment, and InvalidInput without a reason.
    """
    terms = _Terms.of(amount, hours, until)
    arguments.reason(reason)
    return _give(arguments.owner(owner), terms, reason=reason, actor=actor, key=key, is_approved=False)


def ask_boost(
    owner: Any,
    amount: int,
    *,
    hours: int | None = None,
    until: datetime | None = None,
    reason: str,
    actor: models.Model,
    key: UUID,
) -> Approval:
    """Ask a second person for a boost, which is given when that person approves; `hours` count from then on.

    The same key gives the request that is there. Raises BoostRefused for what the policy would not allow now, and what
    `boost` raises for arguments.
    """
    terms = _Terms.of(amount, hours, until)
    arguments.reason(reason)
    using = booking.database()
    with transaction.atomic(using=using):
        booking.start_writing(using)
        account = booking.accounts_of([whose := arguments.owner(owner)], using)[whose]
        if not Approval.objects.using(using).filter(key=key).exists():
            _refuse_beyond_policy(account, terms, booking.clock(using), using)
        params = {"account": account.pk, **terms.as_json()}
        return approvals.ask(
            KIND, params=params, size=terms.amount, actor=actor, reason=reason, key=key, target=account
        )


def allowance(owner: Any) -> Allowance | None:
    """What a boost may be now; None without a policy. Raises UnknownOwner."""
    using = booking.database()
    account = TokenAccount.objects.using(using).filter(**arguments.owner(owner).lookup).first()
    return _allowance(account or TokenAccount(), booking.clock(using), using)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What is asked for, checked: one of `hours` and `until` is set."""

    amount: int
    hours: int | None
    until: datetime | None

    @classmethod
    def of(cls, amount: Any, hours: Any, until: Any) -> _Terms:
        if (hours is None) == (until is None):
            raise InvalidInput(detail=_("A boost lasts for some hours, or until a moment: say one of the two."))
        if hours is not None and (isinstance(hours, bool) or not isinstance(hours, int) or not 0 < hours <= MOST_HOURS):
            detail = _("it must be a whole number from 1 to %(most)s.") % {"most": MOST_HOURS}
            raise InvalidMoment(name="hours", value=repr(hours), detail=detail)
        return cls(arguments.amount(amount), hours, arguments.moment("until", until))

    def ends(self, now: datetime) -> datetime:
        """Raises InvalidMoment for what is over already."""
        ends = self.until or now + timedelta(hours=self.hours or 0)
        if ends <= now:
            raise InvalidMoment(name="until", value=ends, detail=_("it lies in the past."))
        return ends

    def as_json(self) -> dict[str, Any]:
        return {"amount": self.amount, "hours": self.hours, "until": self.until and self.until.isoformat()}

    @classmethod
    def from_json(cls, params: dict[str, Any]) -> _Terms:
        until = params["until"] and parse_datetime(params["until"])
        return cls(params["amount"], params["hours"], until or None)


def _give(
    whose: Owner, terms: _Terms, *, reason: str, actor: models.Model | None, key: str | None, is_approved: bool
) -> Grant:
    text, digest = arguments.key(key)
    using = booking.database()
    with booking.writing(using):
        account = booking.lock(whose, using)
        known = booking.recall(digest, text, Verb.GRANT, account, terms.amount, using, detail=Source.EMERGENCY.value)
        if known is not None:
            lot = TokenAllocation.objects.using(using).get(account=account, booked_at=known.booked_at, key=text)
            return _granted(lot, known.available_after or 0, replayed=True)
        now = booking.moment(using, account)
        ends = _refuse_beyond_policy(account, terms, now, using)
        if not is_approved:
            approvals.require(KIND, terms.amount)
        free = booking.available(account, now, using)
        after = free + terms.amount
        checked = grants.Terms.of(terms.amount, source=Source.EMERGENCY, priority=BOOST_PRIORITY, expires_at=ends)
        lot = checked.lot(account, now, key=text)
        lot.event = audit.record(
            KIND,
            target=account,
            actor=actor,
            reason=reason,
            changes={"available": (free, after), "granted": (0, terms.amount), "until": (None, ends)},
            using=using,
        )
        grants.issue(lot, account, now, EntryKind.GRANT, lot.event, using)
        facts = {"verb": Verb.GRANT, "account": account, "amount": terms.amount, "detail": Source.EMERGENCY.value}
        booking.remember(digest, text, using, booked_at=now, available_after=after, **facts)
        result = _granted(lot, after)
        tell = partial(signals.tokens_granted.send_robust, sender=TokenAllocation, result=result)
        transaction.on_commit(tell, using=using)
    return result


def _granted(lot: TokenAllocation, after: int, *, replayed: bool = False) -> Grant:
    return Grant(
        account=lot.account_id,
        amount=lot.amount,
        balance_after=after,
        booked_at=lot.booked_at,
        replayed=replayed,
        allocation=lot.pk,
    )


def _allowance(account: TokenAccount, now: datetime, using: str) -> Allowance | None:
    policies = BoostPolicy.objects.using(using).filter(tier__in={account.tier, ""})
    # Of some databases' collations a tier is another's that differs in capitals.
    by_tier = {policy.tier: policy for policy in policies}
    policy = by_tier.get(account.tier) or by_tier.get("")
    if policy is None:
        return None
    given = 0
    if account.pk is not None:
        boosts = TokenAllocation.objects.using(using).filter(account=account, source=Source.EMERGENCY)
        given = boosts.filter(booked_at__gte=booking.start_of_month(now)).count()
    return Allowance(
        most_tokens=policy.most_tokens, most_hours=policy.most_hours, per_month=policy.per_month, given=given
    )


def _refuse_beyond_policy(account: TokenAccount, terms: _Terms, now: datetime, using: str) -> datetime:
    """When such a boost would end. Raises BoostRefused, InvalidMoment."""
    ends = terms.ends(now)
    allowed = _allowance(account, now, using)
    if allowed is None:
        words = _("no boost policy is for the tier “%(tier)s”. Make one for it, or one without a tier for all others.")
        if not account.tier:
            words = _(
                "no boost policy is for accounts without a tier. Make one that names no tier: it is for all others."
            )
        raise BoostRefused(limit="policy", most=0, asked=terms.amount, detail=words % {"tier": account.tier})
    asked: Any = terms.amount
    if asked > allowed.most_tokens:
        words = _("at most %(most)s tokens are allowed, and %(asked)s are asked for.")
        raise _beyond("tokens", allowed.most_tokens, asked, words)
    if ends - now > timedelta(hours=allowed.most_hours):
        words = _("it may last at most %(most)s hours, and %(asked)s are asked for.")
        asked = -((now - ends) // timedelta(hours=1))
        raise _beyond("hours", allowed.most_hours, asked, words)
    if allowed.left == 0:
        words = _("%(most)s boosts a month are allowed for one account, and this would be number %(asked)s.")
        raise _beyond("month", allowed.per_month or 0, allowed.given + 1, words)
    return ends


def _beyond(limit: str, most: int, asked: int, words: str) -> BoostRefused:
    shown = {"most": _number(most), "asked": _number(asked)}
    return BoostRefused(limit=limit, most=most, asked=asked, detail=words % shown)


def _number(value: int) -> str:
    return str(formats.number_format(value, use_l10n=True, force_grouping=True))


@approvals.register
class BoostDeed(approvals.Deed):
    """Large boosts wait for a second person. Given once: the approval's own key is that of the boost."""

    kind = KIND
    permission = "django_token_pricing.boost_tokens"
    default_above = 100_000

    def name(self) -> str:
        return _("Emergency boost")

    def title(self, approval: Approval) -> str:
        terms = _Terms.from_json(approval.params)
        facts = {"tokens": _number(terms.amount), "name": approval.target_label}
        if terms.hours is not None:
            words = _("Boost %(name)s by %(tokens)s tokens for %(hours)s hours")
            return words % {**facts, "hours": _number(terms.hours)}
        return _("Boost %(name)s by %(tokens)s tokens until %(until)s") % {**facts, "until": _moment(terms.until)}

    def facts(self, approval: Approval) -> Iterable[tuple[str, Any, Any]]:
        account = TokenAccount.objects.select_related("user", "pool").get(pk=approval.params["account"])
        terms = _Terms.from_json(approval.params)
        name = audit.label(account.user or account.pool or account)
        yield _("Account"), name, name
        yield _("Tokens of the boost"), None, terms.amount
        if terms.hours is None:
            yield _("Until"), None, _moment(terms.until)
        else:
            yield _("Hours"), None, terms.hours
        # Once it is decided, what is true now says nothing of it any more.
        if approval.status != ApprovalStatus.WAITING or account.is_closed:
            return
        available = balance(account).available
        yield _("Available"), available, available + terms.amount
        allowed = _allowance(account, timezone.now(), booking.database())
        if allowed is not None:
            yield _("Boosts this month"), allowed.given, allowed.given + 1
            if allowed.per_month is not None:
                yield _("Most boosts a month"), allowed.per_month, allowed.per_month

    def carry_out(self, approval: Approval, actor: Any) -> None:
        account = TokenAccount.objects.get(pk=approval.params["account"])
        _give(
            arguments.owner(account),
            _Terms.from_json(approval.params),
            reason=approval.reason,
            actor=actor,
            key=f"approval:{approval.key}",
            is_approved=True,
        )


def _moment(value: datetime | None) -> str:
    return "" if value is None else formats.date_format(timezone.localtime(value), "DATETIME_FORMAT")
