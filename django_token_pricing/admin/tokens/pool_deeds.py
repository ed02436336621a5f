"""Deeds on a pool and on its members."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import tokens
from django_token_pricing.admin.base.mixins import list_url, may_view
from django_token_pricing.admin.base.wording import NOTHING, number
from django_token_pricing.admin.tokens.deed_pages import Deed
from django_token_pricing.admin.tokens.forms import AddMembersForm, CapForm, CapsForm, DeedForm, MembersForm
from django_token_pricing.models import PoolMember, TokenPool


class OfPool(Deed):
    permission = "manage_members"

    def facts(self) -> Iterable[tuple[str, str]]:
        pool: TokenPool = self.row
        balance = tokens.balance(pool)
        yield _("Pool"), pool.name
        yield _("State"), _("Active") if pool.is_active else _("Not active")
        yield _("Members"), number(pool.members.count())
        yield _("Available"), number(balance.available)

    def told(self, words: str, done: tokens.MembersChanged) -> str:
        told = words % {"count": number(done.changed)}
        if done.unchanged:
            same = ngettext("%(count)s was as wanted already.", "%(count)s were as wanted already.", done.unchanged)
            told += " " + same % {"count": number(done.unchanged)}
        return told

    def back(self) -> str:
        if not may_view(self.site, self.request, PoolMember):
            return super().back()
        return list_url(self.site, PoolMember, pool=self.row.pk)


class AddMembers(OfPool):
    name = "add-members"
    form_class = AddMembersForm
    is_adding = True

    @classmethod
    def link_text(cls) -> str:
        return _("Add members")

    def title(self) -> str:
        return _("Add members to %(name)s") % {"name": self.row.name}

    def lead(self) -> str:
        return _("Members draw on the pool when their own tokens run out. A user is in one pool at most.")

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.add_members(
            self.row,
            given["members"],
            monthly_cap=given["monthly_cap"],
            move=given["move"],
            reason=given["reason"],
            actor=self.actor,
        )
        words = ngettext(
            "%(count)s member was added or changed.", "%(count)s members were added or changed.", done.changed
        )
        return self.told(words, done)


class RemoveMembers(OfPool):
    name = "remove-members"
    form_class = MembersForm

    @classmethod
    def link_text(cls) -> str:
        return _("Remove members")

    def title(self) -> str:
        return _("Remove members from %(name)s") % {"name": self.row.name}

    def lead(self) -> str:
        return _("They draw on the pool no more. What they used stays booked, and open holds can still be settled.")

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.remove_members(self.row, given["members"], reason=given["reason"], actor=self.actor)
        return self.told(
            ngettext("%(count)s member was removed.", "%(count)s members were removed.", done.changed), done
        )


class SetCaps(OfPool):
    name = "set-caps"
    form_class = CapsForm

    @classmethod
    def link_text(cls) -> str:
        return _("Set caps")

    def title(self) -> str:
        return _("Set caps of members of %(name)s") % {"name": self.row.name}

    def lead(self) -> str:
        return _("A cap counts what a member has drawn this month already. Who is not in the pool stays out of it.")

    def do(self, given: dict[str, Any], key: str) -> str:
        done = tokens.set_caps(
            self.row, given["members"], given["monthly_cap"], reason=given["reason"], actor=self.actor
        )
        return self.told(ngettext("%(count)s cap was set.", "%(count)s caps were set.", done.changed), done)


class OfMember(Deed):
    permission = "manage_members"

    def row_name(self) -> str:
        return str(self.row.owner_login)

    def facts(self) -> Iterable[tuple[str, str]]:
        member: PoolMember = self.row
        yield _("Member"), self.row_name()
        yield _("Pool"), member.pool.name
        yield _("Monthly cap"), NOTHING if member.monthly_cap is None else number(member.monthly_cap)
        yield _("Drawn this month"), number(self.row.drawn)

    def back(self) -> str:
        return list_url(self.site, PoolMember, pool=self.row.pool_id)


class ChangeCap(OfMember):
    name = "change-cap"
    form_class = CapForm

    @classmethod
    def link_text(cls) -> str:
        return _("Change cap")

    def title(self) -> str:
        return _("Change the cap of %(name)s") % {"name": self.row_name()}

    def lead(self) -> str:
        return _("The cap counts what was drawn this month already.")

    def initial(self) -> dict[str, Any]:
        return {"monthly_cap": self.row.monthly_cap}

    def do(self, given: dict[str, Any], key: str) -> str:
        tokens.set_caps(self.row.pool, [self.row.user], given["monthly_cap"], reason=given["reason"], actor=self.actor)
        return _("The cap of %(name)s is set.") % {"name": self.row_name()}


class RemoveMember(OfMember):
    name = "remove"
    form_class = DeedForm

    @classmethod
    def link_text(cls) -> str:
        return _("Remove from pool")

    def title(self) -> str:
        return _("Remove %(name)s from %(pool)s") % {"name": self.row_name(), "pool": self.row.pool.name}

    def lead(self) -> str:
        return _("The user draws on the pool no more. Open holds can still be settled.")

    def do(self, given: dict[str, Any], key: str) -> str:
        tokens.remove_members(self.row.pool, [self.row.user], reason=given["reason"], actor=self.actor)
        return _("%(name)s was removed from the pool.") % {"name": self.row_name()}
