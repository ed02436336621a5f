"""Sending what waits to be sent by mail, through the host's adapter, one by one and outside of any transaction.

Before a mail is sent its row is claimed for a while by a single write. So two workers never send the same one; a worker
that dies between sending and saying so lets it go out a second time when the claim has run out, and none is lost.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.db.models import F, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from django_token_pricing import adapters, audit
from django_token_pricing.adapters import WarningNotice
from django_token_pricing.adapters.builtin import Mail
from django_token_pricing.choices import DeliveryStatus
from django_token_pricing.lib.texts import storable
from django_token_pricing.models import Notification
from django_token_pricing.notifications.firing import database
from django_token_pricing.notifications.wording import with_names, words

logger = logging.getLogger(__name__)

# Read at a time; each is claimed for itself.
CHUNK = 50
# Longer than any mail takes to be sent: give EMAIL_TIMEOUT a value.
CLAIM = timedelta(minutes=15)
# How long to wait after each try that failed; after the last of all there is no other. About a day in all.
WAITS = (timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=4), timedelta(hours=19))
MOST_TRIES = len(WAITS) + 1
MOST_PROBLEM = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How many mails were sent, had nobody to reach, are tried again later, and are given up."""

    sent: int = 0
    unreachable: int = 0
    waiting: int = 0
    failed: int = 0


class _Nonsense(Exception):
    """The adapter answered neither True nor False. It may have sent the mail, so it is not asked again."""


def deliver() -> Delivery:
    """Send the mails that are due. Call it outside of transactions, in a worker; it may run twice at once."""
    using = database()
    tell = _teller()
    count = dict.fromkeys(("sent", "unreachable", "waiting", "failed"), 0)
    while due := _due(using):
        users = get_user_model()._base_manager.using(using).in_bulk([row.user_id for row in due])
        for row in due:
            if row.user_id in users and (until := _claim(row, using)):
                count[_send(row, users[row.user_id], tell, until, using)] += 1
    return Delivery(**count)


def retry(notifications: QuerySet[Notification], *, actor: models.Model | None) -> int:
    """Let those of them whose mail was given up be sent again, with all tries; answers how many."""
    using = database()
    with transaction.atomic(using=using):
        failed = notifications.using(using).order_by().filter(mail=DeliveryStatus.FAILED)
        count = failed.update(mail=DeliveryStatus.WAITING, mail_at=timezone.now(), tries=0)
        if count:
            audit.record("notifications.retry", actor=actor, count=count, using=using)
    return count


def _teller() -> Any:
    """What tells a user of a warning: the host's adapter, or a mail of ours where it cannot."""
    adapter: Any = adapters.get_notification_adapter()
    return adapter.warn if callable(getattr(adapter, "warn", None)) else Mail().warn


def _due(using: str) -> list[Notification]:
    rows = Notification.objects.using(using).filter(mail=DeliveryStatus.WAITING, mail_at__lte=timezone.now())
    return list(with_names(rows).order_by("mail_at", "pk")[:CHUNK])


def _claim(row: Notification, using: str) -> datetime | None:
    """Until when it is ours; None where somebody else has it."""
    until = timezone.now() + CLAIM
    mine = Notification.objects.using(using).filter(pk=row.pk, mail=DeliveryStatus.WAITING, mail_at=row.mail_at)
    return until if mine.update(mail_at=until, tries=F("tries") + 1) else None


def _send(row: Notification, user: Any, tell: Any, until: datetime, using: str) -> str:
    outcome, status, at, problem = "sent", DeliveryStatus.SENT, timezone.now(), ""
    if not user.is_active:
        outcome, status, problem = "unreachable", DeliveryStatus.NONE, _("The user is not active.")
    else:
        try:
            is_told = _told(row, user, tell)
        except _Nonsense as error:
            outcome, status, problem = "failed", DeliveryStatus.FAILED, str(error)
        except Exception as error:  # the host's code, and a mail server, may fail in any way
            logger.warning("Notification %s was not sent", row.pk, exc_info=True)
            problem = str(error) or type(error).__name__
            if row.tries + 1 >= MOST_TRIES:
                outcome, status = "failed", DeliveryStatus.FAILED
            else:
                outcome, status, at = "waiting", DeliveryStatus.WAITING, timezone.now() + WAITS[row.tries]
        else:
            if not is_told:
                outcome, status = "unreachable", DeliveryStatus.NONE
                problem = _("There is no way to reach the user, such as no e-mail address.")
    mine = Notification.objects.using(using).filter(pk=row.pk, mail=DeliveryStatus.WAITING, mail_at=until)
    mine.update(mail=status, mail_at=at, problem=storable(problem)[:MOST_PROBLEM])
    return outcome


def _told(row: Notification, user: Any, tell: Any) -> bool:
    with translation.override(_language(user)):
        said = words(row)
        notice = WarningNotice(
            user=user,
            kind=row.kind,
            title=said.title,
            text=said.text,
            facts=row.facts,
            is_for_operator="count" in row.facts,
        )
        answer = tell(notice)
    if not isinstance(answer, bool):
        text = _("The adapter answered %(answer)r, neither that the user was told nor that there is no way to.")
        raise _Nonsense(text % {"answer": answer})
    return answer


def _language(user: Any) -> str:
    """That of the user, where the user model has one that the site speaks; else the site's."""
    for name in ("language", "language_code", "preferred_language"):
        language = getattr(user, name, "")
        if isinstance(language, str) and language and translation.check_for_language(language):
            return language
    return settings.LANGUAGE_CODE
