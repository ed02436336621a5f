"""Reading: what owners have, now or at a past moment, and the statement of an account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from django_token_pricing.choices import EntryKind
from django_token_pricing.exceptions import HistoryPruned
from django_token_pricing.models import (
    LedgerEntry,
    PoolDraw,
    TokenAccount,
    TokenAllocation,
    TokenHoldLot,
)
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.results import Balance


@dataclass(slots=True)
class _Sums:
    """What one account's lots and holds come to."""

    available: int = 0
    held: int = 0
    waiting: int = 0
    next_expiry: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an owner's tokens are: the own account, and the pool's with what counts against the cap there."""

    account: int | None = None
    pool: int | None = None
    cap: int | None = None
    drawn: int = 0
    held: int = 0


def balance(owner: Any, *, as_of: datetime | None = None) -> Balance:
    """What one owner has, now or at a past moment. Raises UnknownOwner, InvalidMoment, HistoryPruned.

    The answer for a past moment never changes: it is the sum of what was booked until then on the lots that were live
    then, less what was held. Only what the pool would have given follows today's membership and cap.
    """
    return balances([owner], as_of=as_of)[owner]


def balances(owners: Iterable[Any], *, as_of: datetime | None = None) -> dict[Any, Balance]:
    """What many owners have, by the owner given, in few queries however many they are.

    What is available, held and in total is of one moment for each owner; what the pool adds to `spendable` is read just
    before. An owner without an account has nothing. Raises UnknownOwner, InvalidMoment, HistoryPruned.
    """
    given = {subject: _owner(subject) for subject in owners}
    using = booking.database()
    arguments.moment("as_of", as_of)
    if as_of is not None:
        _refuse_pruned(as_of, using)
    at = booking.clock(using) if as_of is None else as_of
    users = [owner.user for owner in given.values() if owner.user is not None]
    pools = [owner.pool for owner in given.values() if owner.pool is not None]
    closed = [subject.pk for subject, owner in given.items() if owner == Owner()]
    places = _places(users, at, as_of, using) if users else {}
    numbers = {pk for place in places.values() for pk in (place.account, place.pool) if pk} | set(closed)
    sums = _sums(numbers, pools, at, as_of, using)
    pool_sums = {found.pool_id: found for found in sums.values() if found.pool_id is not None}
    nothing = _Found(None, _Sums())
    answers = {}
    for subject, owner in given.items():
        if owner.user is not None:
            place = places.get(owner.user, _Place())
            own = sums.get(place.account, nothing).sums
            answers[subject] = _answer(own, _pool_gives(place, sums.get(place.pool, nothing).sums))
        elif owner.pool is not None:
            answers[subject] = _answer(pool_sums.get(owner.pool, nothing).sums, 0)
        else:
            answers[subject] = _answer(sums.get(subject.pk, nothing).sums, 0)
    return answers


def own_balances(accounts: Iterable[TokenAccount]) -> dict[TokenAccount, Balance]:
    """What many accounts have themselves, for lists: `spendable` leaves out what a pool would give."""
    given = list(accounts)
    using = booking.database()
    sums = _sums({account.pk for account in given}, [], booking.clock(using), None, using)
    nothing = _Found(None, _Sums())
    return {account: _answer(sums.get(account.pk, nothing).sums, 0) for account in given}


@dataclass(slots=True)
class _Found:
    pool_id: int | None
    sums: _Sums


def _owner(subject: Any) -> Owner:
    """As for every verb, but a closed account can still be read."""
    if isinstance(subject, TokenAccount) and subject.is_closed:
        return Owner()
    return arguments.owner(subject)


def _refuse_pruned(as_of: datetime, using: str) -> None:
    since = booking.kept_since(using)
    if as_of < since and since != booking.BEGINNING:
        raise HistoryPruned(before=since)


def _places(users: list[Any], at: datetime, as_of: datetime | None, using: str) -> dict[Any, _Place]:
    draws = PoolDraw.objects.filter(
        member=OuterRef("token_account"),
        pool=OuterRef("token_pool_membership__pool__account"),
        month=booking.site_month(at),
    )
    held = _lines(at, as_of).filter(
        account=OuterRef("token_pool_membership__pool__account"), hold__account=OuterRef("token_account")
    )
    rows = (
        get_user_model()
        ._base_manager.using(using)
        .filter(pk__in=users)
        .values_list(
            "pk",
            "token_account",
            "token_pool_membership__pool__account",
            "token_pool_membership__pool__is_active",
            "token_pool_membership__monthly_cap",
            Subquery(draws.values("drawn")[:1]),
            _total(held, "hold__account"),
        )
    )
    found = list(rows)
    past = _drawn_at({(row[2], row[1]) for row in found if row[1] and row[2]}, as_of, using) if as_of else None
    places = {}
    for user, account, pool, active, cap, drawn, held_there in found:
        drawn_then = drawn if past is None else past.get((pool, account))
        places[user] = _Place(account, pool if active else None, cap, drawn_then or 0, held_there)
    return places


def _drawn_at(members: set[tuple[int, int]], as_of: datetime, using: str) -> dict[tuple[int, int], int]:
    """Net draws by (pool, member) in the month of that moment. A refund counts in the month of its use."""
    if not members:
        return {}
    month = booking.site_month(as_of)
    # A day to spare: the month begins at another moment in each zone.
    since = datetime.combine(month, time.min, tzinfo=timezone.utc) - timedelta(days=1)
    entries = LedgerEntry.objects.using(using).filter(
        account__in={pool for pool, _member in members},
        member__in={member for _pool, member in members},
        booked_at__range=(since, as_of),
        kind__in=[EntryKind.CONSUME, EntryKind.REFUND],
    )
    drawn: dict[tuple[int, int], int] = defaultdict(int)
    moved = entries.values_list("account", "member", "amount", "usage__booked_at")
    for pool, member, amount, used in moved:
        if booking.site_month(used) == month:
            drawn[pool, member] -= amount
    return drawn


def _sums(
    numbers: set[int], pools: list[int], at: datetime, as_of: datetime | None, using: str
) -> dict[int | None, _Found]:
    """Lots and what is held on them, in one statement: no other transaction can come between the two."""
    where = Q(account__in=numbers)
    if pools:
        where |= Q(account__pool__in=pools)
    lines = _lines(at, as_of).filter(account=OuterRef("account"), allocation=OuterRef("pk"))
    lots: QuerySet[Any] = TokenAllocation.objects.using(using).filter(where).annotate(held=_total(lines, "allocation"))
    if as_of is None:
        # An expired lot stays open until it is booked; a hold may still reserve some of it.
        lots = lots.filter(is_open=True).annotate(left=F("remaining"))
    else:
        entries = LedgerEntry.objects.filter(allocation=OuterRef("pk"), booked_at__lte=at).order_by("-booked_at")
        lots = lots.filter(Q(expires_at=None) | Q(expires_at__gt=at) | Q(Exists(lines)), booked_at__lte=at)
        lots = lots.annotate(left=Subquery(entries.values("lot_balance")[:1]))
    found: dict[int | None, _Found] = {}
    rows = lots.values_list("account", "account__pool", "account__booked_at", "left", "held", "starts_at", "expires_at")
    for account, pool, booked_at, left, held, starts_at, expires_at in rows:
        sums = found.setdefault(account, _Found(pool, _Sums())).sums
        sums.held += held
        # The account's own moments may be ahead of a clock that went back; what it has booked counts at once.
        now = max(at, booked_at) if as_of is None and booked_at else at
        if expires_at and expires_at <= now:
            continue
        if starts_at > now:
            sums.waiting += left
            continue
        sums.available += left - held
        if left and expires_at and (sums.next_expiry is None or expires_at < sums.next_expiry):
            sums.next_expiry = expires_at
    return found


def _lines(at: datetime, as_of: datetime | None) -> QuerySet[TokenHoldLot]:
    """What holds that are open and unexpired at that moment reserve."""
    lines = TokenHoldLot.objects.filter(expires_at__gt=at)
    if as_of is None:
        return lines.filter(closed_at=None)
    return lines.filter(Q(closed_at=None) | Q(closed_at__gt=at), hold__booked_at__lte=at)


def _total(lines: QuerySet[TokenHoldLot], by: str) -> Coalesce:
    return Coalesce(Subquery(lines.order_by().values(by).annotate(n=Sum("amount")).values("n")), 0)


def _pool_gives(place: _Place, pool: _Sums) -> int:
    if place.pool is None:
        return 0
    if place.cap is None:
        return pool.available
    return max(min(pool.available, place.cap - place.drawn - place.held), 0)


def _answer(own: _Sums, from_pool: int) -> Balance:
    return Balance(
        available=own.available,
        held=own.held,
        total=own.available + own.held + own.waiting,
        spendable=own.available + from_pool,
        next_expiry=own.next_expiry,
    )


def statement(owner: Any, *, since: datetime | None = None, until: datetime | None = None) -> QuerySet[LedgerEntry]:
    """The owner's entries of a half-open period, oldest first; `balance_after` is the running balance.

    That balance counts what is booked: held tokens are in it, and so are lapsed ones until the sweep books them.
    """
    arguments.moment("since", since)
    arguments.moment("until", until)
    whose = _owner(owner)
    using = booking.database()
    # By the account's number, which the index begins with; a join would first gather the account's whole history.
    account = owner.pk if whose == Owner() else Subquery(TokenAccount.objects.filter(**whose.lookup).values("pk")[:1])
    entries = LedgerEntry.objects.using(using).filter(account=account)
    if since is not None:
        entries = entries.filter(booked_at__gte=since)
    if until is not None:
        entries = entries.filter(booked_at__lt=until)
    return entries.order_by("booked_at", "pk")
