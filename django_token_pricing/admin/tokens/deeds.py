"""Deeds that a person does on one account, lot, hold or use, each by the verb of the ledger that does it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import tokens
from django_token_pricing.admin.base.wording import NOTHING, day, moment, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.deed_pages import Deed
from django_token_pricing.admin.tokens.forms import AmountForm, DatesForm, GrantForm, RefundForm
from django_token_pricing.choices import EntryKind, HoldStatus
from django_token_pricing.models import TokenAllocation, TokenHold, TokenUsageLog


class Grant(Deed):
    name = "grant"
    permission = "grant_tokens"
    form_class = GrantForm
    is_adding = True

    @classmethod
    def link_text(cls) -> str:
        return _("Grant tokens")

    def title(self) -> str:
        return _("Grant tokens to %(name)s") % {"name": owners.name_of(self.account)}

    def lead(self) -> str:
        return _("A new lot is added to the account. It can be voided later, as far as it is not used.")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return not row.is_closed

    def do(self, given: dict[str, Any], key: str) -> str:
        paid = None if given["paid_amount"] is None else (given["paid_amount"], given["paid_currency"])
        done = self.done = tokens.grant(
            self.account,
            given["amount"],
            source=given["source"],
            key=key,
            priority=given["priority"],
            starts_at=given["starts_on"],
            expires_at=given["expires_on"],
            paid=paid,
            reason=given["reason"],
            actor=self.actor,
        )
        return self.counted(
            ngettext(
                "%(tokens)s token was granted. Available now: %(available)s.",
                "%(tokens)s tokens were granted. Available now: %(available)s.",
                done.amount,
            ),
            done.amount,
        )


class Subtract(Deed):
    name = "subtract"
    permission = "subtract_tokens"
    form_class = AmountForm

    @classmethod
    def link_text(cls) -> str:
        return _("Subtract tokens")

    def title(self) -> str:
        return _("Subtract tokens from %(name)s") % {"name": owners.name_of(self.account)}

    def lead(self) -> str:
        return _("Lots pay in the order in which they are spent. What is held stays.")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return not row.is_closed

    def do(self, given: dict[str, Any], key: str) -> str:
        done = self.done = tokens.subtract(
            self.account,
            given["amount"],
            key=key,
            reason=given["reason"],
            actor=self.actor,
        )
        return self.counted(
            ngettext(
                "%(tokens)s token was subtracted. Available now: %(available)s.",
                "%(tokens)s tokens were subtracted. Available now: %(available)s.",
                done.amount,
            ),
            done.amount,
        )


class SetBalance(Deed):
    name = "set-balance"
    permission = "set_balance"
    form_class = AmountForm

    @classmethod
    def link_text(cls) -> str:
        return _("Set balance")

    def title(self) -> str:
        return _("Set what %(name)s has available") % {"name": owners.name_of(self.account)}

    def lead(self) -> str:
        return _("What is missing is granted as one manual lot, what is too much is subtracted. What is held stays.")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return not row.is_closed

    def initial(self) -> dict[str, Any]:
        return {"amount": tokens.balance(self.account).available or None}

    def do(self, given: dict[str, Any], key: str) -> str:
        done = self.done = tokens.set_balance(
            self.account,
            given["amount"],
            key=key,
            reason=given["reason"],
            actor=self.actor,
        )
        return _("Available is set to %(tokens)s.") % {"tokens": number(done.amount)}


class OfLot(Deed):
    permission = "change_lots"

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.is_open and (row.expires_at is None or row.expires_at > timezone.now()))

    def facts(self) -> Iterable[tuple[str, str]]:
        lot: TokenAllocation = self.row
        yield _("Account"), owners.name_of(self.account)
        yield _("Source"), lot.get_source_display()
        yield _("Granted"), moment(lot.booked_at)
        yield _("Tokens"), number(lot.amount)
        yield _("Left"), number(lot.remaining)
        yield _("Starts"), moment(lot.starts_at)
        yield _("Expires"), moment(lot.expires_at) if lot.expires_at else _("never")


class VoidLot(OfLot):
    name = "void"

    @classmethod
    def link_text(cls) -> str:
        return _("Void")

    def button(self) -> str:
        return _("Void lot")

    def title(self) -> str:
        return _("Void the lot of %(day)s") % {"day": day(self.row.booked_at)}

    def lead(self) -> str:
        return _("What is left in the lot is taken out. What is held stays.")

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.void(self.row, key=key, reason=given["reason"], actor=self.actor)
        return self.counted(
            ngettext(
                "The lot is void: %(tokens)s token was taken out. Available now: %(available)s.",
                "The lot is void: %(tokens)s tokens were taken out. Available now: %(available)s.",
                done.amount,
            ),
            done.amount,
        )


class ChangeDates(OfLot):
    name = "change-dates"
    form_class = DatesForm

    @classmethod
    def link_text(cls) -> str:
        return _("Change dates")

    def title(self) -> str:
        return _("Change the dates of the lot of %(day)s") % {"day": day(self.row.booked_at)}

    def lead(self) -> str:
        return _("A lot's dates are final, so what is left moves into a new lot. What is held stays in the old one.")

    def initial(self) -> dict[str, Any]:
        # The last day that the lot covers: it ends with the first moment of the next.
        ends = self.row.expires_at and timezone.localtime(
            self.row.expires_at - timedelta(microseconds=1), timezone.get_default_timezone()
        )
        return {"expires_on": ends and ends.date()}

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.rollover(
            self.row,
            starts_at=given["starts_on"],
            expires_at=given["expires_on"],
            key=key,
            reason=given["reason"],
            actor=self.actor,
        )
        self.row = TokenAllocation.objects.get(pk=done.allocation)
        return ngettext(
            "%(tokens)s token moved into this new lot.", "%(tokens)s tokens moved into this new lot.", done.amount
        ) % {"tokens": number(done.amount)}


class ReleaseHold(Deed):
    name = "release"
    permission = "release_holds"

    @classmethod
    def link_text(cls) -> str:
        return _("Release")

    def button(self) -> str:
        return _("Release hold")

    def title(self) -> str:
        return _("Release the hold “%(key)s”") % {"key": self.row.key}

    def lead(self) -> str:
        return _("What is reserved can be spent again. If the job settles later all the same, that is refused.")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.status == HoldStatus.OPEN and row.expires_at > timezone.now())

    def facts(self) -> Iterable[tuple[str, str]]:
        held: TokenHold = self.row
        yield from super().facts()
        yield _("This hold"), number(held.amount)
        yield _("Since"), moment(held.booked_at)
        yield _("Until"), moment(held.expires_at)

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.release(self.row.key, reason=given["reason"], actor=self.actor)
        return self.counted(
            ngettext(
                "%(tokens)s token was released. Available now: %(available)s.",
                "%(tokens)s tokens were released. Available now: %(available)s.",
                done.amount,
            ),
            done.amount,
        )


class RefundUse(Deed):
    name = "refund"
    permission = "refund_usage"
    form_class = RefundForm

    @classmethod
    def link_text(cls) -> str:
        return _("Refund")

    def button(self) -> str:
        return _("Refund tokens")

    def title(self) -> str:
        return _("Refund the use of %(moment)s") % {"moment": moment(self.row.booked_at)}

    def lead(self) -> str:
        return _("Tokens go back to the lots that paid. Those of a lot that has expired meanwhile lapse at once.")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return bool(row.is_charged and row.amount)

    def facts(self) -> Iterable[tuple[str, str]]:
        use: TokenUsageLog = self.row
        refunded = sum(use.entries.filter(kind=EntryKind.REFUND).values_list("amount", flat=True))
        yield from super().facts()
        yield _("This use"), number(use.amount)
        yield _("Refunded so far"), number(refunded) if refunded else NOTHING

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.refund(self.row, given["amount"], key=key, reason=given["reason"], actor=self.actor)
        told = ngettext("%(tokens)s token was refunded.", "%(tokens)s tokens were refunded.", done.amount)
        if done.lapsed:
            told += " " + _("%(lapsed)s of them lapsed at once, as their lot has expired.")
        return told % {"tokens": number(done.amount), "lapsed": number(done.lapsed)}
