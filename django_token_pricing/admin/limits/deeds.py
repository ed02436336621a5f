"""Retiring a limit: with a reason, and where it loosens much by asking a second person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import approvals
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.tokens import limit_words
from django_token_pricing.admin.tokens.deed_pages import Deed
from django_token_pricing.models import Approval, LimitRule
from django_token_pricing.tokens.limits import approval as second_person
from django_token_pricing.tokens.limits import changes, rules


class RetireLimit(Deed):
    name = "retire"
    permission = "change_limitrule"

    asked: Approval | None = None

    @classmethod
    def link_text(cls) -> str:
        return _("Retire")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return row.retired_at is None

    @property
    def needs_second_person(self) -> bool:
        size = changes.loosens_by(None, before=self.row, as_of=timezone.now())
        return approvals.is_needed(second_person.KIND, size)

    def button(self) -> str:
        return _("Ask for approval") if self.needs_second_person else _("Retire limit")

    def title(self) -> str:
        return _("Retire the limit for %(whom)s?") % {"whom": changes.whom(self.row)}

    def lead(self) -> str:
        if self.needs_second_person:
            return _(
                "This needs a second person: nothing changes before somebody else agrees. Then it ends at once and for"
                " good; its history stays."
            )
        return _("It ends at once and for good; its history stays. What it overrides counts again.")

    def facts(self) -> Iterable[tuple[str, str]]:
        rule = self.row
        below = changes.beneath(rule, as_of=timezone.now())
        yield _("For"), changes.whom(rule)
        yield _("Uses"), limit_words.uses(rule)
        yield _("Window"), limit_words.window(rule)
        yield _("Limit"), limit_words.amount(rule)
        yield _("At the limit"), limit_words.at_limit(rule)
        yield _("Then counts"), _("nothing") if below is None else _named(below)

    def row_name(self) -> str:
        return str(self.row)

    def back(self) -> str:
        if self.asked is not None:
            return object_url(self.site, Approval, self.asked.pk)
        return object_url(self.site, LimitRule, self.row.pk)

    def do(self, given: dict[str, Any], key: str) -> str:
        if self.needs_second_person:
            asked_key: UUID = given["key"]
            self.asked = second_person.ask(self.row, None, actor=self.actor, reason=given["reason"], key=asked_key)
            return _("Somebody else is asked to agree. Nothing has changed yet.")
        rules.retire_limit(self.row, reason=given["reason"], actor=self.actor)
        return _("The limit is retired.")


def _named(rule: LimitRule) -> str:
    facts = {"limit": limit_words.amount(rule), "scope": rule.get_scope_display()}
    return _("%(limit)s (%(scope)s)") % facts
