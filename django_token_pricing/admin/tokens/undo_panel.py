"""What the page of a job says of an undo: what can be taken back, what cannot and why, a sample of lots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import NOTHING, clock, figure, number
from django_token_pricing.admin.jobs import register
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.bulk_panels import AccountsPanel
from django_token_pricing.models import JobRow, TokenAllocation


@register("tokens.undo")
class UndoPanel(AccountsPanel):
    preview_template = "django_token_pricing/admin/tokens/undo_preview.html"

    def question(self) -> str:
        words = _("Take back what job %(number)s granted?")
        return words % {"number": self.terms["undoes"]}

    def counted(self, count: int) -> str:
        return ngettext("%(count)s lot", "%(count)s lots", count) % {"count": number(count)}

    def button(self) -> str:
        return _("Take back")

    def undoing(self) -> str:
        return _("What is taken back can be granted again, as new lots.")

    def errors_heading(self) -> str:
        return _("Not taken back")

    def errors_lead(self, count: int) -> str:
        words = ngettext(
            "%(count)s lot, of which not all was there any more",
            "%(count)s lots, of which not all was there any more",
            count,
        )
        return words % {"count": number(count)}

    def cards(self) -> Iterable[Card]:
        found = self.found
        note = _("of %(accounts)s") % {"accounts": self._accounts(found["accounts"])}
        yield Card(_("Lots"), number(self.job.total), note=note)
        note = _("of %(tokens)s granted") % {"tokens": figure(found["granted"])}
        yield Card(_("Can be taken back"), figure(found["taken"]), note=note)
        yield Card(_("Spent"), figure(found["spent"]), note=_("tokens, which stay so"))
        yield Card(_("Held"), figure(found["held"]), note=_("tokens in open holds"))
        yield Card(_("Gone otherwise"), figure(found["expired"] + found["moved"]), note=_("expired, subtracted"))

    def _accounts(self, count: int) -> str:
        return ngettext("%(count)s account", "%(count)s accounts", count) % {"count": number(count)}

    def notes(self) -> Iterable[Note]:
        found = self.found
        if found["taken"] < found["granted"]:
            yield Note(
                "warn",
                _("Not all of it is left."),
                _("What is spent, held or expired stays as it is. Afterwards each such lot is listed with the reason."),
            )

    def context(self) -> dict[str, Any]:
        rows = self.found.get("sample", [])
        names = self._names([row["account"] for row in rows])
        as_of = parse_datetime(self.found["as_of"])
        assert as_of is not None  # noqa: S101 - written by prepare
        sample = [
            {
                "name": owners.breakable(names.get(row["account"], ("", "", ""))[0]),
                "url": names.get(row["account"], ("", "", ""))[1],
                "granted": number(row["granted"]),
                "taken": number(row["taken"]) if row["taken"] else NOTHING,
                **self._said(row),
            }
            for row in rows
        ]
        return {"sample": sample, "as_of": clock(as_of, timezone.now()), "sampled": self.counted(self.job.total)}

    def _said(self, row: dict[str, Any]) -> dict[str, str]:
        if row["is_expired"]:
            return {"state": "idle", "note": _("Expired")}
        if row["held"]:
            return {"state": "warn", "note": _("%(tokens)s held") % {"tokens": number(row["held"])}}
        if not row["taken"]:
            return {"state": "idle", "note": _("Nothing is left")}
        if row["taken"] < row["granted"]:
            return {"state": "warn", "note": _("Partly used")}
        return {"state": "", "note": _("Not used yet")}

    def facts(self) -> Iterable[tuple[str, str]]:
        return ()

    def names(self, rows: Sequence[JobRow]) -> dict[int, tuple[str, str]]:
        """Of each lot its account."""
        targets = [row.target for row in rows if row.target is not None]
        accounts = dict(TokenAllocation.objects.filter(pk__in=targets).values_list("pk", "account"))
        found = self._names(list(accounts.values()))
        lots = ((row.number, accounts.get(row.target or 0)) for row in rows)
        return {number: found[account][:2] for number, account in lots if account in found}

    def results(self) -> Iterable[Card]:
        note = _("of %(all)s") % {"all": figure(self.found.get("taken", 0))}
        yield Card(_("Tokens taken back"), figure(self.job.result.get("taken", 0)), note=note)
