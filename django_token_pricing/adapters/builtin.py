"""The adapters of a host that names none: no subscriptions, no payments, notices by mail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.mail import send_mail
from django.template.loader import render_to_string, select_template
from django.utils import formats

from django_token_pricing.adapters.protocols import PaymentEvent, SubscriptionEvent, TokensNotice, WarningNotice


class NoSubscriptions:
    def events(self, *, since: datetime | None) -> Iterator[SubscriptionEvent]:
        return iter(())

    def current_refs(self) -> Iterator[str]:
        return iter(())


class NoPayments:
    def events(self, *, since: datetime | None) -> Iterator[PaymentEvent]:
        return iter(())

    def current_refs(self) -> Iterator[str]:
        return iter(())


def _number(value: int) -> str:
    return formats.number_format(value, use_l10n=True, force_grouping=True)


class Mail:
    """Plain text from two templates, to the address that the user model names, by Django's mail settings."""

    def notify(self, notice: TokensNotice) -> bool:
        address = self._address(notice.user)
        if not address:
            return False
        amount = abs(notice.tokens)
        context = {"notice": notice, "amount": amount, "shown": _number(amount), "available": _number(notice.available)}
        subject = render_to_string("django_token_pricing/email/tokens_subject.txt", context)
        text = render_to_string("django_token_pricing/email/tokens.txt", context)
        send_mail(" ".join(subject.split()), text, None, [address])
        return True

    def warn(self, notice: WarningNotice) -> bool:
        """The templates of a kind, such as `warning_low.txt`, go before `warning.txt`, which has the words for all."""
        address = self._address(notice.user)
        if not address:
            return False
        subject, text = (self._rendered(notice, ending) for ending in ("_subject.txt", ".txt"))
        send_mail(" ".join(subject.split()), text, None, [address])
        return True

    def _rendered(self, notice: WarningNotice, ending: str) -> str:
        names = [f"django_token_pricing/email/warning{kind}{ending}" for kind in (f"_{notice.kind}", "")]
        return str(select_template(names).render({"notice": notice}))

    def _address(self, user: Any) -> str:
        return str(getattr(user, user.get_email_field_name(), "") or "")
