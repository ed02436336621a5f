"""An account's live lots in burn order: the bar, the table, and how long they last at a pace."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin import AdminSite
from django.db.models import Count, Sum
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.base.wording import day, number, per_cent
from django_token_pricing.models import TokenAccount, TokenAllocation, TokenHoldLot

MOST_SHOWN = 25
SHADES = 4
SOON = timedelta(days=14)
FAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class LotRow:
    """A line of the table; `free` is what no hold reserves."""

    pk: int
    url: str
    key: str
    css: str
    source: str
    note: str
    left: int
    free: int
    share: str
    expires_at: datetime | None
    expires: str
    wait: str
    is_soon: bool

    @property
    def tokens(self) -> str:
        return number(self.left)


@dataclass(frozen=True, slots=True)
class Lots:
    """`rows` are the first of `count` live lots; `left` is in all of them, `held` of that is reserved."""

    rows: list[LotRow]
    count: int
    left: int
    held: int
    # Held tokens of lots that have expired since: they can be settled, and nothing else.
    held_expired: int = 0

    @property
    def more(self) -> int:
        return self.count - len(self.rows)

    @property
    def more_tokens(self) -> str:
        return number(self.left - sum(row.left for row in self.rows))

    @property
    def total(self) -> str:
        return number(self.left + self.held_expired)

    @property
    def expired_tokens(self) -> str:
        return number(self.held_expired)

    @property
    def rest(self) -> int:
        """What is free in the lots that are not shown."""
        return max(self.left - self.held - sum(row.free for row in self.rows), 0)


def live_lots(account: TokenAccount, as_of: datetime, held: int, site: AdminSite) -> Lots:
    """In three queries, of which the number of lots decides the cost of one."""
    live = TokenAllocation.objects.filter(account=account, is_open=True).live(as_of)
    sums = live.aggregate(count=Count("pk"), left=Sum("remaining"))
    lines = (
        TokenHoldLot.objects.filter(account=account, closed_at=None, expires_at__gt=as_of)
        .order_by()
        .values_list("allocation", "allocation__expires_at")
        .annotate(Sum("amount"))
    )
    reserved, held_expired = {}, 0
    for lot, ends, amount in lines:
        reserved[lot] = amount
        held_expired += amount if ends and ends <= as_of else 0
    left = sums["left"] or 0
    rows = []
    first = live.in_burn_order().select_related("event", "parent")[:MOST_SHOWN]
    for place, lot in enumerate(first):
        wait, is_soon = _wait(lot.expires_at, as_of)
        rows.append(
            LotRow(
                pk=lot.pk,
                url=object_url(site, TokenAllocation, lot.pk),
                key=string.ascii_uppercase[place],
                css=f"tp-lot{place % SHADES + 1}",
                source=lot.get_source_display(),
                note=_note(lot),
                left=lot.remaining,
                free=max(lot.remaining - reserved.get(lot.pk, 0), 0),
                share=per_cent(lot.remaining / left) if left else "",
                expires_at=lot.expires_at,
                expires=day(lot.expires_at) if lot.expires_at else _("Does not expire"),
                wait=wait,
                is_soon=is_soon,
            )
        )
    return Lots(rows=rows, count=sums["count"], left=left, held=held, held_expired=held_expired)


def _note(lot: TokenAllocation) -> str:
    """What tells this lot from others of its source: why it was given, or where it came from."""
    if lot.event is not None and lot.event.reason:
        return charts.clipped(lot.event.reason, 60)
    if lot.parent is not None:
        return _("carried over from the lot of %(day)s") % {"day": day(lot.parent.booked_at)}
    return charts.clipped(lot.key, 40)


def _wait(expires_at: datetime | None, as_of: datetime) -> tuple[str, bool]:
    """How long until then, and whether that is soon."""
    if expires_at is None:
        return "", False
    wait = expires_at - as_of
    if wait < timedelta(hours=1):
        return _("within the hour"), True
    if wait < timedelta(days=2):
        hours = round(wait / timedelta(hours=1))
        return ngettext("in %(count)d hour", "in %(count)d hours", hours) % {"count": hours}, True
    days = (timezone.localdate(expires_at) - timezone.localdate(as_of)).days
    return ngettext("in %(count)d day", "in %(count)d days", days) % {"count": days}, wait <= SOON


def bar(lots: Lots) -> SafeString | None:
    """Held first and hatched, then the lots in the order in which they are spent. None when there is nothing."""
    parts = []
    if lots.held:
        parts.append(charts.Segment(_("H"), lots.held, "tp-hatched", is_hatched=True))
    parts += [charts.Segment(row.key, row.free, row.css) for row in lots.rows if row.free]
    if lots.rest:
        parts.append(charts.Segment("", lots.rest, "tp-lot-rest"))
    if not parts:
        return None
    words = [_("held: %(tokens)s") % {"tokens": number(lots.held)}] if lots.held else []
    words += [f"{row.key}: {row.source}, {number(row.free)}" for row in lots.rows]
    if lots.rest:
        words.append(_("further lots: %(tokens)s") % {"tokens": number(lots.rest)})
    return charts.segments(
        "tp-balance",
        title=_("Balance by lot, in the order in which lots are spent"),
        description="; ".join(words) + ".",
        parts=parts,
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """How the lots end at a steady pace: when the last is used up (None: beyond a year), and what expires unused."""

    ends_at: datetime | None
    lost: int
    lost_from: datetime | None


def outlook(lots: Lots, pace: float, as_of: datetime) -> Outlook:
    """Spend the free tokens in burn order at `pace` a day, which is above 0. Lots not shown are taken not to expire."""
    parts: Sequence[tuple[int, datetime | None]] = [(row.free, row.expires_at) for row in lots.rows]
    at, lost, lost_from = as_of, 0, None
    for left, expires_at in [*parts, (lots.rest, None)]:
        days = left / pace
        ends_at = at + timedelta(days=days) if days < FAR.days * 10 else None
        if expires_at is None or (ends_at is not None and ends_at <= expires_at):
            if ends_at is None or ends_at - as_of > FAR:
                return Outlook(None, lost, lost_from)
            at = ends_at
            continue
        spent = pace * max((expires_at - at) / timedelta(days=1), 0)
        unspent = round(left - spent)
        if unspent > 0:
            lost += unspent
            lost_from = min(lost_from, expires_at) if lost_from else expires_at
        at = max(at, expires_at)
    return Outlook(at if at - as_of <= FAR else None, lost, lost_from)
