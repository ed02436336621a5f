"""The inbox of a person, and what the person wants to hear of and how. Hosts show both in pages of theirs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.choices import NotificationKind
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import Notification, NotificationPreference
from django_token_pricing.notifications.firing import database
from django_token_pricing.notifications.wording import with_names


@dataclass(frozen=True, slots=True)
class Preference:
    """How a person wants to hear of one kind of thing."""

    by_mail: bool = True
    in_app: bool = True


def inbox(user: Any, *, unread_only: bool = False) -> QuerySet[Notification]:
    """What the user was told, the newest first. `words` says it; nothing here is of anybody else."""
    rows = _unread(user) if unread_only else _shown(user)
    return with_names(rows).order_by("-pk")


def _shown(user: Any) -> QuerySet[Notification]:
    return Notification.objects.using(database()).filter(user=user.pk, is_shown=True)


def _unread(user: Any) -> QuerySet[Notification]:
    return _shown(user).filter(read_at=None)


def unread(user: Any, *, most: int = 100) -> int:
    """How many the user has not read, counted no further than `most`."""
    return _unread(user)[:most].count()


def mark_read(user: Any, notifications: Iterable[Notification | int] | None = None) -> int:
    """Mark these notifications of the user, or all, as read; answers how many were unread. Others' are passed over."""
    rows = _unread(user)
    now = timezone.now()
    if notifications is None:
        return rows.update(read_at=now)
    pks = [one.pk if isinstance(one, Notification) else one for one in notifications]
    return sum(rows.filter(pk__in=step).update(read_at=now) for step in steps(pks))


def preferences(user: Any) -> dict[NotificationKind, Preference]:
    """How the user wants to hear of each kind; who has said nothing hears of everything in both ways."""
    rows = NotificationPreference.objects.using(database()).filter(user=user.pk)
    said = {row.kind: Preference(row.by_mail, row.in_app) for row in rows}
    return {kind: said.get(kind, Preference()) for kind in NotificationKind}


def set_preference(
    user: Any, kind: NotificationKind | str, *, by_mail: bool | None = None, in_app: bool | None = None
) -> Preference:
    """Change how the user hears of a kind; what is None stays, and a mail that waits goes out. Raises InvalidInput."""
    if kind not in NotificationKind.values:
        facts = {"kind": kind, "known": ", ".join(NotificationKind.values)}
        raise InvalidInput(detail=_("There is no kind “%(kind)s” of notifications; it is one of %(known)s.") % facts)
    using = database()
    wanted = {name: value for name, value in (("by_mail", by_mail), ("in_app", in_app)) if value is not None}
    whose = {"user_id": user.pk, "kind": NotificationKind(kind).value}
    rows = NotificationPreference.objects.using(using)
    with transaction.atomic(using=using):
        # A transaction of SQLite that has read may find that it can write no more.
        rows.filter(**whose).update(**(wanted or {"kind": whose["kind"]}))
        row, _is_new = rows.get_or_create(**whose, defaults=wanted)
    return Preference(row.by_mail, row.in_app)
