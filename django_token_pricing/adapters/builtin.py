"""The adapters of a host that names none: no subscriptions, no payments, notices by mail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import formats

from django_token_pricing.adapters.protocols import PaymentEvent, SubscriptionEvent, TokensNotice


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
        user = notice.user
        address = getattr(user, user.get_email_field_name(), "")
        if not address:
            return False
        amount = abs(notice.tokens)
        context = {"notice": notice, "amount": amount, "shown": _number(amount), "available": _number(notice.available)}
        subject = render_to_string("django_token_pricing/email/tokens_subject.txt", context)
        text = render_to_string("django_token_pricing/email/tokens.txt", context)
        send_mail(" ".join(subject.split()), text, None, [address])
        return True
