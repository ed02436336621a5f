"""What the page of an import's job says: what is wrong, what the lines come to, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import jobs
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import may_view, object_url
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import NOTHING, clock, day, figure, number
from django_token_pricing.admin.jobs.panels import Panel, register
from django_token_pricing.choices import JobStatus, Source
from django_token_pricing.models import JobRow, TokenAccount
from django_token_pricing.tokens.allocation_import import ImportAllocations

MOST_ERRORS = 100
DELIMITERS = {
    ",": gettext_lazy("comma"),
    ";": gettext_lazy("semicolon"),
    "\t": gettext_lazy("tab"),
    "|": gettext_lazy("bar"),
}


def said(problem: dict[str, Any]) -> str:
    """In the reader's language."""
    facts = {name: number(fact) if type(fact) is int else fact for name, fact in problem["facts"].items()}
    return _(problem["template"]) % facts


@register(ImportAllocations.kind)
class ImportPanel(Panel):
    """Errors come first, as they need work; then what the lines come to, and some that show every case."""

    preview_template = "django_token_pricing/admin/tokens/import_preview.html"
    course_template = "django_token_pricing/admin/tokens/import_course.html"

    @property
    def found(self) -> dict[str, Any]:
        preview: dict[str, Any] = self.job.preview
        return preview

    @property
    def is_refused(self) -> bool:
        return bool(jobs.handler_of(self.job).refusal(self.job))

    def question(self) -> str:
        if self.is_refused or not self.found.get("new"):
            return self.title()
        new = self.found["new"]
        words = ngettext("Import %(count)s line of %(file)s?", "Import %(count)s lines of %(file)s?", new)
        return words % {"count": number(new), "file": self.job.file_name}

    def lead(self) -> str:
        if self.found["bad"]:
            return _("Nothing has been changed. All lines are granted or none: mend what is wrong and upload it again.")
        return super().lead()

    def preparing(self) -> str:
        return _(
            "The lines are read and checked. Nothing is granted before you have seen the preview and confirmed it."
        )

    def counted(self, count: int) -> str:
        return ngettext("%(count)s line", "%(count)s lines", count) % {"count": number(count)}

    def row_heading(self) -> str:
        return _("Account")

    def cards(self) -> Iterable[Card]:
        found = self.found
        note = ", ".join(f"{Source(name).label} {figure(tokens)}" for name, tokens in found["by_source"].items())
        yield Card(_("Tokens to grant"), figure(found["tokens"]), note=note)
        owners = found["owners"]
        opened = found["accounts_to_open"]
        words = ngettext("%(count)s account is opened", "%(count)s accounts are opened", opened)
        yield Card(_("Accounts"), number(owners), note=words % {"count": number(opened)} if opened else "")
        yield Card(_("Expiry"), self._expiry(), note=self._never())

    def _expiry(self) -> str:
        first, last = (_last_day(self.found[name]) for name in ("first_expiry", "last_expiry"))
        if not first:
            return NOTHING
        return first if first == last else f"{first} – {last}"

    def _never(self) -> str:
        count = self.found["never_expire"]
        if not count:
            return ""
        return ngettext("%(count)s line never expires", "%(count)s lines never expire", count) % {
            "count": number(count)
        }

    def notes(self) -> Iterable[Note]:
        found = self.found
        if lately := found["repeated_lately"]:
            words = ngettext(
                "For %(count)s line the account was given as many tokens from the same source in the last 30 days.",
                "For %(count)s lines the account was given as many tokens from the same source in the last 30 days.",
                lately,
            )
            yield Note("warn", words % {"count": number(lately)}, _("Make sure that it is not done twice."))
        if equal := found["equal"]:
            words = ngettext(
                "%(count)s line says the same as one above it.", "%(count)s lines say the same as one above.", equal
            )
            yield Note("warn", words % {"count": number(equal)}, _("Each is granted."))
        if same := found["same"]:
            words = ngettext("%(count)s line was granted before.", "%(count)s lines were granted before.", same)
            since = _day(found["same_since"])
            text = _("First on %(day)s; nothing is granted twice.") % {"day": since} if since else ""
            yield Note("info", words % {"count": number(same)}, text)
        if ignored := found["ignored"]:
            words = ngettext("%(count)s column is not read.", "%(count)s columns are not read.", len(ignored))
            yield Note("info", words % {"count": number(len(ignored))}, ", ".join(ignored[:10]))

    def facts(self) -> Iterable[tuple[str, str]]:
        found = self.found
        yield _("File"), self.job.file_name
        if "form" not in found:
            return
        yield _("Read as"), self._dialect()
        yield (
            _("Columns"),
            ", ".join(name if name == called else f"{name} ({called})" for name, called in found["columns"].items()),
        )

    def _dialect(self) -> str:
        found = self.found
        if found["form"] == "xlsx":
            parts = [_("Excel")]
        else:
            between = DELIMITERS.get(found["delimiter"], found["delimiter"])
            parts = [_("CSV, %(encoding)s, %(between)s") % {"encoding": found["encoding"].upper(), "between": between}]
        if found["mark"]:
            parts.append(_("numbers as 1.234,56") if found["mark"] == "," else _("numbers as 1,234.56"))
        if found["order"]:
            parts.append(_("dates with the day first") if found["order"] == "dmy" else _("dates with the month first"))
        return "; ".join(parts)

    def context(self) -> dict[str, Any]:
        found = self.found
        errors = list(self._errors()) if found["bad"] else []
        words = ngettext("%(count)s error", "%(count)s errors", found["problems"]) % {
            "count": number(found["problems"])
        }
        lines = ngettext("in %(count)s line", "in %(count)s lines", found["bad"]) % {"count": number(found["bad"])}
        return {
            "bar": self._bar(),
            "lines": self.counted(found["rows"]),
            "new": number(found["new"]),
            "same": number(found["same"]),
            "bad": f"{words} {lines}" if found["bad"] else "",
            "import_errors": errors,
            "import_errors_more": max(found["problems"] - len(errors), 0),
            "import_errors_url": self._url("_errors", self.job.pk),
            "import_again_url": self._url(),
            "sample": [self._sampled(row) for row in found["sample"]],
            "as_of": clock(_moment(found["as_of"]), timezone.now()),
        }

    def _url(self, name: str = "", *args: Any) -> str:
        return reverse(
            f"admin:django_token_pricing_tokenallocation_import{name}", args=args, current_app=self.site.name
        )

    def _bar(self) -> SafeString:
        found = self.found
        parts = [
            charts.Segment(_("New"), found["new"], "tp-lot1"),
            charts.Segment(_("The same"), found["same"], "tp-hatched", is_hatched=True),
            charts.Segment("", found["bad"], "tp-fill-bad"),
        ]
        words = _("new: %(new)s, the same as before: %(same)s, with errors: %(bad)s")
        described = words % {name: number(found[name]) for name in ("new", "same", "bad")}
        return charts.segments(
            "tp-lines",
            title=_("Lines by what becomes of them"),
            description=described,
            parts=[part for part in parts if part.amount],
        )

    def _errors(self) -> Iterator[dict[str, str]]:
        rows = self.job.rows.exclude(code="").order_by("number")[:MOST_ERRORS]
        found = [(row.number, problem) for row in rows for problem in row.problems or []]
        for line, problem in found[:MOST_ERRORS]:
            yield {
                "line": number(line),
                "column": problem.get("column", ""),
                "cell": problem.get("cell", ""),
                "text": said(problem),
                "code": problem["code"],
            }

    def _sampled(self, row: dict[str, Any]) -> dict[str, Any]:
        is_new = row["result"] == "new"
        may_open = row["account"] is not None and may_view(self.site, self.request, TokenAccount)
        return {
            "line": number(row["line"]),
            "name": row["name"],
            "url": object_url(self.site, TokenAccount, row["account"]) if may_open else "",
            "is_new": is_new,
            "now": NOTHING if row["now"] is None else number(row["now"]),
            "after": number(row["after"]),
            "is_changed": row["after"] != (row["now"] or 0),
            "tokens": number(row["tokens"]),
            "source": Source(row["source"]).label,
            "starts": _("from %(day)s") % {"day": _day(row["starts_at"])} if row["starts_at"] and is_new else "",
            "expires": _last_day(row["expires_at"]) or NOTHING,
            "reason": row["reason"],
        }

    def button(self) -> str:
        new = self.found["new"]
        return ngettext("Import %(count)s line", "Import %(count)s lines", new) % {"count": number(new)}

    def undoing(self) -> str:
        return _("It can be taken back, as far as it is not used. The same file never grants twice.")

    def results(self) -> Iterable[Card]:
        yield Card(_("Granted"), figure(self.job.result.get("granted", 0)), note=_("tokens"))

    # The course

    @property
    def refused_code(self) -> str:
        """Of a file that could not be read at all."""
        return str(self.found.get("refused", {}).get("code", ""))

    @property
    def again_url(self) -> str:
        return self._url() if self.job.status == JobStatus.FAILED else ""

    def names(self, rows: Sequence[JobRow]) -> dict[int, tuple[str, str]]:
        found = {}
        may_open = may_view(self.site, self.request, TokenAccount)
        for row in rows:
            url = object_url(self.site, TokenAccount, row.target) if may_open and row.target else ""
            found[row.number] = (str((row.data or {}).get("name", NOTHING)), url)
        return found


def _moment(text: str) -> Any:
    return parse_datetime(text) if text else None


def _day(text: str | None) -> str:
    moment = _moment(text or "")
    return day(moment) if moment else ""


def _last_day(text: str | None) -> str:
    """The day on which the tokens can be spent last: what ends at midnight ends with the day before."""
    moment = _moment(text or "")
    return day(moment - timedelta(microseconds=1)) if moment else ""
