"""The last lines of an account's statement, and what is held on it now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin import AdminSite
from django.db.models import F
from django.utils.translation import gettext as _

from django_token_pricing import tokens
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.base.wording import clock, day, exact_moment, number, signed
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import EntryKind
from django_token_pricing.models import LedgerEntry, TokenAccount, TokenHold, TokenHoldLot

MOST_ENTRIES = 15
MOST_HOLDS = 6
MOST_COUNTED = 200


@dataclass(frozen=True, slots=True)
class Line:
    when: str
    url: str
    kind: str
    what: str
    reference: str
    tokens: str
    is_gain: bool
    balance: str


def last_lines(account: TokenAccount, site: AdminSite) -> list[Line]:
    """Newest first, in one query."""
    login = owners.login_field()
    entries = (
        tokens.statement(account)
        # The statement asks for the owner's account by a join; named outright, its newest entries end one index.
        .filter(account=account)
        .order_by("-booked_at", "-pk")
        .select_related("usage", "event", "allocation")
        .defer("usage__metadata", "event__changes")
        .annotate(member_login=F(f"member__user__{login}"))
    )
    return [
        Line(
            when=exact_moment(entry.booked_at),
            url=object_url(site, LedgerEntry, entry.pk),
            kind=entry.get_kind_display(),
            what=_what(entry),
            reference=_reference(entry),
            tokens=signed(entry.amount),
            is_gain=entry.amount > 0,
            balance=number(entry.balance_after),
        )
        for entry in entries[:MOST_ENTRIES]
    ]


def _what(entry: LedgerEntry) -> str:
    usage = entry.usage
    if usage is not None:
        return joined(usage.feature, usage.model) or _("Use %(number)s") % {"number": usage.pk}
    lot = entry.allocation
    if entry.kind == EntryKind.EXPIRE:
        return _("What was left of the lot of %(day)s") % {"day": day(lot.booked_at)}
    return joined(lot.get_source_display(), entry.event.reason if entry.event else "")


def _reference(entry: LedgerEntry) -> str:
    person = entry.event.actor_label if entry.event else ""
    key = entry.usage.key if entry.usage else entry.allocation.key if entry.kind == EntryKind.GRANT else ""
    member = getattr(entry, "member_login", None)
    if entry.member_id is not None:
        key = joined(owners.name(member, None, entry.member_id), key)
    return person or key


def joined(*texts: str) -> str:
    return " · ".join(text for text in texts if text)


@dataclass(frozen=True, slots=True)
class HoldRow:
    key: str
    url: str
    tokens: str
    lots: str
    what: str
    member: str
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class Holds:
    rows: list[HoldRow]
    count: int
    is_cut: bool

    @property
    def more(self) -> int:
        return self.count - len(self.rows)


def open_holds(account: TokenAccount, as_of: datetime, site: AdminSite, letters: dict[int, str]) -> Holds:
    """What is reserved on this account's lots, the soonest to end first; of a pool, by its members. One query."""
    lines = (
        TokenHoldLot.objects.filter(account=account, closed_at=None, expires_at__gt=as_of)
        .select_related("hold")
        .defer("hold__metadata")
        .annotate(member_login=F(f"hold__account__user__{owners.login_field()}"))
        .order_by("expires_at", "hold_id", "pk")
    )
    found = list(lines[: MOST_COUNTED + 1])
    by_hold: dict[int, list[TokenHoldLot]] = {}
    for line in found:
        by_hold.setdefault(line.hold_id, []).append(line)
    rows = []
    for of in list(by_hold.values())[:MOST_HOLDS]:
        hold: TokenHold = of[0].hold
        is_members = hold.account_id != account.pk
        rows.append(
            HoldRow(
                key=hold.key,
                url=object_url(site, TokenHold, hold.pk),
                tokens=number(sum(line.amount for line in of)),
                lots=_lots(of, letters),
                what=joined(hold.feature, hold.model),
                member=owners.name(getattr(of[0], "member_login", None), None, hold.account_id) if is_members else "",
                since=clock(hold.booked_at, as_of),
                until=clock(hold.expires_at, as_of),
            )
        )
    return Holds(rows, len(by_hold), len(found) > MOST_COUNTED)


def _lots(lines: Iterable[TokenHoldLot], letters: dict[int, str]) -> str:
    known = sorted({letters[line.allocation_id] for line in lines if line.allocation_id in letters})
    return _("from lot %(lots)s") % {"lots": ", ".join(known)} if known else ""
