"""How people change the price list: checked, locked, with a version, an audit event and a reason.

A change never touches what was charged: our tokens were drawn by the weights of that moment. What uses cost is worked
out in the roll-ups, by the price valid when they were used. So a change that reaches into the past leaves them behind,
and notes from when on; re-pricing brings them up to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import IntegrityError, connections, models, transaction
from django.utils.translation import gettext as _

from django_token_pricing import audit
from django_token_pricing.audit import versions
from django_token_pricing.choices import PriceSource
from django_token_pricing.exceptions import InvalidInput, InvalidPrice, PriceTaken
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.models import ModelPrice, RollupState
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.prices.lookup import forget_on_commit

PRICES = ("input", "output", "cached_read", "cached_write", "reasoning")
WEIGHTS = tuple(f"weight_{name}" for name in PRICES)
AMOUNTS = (*PRICES, *WEIGHTS)
MOST_PRICE = 1_000_000
MOST_WEIGHT = 100_000
PLACES = 6
# What the costs of uses depend on.
COSTING = ("provider", "model", "starts_at", *PRICES)
FIELDS = (*COSTING, *WEIGHTS, "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrice:
    """A row for `set_prices`; what it means is said at `set_price`."""

    model: str
    provider: str = ""
    input: Decimal | None = None
    output: Decimal | None = None
    cached_read: Decimal | None = None
    cached_write: Decimal | None = None
    reasoning: Decimal | None = None

    def values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def set_price(
    *,
    model: str,
    provider: str = "",
    starts_at: datetime | None = None,
    input: Any = None,  # noqa: A002 - the field's name
    output: Any = None,
    cached_read: Any = None,
    cached_write: Any = None,
    reasoning: Any = None,
    weight_input: Any = None,
    weight_output: Any = None,
    weight_cached_read: Any = None,
    weight_cached_write: Any = None,
    weight_reasoning: Any = None,
    source: PriceSource | str = PriceSource.MANUAL,
    reason: str,
    actor: models.Model | None,
    price: ModelPrice | None = None,
) -> ModelPrice:
    """Set a price from `starts_at` on (None is now) until the model's next one begins, or change `price` into this.

    `model` and `provider` are those of the usage; provider "" is any. Prices are for a million tokens in the currency
    of costs, weights are our tokens for one of the provider's. None is: like the plain kind, and of plain weights 1;
    without input and output the price is not known. A price from the past on asks for re-pricing.

    Raises PriceTaken for a second one from the same moment on, InvalidPrice, InvalidMoment, InvalidInput.
    """
    arguments.reason(reason)
    wanted = draft(
        model=model,
        provider=provider,
        starts_at=starts_at,
        input=input,
        output=output,
        cached_read=cached_read,
        cached_write=cached_write,
        reasoning=reasoning,
        weight_input=weight_input,
        weight_output=weight_output,
        weight_cached_read=weight_cached_read,
        weight_cached_write=weight_cached_write,
        weight_reasoning=weight_reasoning,
        source=source,
    )
    using = booking.database()
    with booking.writing(using):
        state = _locked_state(using)
        now = booking.clock(using)
        before = None if price is None else _present(price, using)
        if starts_at is None:
            wanted.starts_at = now if before is None else before.starts_at
        changes = _put(wanted, before, reason, actor, using)
        if changes:
            _note_reach(state, before, wanted, now, using)
            action = "prices.add" if before is None else "prices.change"
            audit.record(action, target=wanted, actor=actor, reason=reason, changes=changes, using=using)
            forget_on_commit(using)
    return wanted


def set_prices(
    rows: Iterable[NewPrice],
    *,
    starts_at: datetime | None = None,
    source: PriceSource | str,
    reason: str,
    actor: models.Model | None,
) -> int:
    """Set the prices of many models from one moment on, all or none, with one audit event; says how many changed.

    A price that there is from that moment on is changed, and keeps its weights; a new one takes those that the model
    had then. Raises InvalidPrice, InvalidMoment, InvalidInput.
    """
    arguments.reason(reason)
    given = list(rows)
    drafts = [draft(**row.values(), starts_at=starts_at, source=source) for row in given]
    if len({(row.model, row.provider) for row in drafts}) < len(drafts):
        raise InvalidInput(detail=_("A model is there twice for the same provider."))
    using = booking.database()
    changed = 0
    with booking.writing(using):
        state = _locked_state(using)
        now = booking.clock(using)
        facts: dict[str, tuple[Any, Any]] = {}
        for wanted in sorted(drafts, key=lambda row: (row.model, row.provider)):
            wanted.starts_at = starts_at or now
            there = ModelPrice.objects.using(using).select_for_update().filter(model=wanted.model)
            known = [row for row in there.order_by("-starts_at") if (row.model, row.provider) == _place(wanted)]
            before = next((row for row in known if row.starts_at == wanted.starts_at), None)
            earlier = before or next((row for row in known if row.starts_at < wanted.starts_at), None)
            for name in WEIGHTS:
                setattr(wanted, name, None if earlier is None else getattr(earlier, name))
            if _put(wanted, before, reason, actor, using):
                changed += 1
                _note_reach(state, before, wanted, now, using)
                facts[str(wanted)] = (_brief(earlier), _brief(wanted))
        if changed:
            audit.record("prices.import", actor=actor, reason=reason, changes=facts, count=changed, using=using)
            forget_on_commit(using)
    return changed


def remove_price(price: ModelPrice, *, reason: str, actor: models.Model | None) -> None:
    """Take a price out of the list; its versions stay. The one before it is valid on. Raises InvalidInput."""
    arguments.reason(reason)
    using = booking.database()
    with booking.writing(using):
        state = _locked_state(using)
        row = _present(price, using)
        changes = {name: (getattr(row, name), None) for name in FIELDS if getattr(row, name) not in (None, "")}
        audit.record("prices.remove", target=row, actor=actor, reason=reason, changes=changes, using=using)
        _note_reach(state, row, None, booking.clock(using), using)
        _sign(row, reason, actor)
        row.delete(using=using)
        forget_on_commit(using)


def draft(*, model: str, provider: str = "", starts_at: datetime | None = None, **values: Any) -> ModelPrice:
    """The row that these values make, not saved. Raises InvalidPrice and InvalidMoment."""
    source = PriceSource(values.pop("source", PriceSource.MANUAL))
    row = ModelPrice(model=_text("model", model, 200), provider=_text("provider", provider, 50), source=source.value)
    if (at := arguments.moment("starts_at", starts_at)) is not None:
        row.starts_at = at
    for name, value in values.items():
        if name not in AMOUNTS:
            raise TypeError(f"{name} is no field of a price.")
        setattr(row, name, _amount(name, value, MOST_PRICE if name in PRICES else MOST_WEIGHT))
    if not row.model:
        raise InvalidPrice(name="model", detail=_("it must be given."))
    if (row.input is None) != (row.output is None):
        detail = _("give the input and the output price, or neither where they are not known.")
        raise InvalidPrice(name="output" if row.output is None else "input", detail=detail)
    special = next((name for name in PRICES[2:] if getattr(row, name) is not None), None)
    if row.input is None and special:
        raise InvalidPrice(name=special, detail=_("it needs the input and the output price beside it."))
    return row


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value.strip()) > most or not is_storable(value):
        detail = _("it must be text of at most %(most)s characters that can be stored.") % {"most": most}
        raise InvalidPrice(name=name, detail=detail)
    return value.strip()


def _amount(name: str, value: Any, most: int) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, (bool, float)) or not isinstance(value, (Decimal, int, str)):
        raise InvalidPrice(name=name, detail=_("it must be a Decimal, a whole number or text."))
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise InvalidPrice(name=name, detail=_("it is not a number.")) from None
    if not amount.is_finite() or not 0 <= amount <= most:
        raise InvalidPrice(name=name, detail=_("it must be from 0 to %(most)s.") % {"most": most})
    if amount != round(amount, PLACES):
        raise InvalidPrice(name=name, detail=_("it has more than %(places)s decimals.") % {"places": PLACES})
    return round(amount, PLACES)


def _place(row: ModelPrice) -> tuple[str, str]:
    return row.model, row.provider


def _brief(row: ModelPrice | None) -> str | None:
    """Its prices in one line of the audit trail."""
    if row is None:
        return None
    return ", ".join(f"{name} {getattr(row, name).normalize():f}" for name in PRICES if getattr(row, name) is not None)


def _present(price: ModelPrice, using: str) -> ModelPrice:
    row = ModelPrice.objects.using(using).select_for_update().filter(pk=price.pk).first()
    if row is None:
        raise InvalidInput(detail=_("The price was removed meanwhile."))
    return row


def _put(
    wanted: ModelPrice, before: ModelPrice | None, reason: str, actor: models.Model | None, using: str
) -> dict[str, tuple[Any, Any]]:
    """Save it, and say what changed; nothing is saved where nothing has."""
    if before is None:
        changes = {name: (None, getattr(wanted, name)) for name in FIELDS if getattr(wanted, name) not in (None, "")}
    else:
        wanted.pk, wanted.created_at = before.pk, before.created_at
        wanted._state.adding = False
        changes = {
            name: (getattr(before, name), getattr(wanted, name))
            for name in FIELDS
            if getattr(before, name) != getattr(wanted, name)
        }
        if set(changes) <= {"source"}:
            return {}
    _sign(wanted, reason, actor)
    try:
        with transaction.atomic(using=using):
            wanted.save(using=using)
    except IntegrityError:
        others = ModelPrice.objects.using(using).filter(
            model=wanted.model, provider=wanted.provider, starts_at=wanted.starts_at
        )
        other = others.exclude(pk=wanted.pk).first()
        if other is None:
            raise
        raise PriceTaken(price=other.pk, model=other.model) from None
    return changes


def _sign(row: Any, reason: str, actor: models.Model | None) -> None:
    row._history_user, row._change_reason = actor, versions.fitting(reason, ModelPrice.history.model)


# What roll-ups were made at -------------------------------------------------------------------------------------------


def _locked_state(using: str) -> RollupState | None:
    """Locked first, as everybody does: no use is rolled up at a price that is just changing.

    None before the first fold: what is in the list by then is in the roll-ups from the start.
    """
    rows = RollupState.objects.using(using).filter(pk=1)
    if connections[using].vendor == "sqlite":
        return rows.first()
    return rows.select_for_update().first()


def _note_reach(
    state: RollupState | None, before: ModelPrice | None, after: ModelPrice | None, now: datetime, using: str
) -> None:
    """Note from when on the roll-ups were made at another price, where that is in the past."""
    facts = [row and tuple(getattr(row, name) for name in COSTING) for row in (before, after)]
    if state is None or facts[0] == facts[1]:
        return
    reach = min(row.starts_at for row in (before, after) if row is not None)
    if reach >= now or (state.prices_changed_from is not None and state.prices_changed_from <= reach):
        return
    state.prices_changed_from = reach
    state.save(using=using, update_fields=["prices_changed_from"])
