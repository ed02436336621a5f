"""Deleting a price, with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from django_token_pricing import tokens
from django_token_pricing.admin.analytics.prices_pages import LONGEST_NAME, amount
from django_token_pricing.admin.base.mixins import list_url
from django_token_pricing.admin.base.wording import moment
from django_token_pricing.admin.tokens.deed_pages import Deed
from django_token_pricing.models import ModelPrice


class RemovePrice(Deed):
    name = "delete"
    permission = "delete_modelprice"

    @classmethod
    def link_text(cls) -> str:
        return _("Delete")

    def button(self) -> str:
        return _("Delete price")

    def title(self) -> str:
        return _("Delete the price of “%(model)s”?") % {"model": self.row_name()}

    def lead(self) -> str:
        words = _("The price before it is valid on from then, if there is one; its history stays.")
        if self.row.starts_at < timezone.now():
            words += " " + _("Costs of uses from then on stay as they are until they are worked out anew.")
        return words

    def facts(self) -> Iterable[tuple[str, str]]:
        row = self.row
        yield _("Model"), row.model
        yield _("Provider"), row.provider or _("any")
        yield _("Valid from"), moment(row.starts_at)
        yield _("Input"), amount(row.input)
        yield _("Output"), amount(row.output)

    def row_name(self) -> str:
        return Truncator(self.row.model).chars(LONGEST_NAME)

    def back(self) -> str:
        return list_url(self.site, ModelPrice)

    def do(self, given: dict[str, Any], key: str) -> str:
        tokens.remove_price(self.row, reason=given["reason"], actor=self.actor)
        return _("The price of “%(model)s” was deleted.") % {"model": self.row_name()}
