"""Packages sold by the host: a payment buys once, and what is taken back is so once.

Called from a view or a webhook. All that decides (the reference, the price, how often the user bought it before) is
read under the account's lock, so calls that come at once or again find what the first has done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import audit, conf, signals
from django_token_pricing.choices import EntryKind, Source, Verb
from django_token_pricing.exceptions import (
    InvalidUsage,
    PackageUnavailable,
    PaymentMismatch,
    PurchaseCapReached,
    UnknownKey,
    UnknownOwner,
)
from django_token_pricing.lib import digests
from django_token_pricing.lib.money import Money, plain
from django_token_pricing.models import (
    IdempotencyKey,
    Purchase,
    TokenAccount,
    TokenAllocation,
    TokenPackage,
    TokenPackagePrice,
)
from django_token_pricing.tokens import arguments, booking, grants
from django_token_pricing.tokens.booking import Move
from django_token_pricing.tokens.grants import Paid
from django_token_pricing.tokens.results import Grant, LotShare, Subtraction

# Of the column, on every database.
MOST_QUANTITY = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A package on sale for a user. `left` says how many the user may still buy; None is any number."""

    package: TokenPackage = field(repr=False)
    code: str
    name: str
    tokens: int
    price: Money
    validity_days: int | None
    left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseResult:
    """A package was bought: `tokens` are in the lot `allocation`, which is None once retention has deleted it."""

    purchase: int
    account: int
    package: str
    quantity: int
    tokens: int
    paid: Money
    allocation: int | None
    balance_after: int
    booked_at: datetime
    replayed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRefund:
    """A purchase was taken back: `taken` tokens were left of it, and the `rest` is spent, held or expired."""

    purchase: int
    account: int
    taken: int
    rest: int
    balance_after: int
    booked_at: datetime
    replayed: bool = field(default=False, compare=False)


def packages_for(user: Any, currency: str | None = None) -> list[Offer]:
    """What is on sale for a user in a currency (by default that of the settings), in the order of the packages' places.

    In two queries, however many packages there are. `user` may be None, for somebody who has not logged in. A package
    that the user has bought as often as one may is there too, with 0 left. Raises UnknownOwner.
    """
    using = booking.database()
    wanted = currency or conf.current().DEFAULT_CURRENCY
    prices = TokenPackagePrice.objects.using(using).filter(package__is_active=True, currency=wanted)
    found = list(prices.select_related("package").order_by("package__place", "package__code"))
    bought: dict[int, int] = {}
    if user is not None:
        account = TokenAccount.objects.using(using).filter(**_owner(user).lookup).values("pk")
        mine = Purchase.objects.using(using).filter(
            account__in=account, package__in=[price.package_id for price in found]
        )
        bought = dict(_counting(mine).order_by().values_list("package").annotate(n=Sum("quantity")))
    return [
        Offer(
            package=price.package,
            code=price.package.code,
            name=price.package.name,
            tokens=price.package.tokens,
            price=_shown(price.amount, price.currency),
            validity_days=price.package.validity_days,
            left=_left(price.package, bought.get(price.package_id, 0)),
        )
        for price in found
        if price.currency == wanted
    ]


def purchase(
    user: Any,
    package: TokenPackage | str,
    *,
    payment_ref: str,
    currency: str | None = None,
    quantity: int = 1,
    paid: Paid | None = None,
    agreed: Paid | None = None,
    actor: models.Model | None = None,
) -> PurchaseResult:
    """Give a user what was bought with a payment: the package (or its code), as often as `quantity` says.

    The same `payment_ref` (at most 191 characters) with the same user, package and quantity gives the first answer
    again and grants nothing, whatever became of package and price since.

    The price is that of the package in `currency`, by default that of `paid`, else that of the settings. `paid` is what
    the payment says, and must be the price of all of them. A host that agreed on another sum, by a discount or before
    the price changed, says so with `agreed`: it takes the place of the price. What was paid is written on the lot.

    Raises PackageUnavailable (not active, no such price, not known), PaymentMismatch, PurchaseCapReached, UnknownOwner,
    IdempotencyConflict, InvalidKey, InvalidUsage, InvalidAmount.
    """
    text, digest = _key(payment_ref)
    whose = _owner(user)
    _require_quantity(quantity)
    said, fixed = _money(paid), _money(agreed)
    given = said if fixed is None else fixed
    if currency is None:
        currency = conf.current().DEFAULT_CURRENCY if given is None else given.currency
    using = booking.database()
    with booking.writing(using):
        account = booking.lock(whose, using)
        row = _package(package, currency, using)
        detail = f"package:{row.pk}:{quantity}"
        known = booking.recall(digest, text, Verb.PURCHASE, account, None, using, detail=detail)
        if known is not None:
            return _bought_again(known, row, using)
        price = _price(row, currency, quantity, fixed, using)
        if said is not None and said != price:
            raise PaymentMismatch(package=row.code, price=price, paid=said)
        _refuse_above_cap(row, account, quantity, using)
        now = booking.moment(using, account)
        free = booking.available(account, now, using)
        terms = grants.Terms.of(
            row.tokens * quantity,
            source=Source.PURCHASE,
            priority=row.priority,
            expires_at=_last_day(row, now),
            paid=price,
        )
        lot = terms.lot(account, now, key=text)
        after = free + terms.amount
        lot.event = audit.record(
            "tokens.purchase",
            target=account,
            actor=actor,
            changes={
                "available": (free, after),
                "package": (None, row.code),
                "quantity": (0, quantity),
                "paid": (None, str(price)),
            },
            using=using,
        )
        grants.issue(lot, account, now, EntryKind.GRANT, lot.event, using)
        facts = {"verb": Verb.PURCHASE, "account": account, "detail": detail}
        # Before the purchase: another user who takes the same reference at this moment gets a conflict of keys.
        booking.remember(digest, text, using, booked_at=now, available_after=after, **facts)
        made = Purchase.objects.using(using).create(
            account=account,
            package=row,
            payment_ref=payment_ref,
            digest=digest,
            quantity=quantity,
            tokens=terms.amount,
            amount=price.amount,
            currency=price.currency,
            allocation=lot,
            purchased_at=now,
        )
        result = _bought(made, row, after, now)
        granted = Grant(account=account.pk, amount=lot.amount, balance_after=after, booked_at=now, allocation=lot.pk)
        _tell(signals.tokens_granted, TokenAllocation, granted, using)
        _tell(signals.tokens_purchased, Purchase, result, using)
    return result


def refund_purchase(
    payment_ref: str | Purchase, *, reason: str, actor: models.Model | None = None, key: str | None = None
) -> PurchaseRefund:
    """Take back what is left of a purchase, named by its payment or its row; what open holds reserve stays.

    Done once: whoever asks again, with whichever key, gets the first answer. It goes through also where nothing is
    left, and money is for the host to give back. Raises UnknownKey, InvalidKey, InvalidInput without a reason, and
    IdempotencyConflict for a key that was used for something else.
    """
    text, digest = arguments.key(key)
    arguments.reason(reason)
    using = booking.database()
    found = _purchase(payment_ref, using)
    # No key of a host holds a NUL, so none can be the same.
    own = digests.digest(f"refund_purchase\x00{found.pk}")
    detail = f"purchase:{found.pk}"
    with booking.writing(using):
        account = booking.lock_account(found.account_id, using)
        booking.recall(digest, text, Verb.VOID, account, None, using, detail=detail)
        known = booking.recall(own, "", Verb.VOID, account, None, using, detail=detail)
        made = Purchase.objects.using(using).get(pk=found.pk)
        if known is not None:
            return _taken_back(made, known.available_after or 0, known.booked_at, replayed=True)
        now = booking.moment(using, account)
        moves = _what_is_left(made, now, using)
        made.taken_back, made.taken_back_at = -sum(move.amount for move in moves), now
        event = audit.record(
            "tokens.refund_purchase",
            target=account,
            actor=actor,
            reason=reason,
            changes={"taken_back": (0, made.taken_back), "purchase": (made.pk, made.pk)},
            using=using,
        )
        booking.post(account, now, EntryKind.SUBTRACT, moves, using=using, event=event)
        made.save(using=using, update_fields=["taken_back", "taken_back_at"])
        after = booking.available(account, now, using)
        for each in (own, digest):
            facts = {"verb": Verb.VOID, "account": account, "amount": None, "detail": detail}
            booking.remember(each, text, using, booked_at=now, available_after=after, **facts)
        if moves:
            shares = [LotShare(move.lot, -move.amount) for move in moves]
            taken = Subtraction(
                account=account.pk, amount=made.taken_back, balance_after=after, booked_at=now, lots=shares
            )
            _tell(signals.tokens_subtracted, TokenAccount, taken, using)
    return _taken_back(made, after, now)


def lots_of(purchases: Iterable[Purchase]) -> dict[int, list[TokenAllocation]]:
    """The lots in which the tokens of purchases are, by purchase: its own, and those carried over from it."""
    using = booking.database()
    of = {made.allocation_id: made.pk for made in purchases if made.allocation_id is not None}
    found: dict[int, list[TokenAllocation]] = {}
    level = list(TokenAllocation.objects.using(using).filter(pk__in=of))
    while level:
        for lot in level:
            found.setdefault(of[lot.pk], []).append(lot)
        children = list(TokenAllocation.objects.using(using).filter(parent__in=[lot.pk for lot in level]))
        of.update((lot.pk, of[lot.parent_id]) for lot in children if lot.parent_id is not None)
        level = children
    return found


def _owner(user: Any) -> arguments.Owner:
    """Of a user alone: a pool buys nothing."""
    whose = arguments.owner(user)
    if whose.pool is not None:
        raise UnknownOwner(owner=_("%(owner)s, which is no user,") % {"owner": user})
    return whose


def _require_quantity(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_QUANTITY:
        detail = _("it must be a whole number from 1 to %(most)s.") % {"most": MOST_QUANTITY}
        raise InvalidUsage(name="quantity", detail=detail)


def _key(payment_ref: Any) -> tuple[str, UUID]:
    """What the ledger knows the payment by: a key of its own among those of other verbs."""
    text, _digest = arguments.required_key(payment_ref)
    return arguments.required_key(f"purchase:{text}")


def _money(value: Paid | None) -> Money | None:
    amount, currency = arguments.paid(value)
    return None if amount is None else _shown(amount, currency)


def _shown(amount: Decimal, currency: str) -> Money:
    """Without the noughts that a column of four decimals adds: people read it in messages."""
    return Money(plain(amount), currency)


def _package(package: TokenPackage | str, currency: str, using: str) -> TokenPackage:
    """As it is now. Raises PackageUnavailable for what is not known."""
    packages = TokenPackage.objects.using(using)
    if isinstance(package, TokenPackage):
        row = packages.filter(pk=package.pk).first()
    else:
        # To some databases' collations a code is another's that differs in capitals.
        row = next((found for found in packages.filter(code=package) if found.code == package), None)
    if row is None:
        code = package.code if isinstance(package, TokenPackage) else package
        raise PackageUnavailable(package=code, currency=currency, detail=_("it is not known."))
    return row


def _price(package: TokenPackage, currency: str, quantity: int, agreed: Money | None, using: str) -> Money:
    """Of all of them. Raises PackageUnavailable."""
    if not package.is_active:
        raise PackageUnavailable(package=package.code, currency=currency, detail=_("it is not for sale."))
    if agreed is not None:
        if agreed.currency != currency:
            raise InvalidUsage(name="currency", detail=_("it is another than that of the sum agreed on."))
        return agreed
    one = package.prices.using(using).filter(currency=currency).values_list("amount", flat=True).first()
    if one is None:
        detail = _("it has no price in %(currency)s.") % {"currency": currency}
        raise PackageUnavailable(package=package.code, currency=currency, detail=detail)
    amount, _currency = arguments.paid((one * quantity, currency))
    return _shown(amount or Decimal(0), currency)


def _counting(purchases: models.QuerySet[Purchase]) -> models.QuerySet[Purchase]:
    """Those that count against the cap: not what was taken back whole."""
    return purchases.filter(~Q(taken_back=F("tokens")))


def _left(package: TokenPackage, bought: int) -> int | None:
    return None if package.per_user is None else max(package.per_user - bought, 0)


def _refuse_above_cap(package: TokenPackage, account: TokenAccount, quantity: int, using: str) -> None:
    if package.per_user is None:
        return
    mine = _counting(Purchase.objects.using(using).filter(account=account, package=package))
    bought = mine.aggregate(n=Sum("quantity"))["n"] or 0
    if bought + quantity > package.per_user:
        raise PurchaseCapReached(package=package.code, limit=package.per_user, used=bought, requested=quantity)


def _last_day(package: TokenPackage, now: datetime) -> Any:
    """A day: the lot lasts to its end."""
    if package.validity_days is None:
        return None
    return timezone.localdate(now, timezone.get_default_timezone()) + timedelta(days=package.validity_days)


def _bought(
    made: Purchase, package: TokenPackage, after: int, at: datetime, *, replayed: bool = False
) -> PurchaseResult:
    return PurchaseResult(
        purchase=made.pk,
        account=made.account_id,
        package=package.code,
        quantity=made.quantity,
        tokens=made.tokens,
        paid=_shown(made.amount, made.currency),
        allocation=made.allocation_id,
        balance_after=after,
        booked_at=at,
        replayed=replayed,
    )


def _bought_again(known: IdempotencyKey, package: TokenPackage, using: str) -> PurchaseResult:
    made = Purchase.objects.using(using).get(digest=known.digest)
    return _bought(made, package, known.available_after or 0, known.booked_at, replayed=True)


def _purchase(payment_ref: str | Purchase, using: str) -> Purchase:
    if isinstance(payment_ref, Purchase):
        return payment_ref
    _text, digest = _key(payment_ref)
    made = Purchase.objects.using(using).filter(digest=digest).first()
    if made is None:
        raise UnknownKey(key=payment_ref)
    return made


def _what_is_left(made: Purchase, now: datetime, using: str) -> list[Move]:
    lots = sorted(lots_of([made]).get(made.pk, []), key=lambda lot: lot.pk)
    reserved = booking.held_by_lot([made.account_id], now, using)
    moves = []
    for lot in lots:
        free = lot.remaining - reserved.get(lot.pk, 0)
        if free > 0 and (lot.expires_at is None or lot.expires_at > now):
            moves.append(Move(lot.pk, -free, lot.remaining - free))
    return moves


def _taken_back(made: Purchase, after: int, at: datetime, *, replayed: bool = False) -> PurchaseRefund:
    return PurchaseRefund(
        purchase=made.pk,
        account=made.account_id,
        taken=made.taken_back,
        rest=made.tokens - made.taken_back,
        balance_after=after,
        booked_at=at,
        replayed=replayed,
    )


def _tell(signal: Any, sender: Any, result: Any, using: str) -> None:
    transaction.on_commit(partial(signal.send_robust, sender=sender, result=result), using=using)
