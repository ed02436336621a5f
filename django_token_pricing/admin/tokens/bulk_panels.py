"""What the page of a job says of a deed on many accounts: totals before and after, what to think of, a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.admin.base.mixins import may_view, object_url
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import NOTHING, clock, day, figure, number
from django_token_pricing.admin.jobs import Panel, register
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.forms import SOURCES
from django_token_pricing.choices import Source
from django_token_pricing.models import JobRow, TokenAccount


class AccountsPanel(Panel):
    """Accounts before and after, what to think of, and a sample that shows each case."""

    preview_template = "django_token_pricing/admin/tokens/accounts_preview.html"

    def counted(self, count: int) -> str:
        return ngettext("%(count)s account", "%(count)s accounts", count) % {"count": number(count)}

    def row_heading(self) -> str:
        return _("Account")

    @property
    def found(self) -> dict[str, Any]:
        preview: dict[str, Any] = self.job.preview
        return preview

    @property
    def terms(self) -> dict[str, Any]:
        params: dict[str, Any] = self.job.params
        return params

    def cards(self) -> Iterable[Card]:
        found = self.found
        note = self.skipped_note()
        yield Card(_("Accounts"), number(found["accounts"]), note=note or _("none is left out"))
        yield from self.amounts()
        before, after = found["before"], found["before"] + found.get("granted", 0) - found.get("taken", 0)
        now = _("%(tokens)s now") % {"tokens": figure(before)}
        yield Card(_("Available afterwards"), figure(after), note=now)

    def skipped_note(self) -> str:
        closed = self.found["closed"]
        if not closed:
            return ""
        return _("of %(total)s; %(count)s left out") % {"total": number(self.job.total), "count": number(closed)}

    def amounts(self) -> Iterable[Card]:
        return ()

    def notes(self) -> Iterable[Note]:
        closed, repeated = self.found["closed"], self.found["repeated"]
        if closed:
            words = ngettext("%(count)s account is closed.", "%(count)s accounts are closed.", closed)
            yield Note("warn", words % {"count": number(closed)}, _("Its user was deleted; nothing is done there."))
        if repeated:
            words = self.repeated_words(repeated) % {"count": number(repeated)}
            yield Note("warn", words, _("Make sure that it is not done twice."))

    def repeated_words(self, count: int) -> str:
        return ngettext(
            "%(count)s of these had the like done today already.",
            "%(count)s of these had the like done today already.",
            count,
        )

    def context(self) -> dict[str, Any]:
        rows = self.found.get("sample", [])
        names = self._names([row["account"] for row in rows])
        sample = [
            {
                "name": owners.breakable(names.get(row["account"], ("", "", ""))[0]),
                "url": names.get(row["account"], ("", "", ""))[1],
                "tier": names.get(row["account"], ("", "", ""))[2] or NOTHING,
                "now": NOTHING if row["now"] is None else number(row["now"]),
                "after": NOTHING if row["after"] is None else number(row["after"]),
                "is_changed": row["after"] is not None and row["after"] != row["now"],
                **self._note(row),
            }
            for row in rows
        ]
        as_of = parse_datetime(self.found["as_of"])
        assert as_of is not None  # noqa: S101 - written by prepare
        return {"sample": sample, "as_of": clock(as_of, timezone.now()), "sampled": self.counted(self.job.total)}

    def _note(self, row: dict[str, Any]) -> dict[str, str]:
        state, text = {
            "closed": ("idle", _("Closed: left out")),
            "repeated": ("warn", _("Already today")),
            "most": ("", _("Has most of the first 500")),
            "least": ("", _("Has least of the first 500")),
        }.get(row["note"], ("", ""))
        if row["after"] is None and row["note"] != "closed":
            state, text = "warn", _("Has less: left out")
        return {"state": state, "note": text}

    def facts(self) -> Iterable[tuple[str, str]]:
        yield from self.told_terms()
        yield _("Customers"), _("are told afterwards") if self.terms.get("notify") else _("are not told")

    def told_terms(self) -> Iterable[tuple[str, str]]:
        return ()

    def names(self, rows: Sequence[JobRow]) -> dict[int, tuple[str, str]]:
        found = self._names([row.target for row in rows if row.target is not None])
        return {row.number: found[row.target][:2] for row in rows if row.target in found}

    def _names(self, pks: Sequence[int]) -> dict[int, tuple[str, str, str]]:
        may_open = may_view(self.site, self.request, TokenAccount)
        rows = owners.with_owner(TokenAccount.objects.filter(pk__in=pks), "")
        return {
            row.pk: (
                owners.name(row.owner_login, row.owner_pool, row.pk),
                object_url(self.site, TokenAccount, row.pk) if may_open else "",
                str(_("Pool")) if row.pool_id else row.tier,
            )
            for row in rows
        }

    def results(self) -> Iterable[Card]:
        done = self.job.result
        planned = self.found.get("granted", 0)
        if done.get("granted") or planned:
            yield Card(
                _("Tokens granted"), figure(done.get("granted", 0)), note=_("of %(all)s") % {"all": figure(planned)}
            )
        planned = self.found.get("taken", 0)
        if done.get("taken") or planned:
            yield Card(_("Tokens taken"), figure(done.get("taken", 0)), note=_("of %(all)s") % {"all": figure(planned)})


@register("tokens.grant")
class GrantPanel(AccountsPanel):
    def question(self) -> str:
        words = ngettext("Grant tokens to %(count)s account?", "Grant tokens to %(count)s accounts?", self.job.total)
        return words % {"count": number(self.job.total)}

    def button(self) -> str:
        return _("Grant tokens")

    def undoing(self) -> str:
        return _("As far as they are not used they can be taken back: by Undo on the page of the job.")

    def amounts(self) -> Iterable[Card]:
        yield Card(_("Each gets"), number(self.terms["amount"]), note=_("added to what it has"))
        yield Card(_("Total"), figure(self.found["granted"]), note=_("tokens in new lots"))

    def repeated_words(self, count: int) -> str:
        return ngettext(
            "%(count)s of these already got this today.", "%(count)s of these already got this today.", count
        )

    def told_terms(self) -> Iterable[tuple[str, str]]:
        terms = self.terms
        yield _("Tokens"), number(terms["amount"])
        yield _("Source"), str(dict(SOURCES).get(terms["source"], terms["source"]))
        starts, ends = parse_date(terms["starts_on"] or ""), parse_date(terms["expires_on"] or "")
        yield _("Starts"), day(starts) if starts else _("at once")
        yield _("Expires"), _("end of %(day)s") % {"day": day(ends)} if ends else _("never")
        yield _("Priority"), number(terms["priority"])


@register("tokens.subtract")
class SubtractPanel(AccountsPanel):
    def question(self) -> str:
        words = ngettext(
            "Subtract tokens from %(count)s account?", "Subtract tokens from %(count)s accounts?", self.job.total
        )
        return words % {"count": number(self.job.total)}

    def button(self) -> str:
        return _("Subtract tokens")

    def undoing(self) -> str:
        return _("What was subtracted can be granted again, as new lots.")

    def amounts(self) -> Iterable[Card]:
        yield Card(_("Each gives"), number(self.terms["amount"]), note=_("in the order of spending"))
        yield Card(_("Total"), figure(self.found["taken"]), note=_("tokens out of lots"))

    def notes(self) -> Iterable[Note]:
        yield from super().notes()
        if short := self.found["short"]:
            words = ngettext("%(count)s account has less.", "%(count)s accounts have less.", short)
            follows = _("They give what they have.") if self.terms["at_most"] else _("They are left as they are.")
            yield Note("warn", words % {"count": number(short)}, follows)

    def told_terms(self) -> Iterable[tuple[str, str]]:
        yield _("Tokens"), number(self.terms["amount"])
        yield _("Where less is left"), _("take what there is") if self.terms["at_most"] else _("leave the account")


@register("tokens.set")
class SetPanel(AccountsPanel):
    def question(self) -> str:
        words = ngettext(
            "Set the balance of %(count)s account?", "Set the balance of %(count)s accounts?", self.job.total
        )
        return words % {"count": number(self.job.total)}

    def button(self) -> str:
        return _("Set balance")

    def undoing(self) -> str:
        return _("What is granted can be taken back: by Undo on the page of the job. What is subtracted stays so.")

    def amounts(self) -> Iterable[Card]:
        found = self.found
        yield Card(_("Granted"), figure(found["granted"]), note=self.counted(found["more"]))
        yield Card(_("Subtracted"), figure(found["taken"]), note=self.counted(found["less"]))

    def told_terms(self) -> Iterable[tuple[str, str]]:
        yield _("Available afterwards"), number(self.terms["amount"])


@register("tokens.expire")
class ExpirePanel(AccountsPanel):
    def question(self) -> str:
        words = ngettext(
            "Let tokens of %(count)s account expire?", "Let tokens of %(count)s accounts expire?", self.job.total
        )
        return words % {"count": number(self.job.total)}

    def button(self) -> str:
        return _("Let expire")

    def undoing(self) -> str:
        return _("What expired can be granted again, as new lots.")

    def amounts(self) -> Iterable[Card]:
        none = self.found["none"]
        note = (
            _("%(accounts)s have nothing to lose") % {"accounts": self.counted(none)}
            if none
            else _("tokens out of lots")
        )
        yield Card(_("Expires"), figure(self.found["taken"]), note=note)

    def told_terms(self) -> Iterable[tuple[str, str]]:
        source = self.terms["of_source"]
        yield _("Lots"), str(Source(source).label) if source else _("All lots")
