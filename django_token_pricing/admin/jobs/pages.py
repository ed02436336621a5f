"""The page of a job: its preview and the form that confirms it, or how far it is, how fast, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import jobs
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.parts import Card
from django_token_pricing.admin.base.wording import (
    NOTHING,
    clock,
    exact_clock,
    figure,
    moment,
    number,
    per_cent,
)
from django_token_pricing.admin.jobs.panels import panel_of
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.forms import reason_field
from django_token_pricing.choices import JobStatus
from django_token_pricing.models import AuditEvent, Job, JobRow

# State and symbol of the badge.
BADGES = {
    JobStatus.PREPARING.value: ("info", "clock"),
    JobStatus.READY.value: ("warn", "warn"),
    JobStatus.QUEUED.value: ("info", "clock"),
    JobStatus.RUNNING.value: ("info", "clock"),
    JobStatus.PAUSED.value: ("idle", "pause"),
    JobStatus.DONE.value: ("ok", "ok"),
    JobStatus.CANCELED.value: ("idle", "idle"),
    JobStatus.FAILED.value: ("bad", "bad"),
}
UNDER_WAY = (JobStatus.PREPARING, JobStatus.QUEUED, JobStatus.RUNNING)
DEEDS = ("confirm", "pause", "resume", "cancel", "errors", "progress")
MOST_ERRORS = 50
MOST_LOGGED = 8
# Who confirms is offered to stop at more than so many per cent of errors.
MOST_PER_CENT = 5
# For so many rows the number must be typed.
MANY = 100


class ConfirmForm(forms.Form):
    """The reason, and for many rows their number: nobody confirms those in passing."""

    reason = reason_field()
    most_errors = forms.IntegerField(
        label=gettext_lazy("Stop at errors, in per cent"),
        required=False,
        min_value=0,
        max_value=100,
        initial=MOST_PER_CENT,
        help_text=gettext_lazy(
            "It pauses when more of the rows than this could not be done, 100 rows at the least. Empty: it never does."
        ),
        widget=forms.TextInput(attrs={"inputmode": "numeric", "class": "num", "autocomplete": "off"}),
    )
    count = forms.CharField(
        label="", required=False, widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
    )

    def __init__(self, job: Job, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.job = job
        self.initial["reason"] = job.reason
        try:
            stops = jobs.handler_of(job).stops_at_errors
        except KeyError:
            stops = False
        if not stops:
            del self.fields["most_errors"]
        if job.total <= MANY:
            del self.fields["count"]
        else:
            self.fields["count"].label = _("Type %(number)s to confirm") % {"number": number(job.total)}

    def clean_count(self) -> str:
        typed = "".join(filter(str.isdigit, self.cleaned_data["count"]))
        if typed != str(self.job.total):
            raise forms.ValidationError(
                _("This is not the number of rows: %(number)s.") % {"number": number(self.job.total)}
            )
        return typed


@dataclass(frozen=True, slots=True)
class UndoBox:
    """What can be taken back, and how; `url` is empty where it cannot be, or not by this person."""

    text: SafeString | str
    url: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    number: str
    name: SafeString
    url: str
    text: str
    code: str


def problem_texts(row: JobRow) -> Iterator[tuple[str, str]]:
    """Code and text of each problem of a row, in the reader's language."""
    for problem in row.problems or []:
        facts = {name: number(fact) if type(fact) is int else fact for name, fact in problem["facts"].items()}
        yield problem["code"], _(problem["template"]) % facts


def in_words(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    if seconds < 1:
        return _("under a second")
    if seconds < 60:
        return ngettext("%(n)s second", "%(n)s seconds", seconds) % {"n": seconds}
    if seconds < 3_600:
        return _("%(minutes)s min %(seconds)s s") % {"minutes": seconds // 60, "seconds": seconds % 60}
    return _("%(hours)s h %(minutes)s min") % {"hours": number(seconds // 3_600), "minutes": seconds % 3_600 // 60}


class JobPage:
    """Gathers the page for one person at one moment; `response` draws it."""

    def __init__(self, model_admin: ModelAdmin[Job], request: HttpRequest, job: Job, *, may_run: bool) -> None:
        self.model_admin = model_admin
        self.site = model_admin.admin_site
        self.request = request
        self.job = job
        self.may_run = may_run
        self.panel = panel_of(self.site, request, job)
        self.progress = jobs.progress(job)

    def form(self, data: Any = None) -> ConfirmForm:
        return ConfirmForm(self.job, data)

    def response(self, form: ConfirmForm | None = None) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        self.request.current_app = self.site.name
        is_preview = self.job.status == JobStatus.READY
        context = {**self.context(), **(self.preview(form or self.form()) if is_preview else self.course())}
        response = TemplateResponse(self.request, "django_token_pricing/admin/jobs/job.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def context(self) -> dict[str, Any]:
        job = self.job
        trail = []
        if may_view(self.site, self.request, Job):
            trail = [Link(capfirst(str(Job._meta.verbose_name_plural)), list_url(self.site, Job))]
        state, symbol = BADGES[job.status]
        return {
            **self.site.each_context(self.request),
            "opts": self.model_admin.opts,
            "media": self.model_admin.media,
            "title": self.panel.question() if job.status == JobStatus.READY else self.panel.title(),
            "trail": trail,
            "tabs": self.model_admin.tabs(self.request),  # type: ignore[attr-defined]
            "section_name": self.model_admin.section_name,  # type: ignore[attr-defined]
            "job": job,
            "panel": self.panel,
            "state": state,
            "symbol": symbol,
            "is_under_way": job.status in UNDER_WAY,
            "may_run": self.may_run,
            "urls": {name: self.url(name) for name in DEEDS},
            "zone": timezone.get_current_timezone_name(),
            "errors": list(self.errors()) if self.listed else [],
            "errors_lead": self.panel.errors_lead(self.listed),
            "errors_more": max(self.listed - MOST_ERRORS, 0),
            "facts": list(self.facts()),
        }

    def preview(self, form: ConfirmForm) -> dict[str, Any]:
        return {
            "form": form,
            "refusal": jobs.handler_of(self.job).refusal(self.job) if self.may_run else "",
            "cards": list(self.panel.cards()),
            "notes": list(self.panel.notes()),
            **self.panel.context(),
        }

    def course(self) -> dict[str, Any]:
        job = self.job
        return {
            **self.texts(),
            "shape": self.shape(),
            "tenth": self.tenth(),
            "bar": self.bar(),
            "legend": self.legend(),
            "cards": list(self.cards()),
            "may_pause": job.status in (JobStatus.QUEUED, JobStatus.RUNNING),
            "may_resume": job.status == JobStatus.PAUSED,
            "may_cancel": job.status not in jobs.OVER,
            "undo": self.undo(),
            "log": list(self.log()),
        }

    def figures(self) -> dict[str, Any]:
        """What the script puts in the place of what the page has; a new `shape` needs the page itself."""
        return {
            "is_live": self.job.status in UNDER_WAY,
            "shape": self.shape(),
            "decided": self.progress.decided,
            "total": self.job.total,
            "tenth": self.tenth(),
            "texts": self.texts(),
            "legend": [text for _css, text in self.legend()],
            "bar": [list(part) for part in self.parts()],
            "cards": [[card.figure, card.note] for card in self.cards()],
        }

    def shape(self) -> str:
        """Changes where parts of the page come or go, the first errors among them."""
        job = self.job
        listed = min(self.listed, MOST_ERRORS)
        there = [bool(found) for found in (job.total, job.started_at, job.skipped, self.progress.others)]
        return f"{job.status} {listed} {there}"

    def tenth(self) -> int:
        """A screen reader is told of each ten per cent only."""
        return int(self.progress.share * 10)

    @property
    def listed(self) -> int:
        """Rows of which something is to be said."""
        noted: int = self.job.result.get("noted", 0)
        return self.job.failed + noted

    def texts(self) -> dict[str, str]:
        job, progress = self.job, self.progress
        waits = ""
        if progress.others:
            words = ngettext("Waits: %(count)s other runs.", "Waits: %(count)s others run.", progress.others)
            waits = words % {"count": number(progress.others)}
        return {
            "per_cent": per_cent(progress.share) if job.total or job.status == JobStatus.DONE else "",
            "counted": _("%(done)s of %(rows)s")
            % {"done": number(progress.decided), "rows": self.panel.counted(job.total)},
            "left": _("About %(time)s left") % {"time": in_words(progress.left)} if progress.left is not None else "",
            "updated": _("updated %(time)s") % {"time": clock(timezone.now(), timezone.now())},
            "waits": waits,
        }

    def cards(self) -> Iterator[Card]:
        job, progress = self.job, self.progress
        if job.status == JobStatus.PREPARING or not job.started_at:
            return
        yield from self.panel.results()
        share = progress.decided and job.failed / progress.decided
        note = _("%(share)s of the rows so far") % {"share": per_cent(share)} if job.failed else _("no row was refused")
        if job.most_errors is not None and job.status not in jobs.OVER:
            stops = _("stops above %(share)s") % {"share": per_cent(job.most_errors / 100)}
            note = f"{per_cent(share)} · {stops}"
        yield Card(_("Errors"), number(job.failed), note=note)
        rates = jobs.rates(job.pace) if job.status == JobStatus.RUNNING else []
        spark = charts.sparkline("tp-rate", title=_("Rate"), values=rates) if len(rates) > 2 else None
        yield Card(_("Rate"), number(round(progress.rate)), note=_("rows a second"), spark=spark)
        yield Card(
            _("Running for") if job.finished_at is None else _("Took"),
            in_words(progress.running),
            note=_("started %(time)s") % {"time": moment(job.started_at)},
        )

    def legend(self) -> list[tuple[str, str]]:
        job = self.job
        parts = [("tp-c1", _("Done %(count)s") % {"count": number(job.done)})]
        if job.skipped:
            parts.append(("tp-c5", _("As wanted already %(count)s") % {"count": number(job.skipped)}))
        if job.failed:
            parts.append(("tp-fill-bad", _("With errors %(count)s") % {"count": number(job.failed)}))
        if self.progress.to_go:
            parts.append(("tp-track", _("To go %(count)s") % {"count": number(self.progress.to_go)}))
        return parts

    def bar(self) -> SafeString:
        """Decoration: the figures stand beside it. What is not nothing is never drawn as nothing."""
        drawn = (
            '<svg class="tp-svg" aria-hidden="true" width="100%" height="14">'
            '<rect class="tp-track" width="100%" height="14" rx="2"/>{}</svg>'
        )
        named = [(css, *part) for css, part in zip(("tp-c1", "tp-c5", "tp-fill-bad"), self.parts(), strict=True)]
        return format_html(drawn, format_html_join("", '<rect class="{}" x="{}" width="{}" height="14"/>', named))

    def parts(self) -> Iterator[tuple[str, str]]:
        """Where each part of the bar starts, and how wide it is."""
        job = self.job
        place = 0.0
        for count in (job.done, job.skipped, job.failed):
            width = max(count / job.total * 100, 0.6) if count and job.total else 0.0
            yield f"{min(place, 100 - width):.2f}%", f"{width:.2f}%"
            place += width

    def errors(self) -> Iterator[ErrorRow]:
        rows = list(self.job.rows.exclude(code="").order_by("number")[:MOST_ERRORS])
        names = self.panel.names(rows)
        for row in rows:
            name, url = names.get(row.number, (NOTHING, ""))
            for code, text in problem_texts(row):
                yield ErrorRow(number(row.number), owners.breakable(name), url, text, code)

    def undo(self) -> UndoBox | None:
        """None for kinds that have nothing to take back, and for those of apps that are gone."""
        job = self.job
        try:
            handler = jobs.handler_of(job)
        except KeyError:
            return None
        if type(handler).undo is jobs.Handler.undo:
            return None
        undoing = jobs.undoing_of(job)
        if undoing is not None and jobs.is_final(undoing):
            state = str(undoing.get_status_display())
            return UndoBox(
                _("It is taken back by %(job)s: %(state)s.") % {"job": undoing, "state": state},
                more=object_url(self.site, Job, undoing.pk),
            )
        found = jobs.undoable(job)
        if found.refusal:
            return UndoBox(found.refusal)
        text = _("Takes back what this job granted and is not used yet.")
        if found.left is not None and found.whole is not None:
            words = _("Takes back what this job granted and is not used yet: %(left)s of %(whole)s tokens.")
            text = words % {"left": figure(found.left), "whole": figure(found.whole)}
        if found.until is not None:
            text += " " + _("Open until %(moment)s.") % {"moment": moment(found.until)}
        if not self.request.user.has_perm(jobs.handler_of(Job(kind=handler.undo_kind)).permission):
            return UndoBox(text + " " + _("Your role does not include taking it back. Ask an owner."))
        return UndoBox(text, self.url("undo"))

    def log(self) -> Iterator[tuple[str, str]]:
        """What happened to the job, the last first; for who may read the audit trail."""
        if not may_view(self.site, self.request, AuditEvent):
            return
        job = self.job
        names = {"jobs.pause": _("Paused"), "jobs.resume": _("Resumed"), "jobs.cancel": _("Cancelled")}
        events = AuditEvent.objects.filter(target_type=Job._meta.label_lower, target_id=str(job.pk))
        told = [
            (event.at, names.get(event.action, _("Confirmed")), event.actor_label or _("The system"))
            for event in events.order_by("-at", "-pk")[:MOST_LOGGED]
        ]
        told += [(job.created_at, _("Asked for"), job.actor_label or _("The system"))]
        told += [(at, what, "") for at, what in ((job.started_at, _("Started")), (job.finished_at, _("Ended"))) if at]
        for at, what, who in sorted(told, key=lambda line: line[0], reverse=True):
            yield exact_clock(at), f"{what} · {who}" if who else what

    def facts(self) -> Iterator[tuple[str, Any]]:
        job = self.job
        yield from self.panel.facts()
        if (undone := job.params.get("undoes")) is not None:
            shown = _("Job %(number)s") % {"number": undone}
            yield _("Takes back"), format_html('<a href="{}">{}</a>', object_url(self.site, Job, undone), shown)
        yield _("Asked for by"), job.actor_label or _("The system")
        yield _("Asked for"), moment(job.created_at)
        if job.event is not None:
            url = (
                object_url(self.site, AuditEvent, job.event.pk) if may_view(self.site, self.request, AuditEvent) else ""
            )
            confirmed = job.event.actor_label or _("The system")
            yield _("Confirmed by"), format_html('<a href="{}">{}</a>', url, confirmed) if url else confirmed
            yield _("Reason"), job.reason
        if job.finished_at:
            yield _("Finished"), moment(job.finished_at)

    def url(self, name: str) -> str:
        opts = self.model_admin.opts
        route = f"admin:{opts.app_label}_{opts.model_name}_{name}"
        return reverse(route, args=(self.job.pk,), current_app=self.site.name)
