"""Jobs as a list, and what can be done with one: confirm, pause, resume, cancel, take its errors along."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import jobs
from django_token_pricing.admin.base import exports
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin, object_url
from django_token_pricing.admin.base.wording import moment, number
from django_token_pricing.admin.jobs.pages import BADGES, JobPage, problem_texts
from django_token_pricing.admin.jobs.panels import panel_of
from django_token_pricing.admin.tokens import owners
from django_token_pricing.exceptions import InvalidInput, TokenPricingError
from django_token_pricing.lib.sheets import formula_safe
from django_token_pricing.models import Job, ScheduledRun

# The undo of so many rows is previewed at once, of more of them by a worker.
AT_ONCE = 1_000


def may_run(request: HttpRequest, job: Job) -> bool:
    """Whether this person may confirm, pause and cancel the job: who may do the deed may do it on many."""
    try:
        return request.user.has_perm(jobs.handler_of(job).permission)
    except KeyError:
        return False


def may_undo(request: HttpRequest, job: Job) -> bool:
    """Whether this person may do what takes the job back."""
    try:
        kind = jobs.handler_of(job).undo_kind
    except KeyError:
        return False
    return may_run(request, Job(kind=kind or job.kind))


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    section = [(Job, _("Jobs")), (ScheduledRun, _("Schedules"))]
    section_name = _("Operations")
    list_display = ["title", "state", "progress", "errors", "who", "asked"]
    list_filter = ["status"]
    parameters = ["status"]
    search_fields = ["actor"]
    search_help_text = _("Login of who asked for it, from the first letters, or the number of the job")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """All jobs with view_job; without it one's own, which the page of a deed leads to."""
        if super().has_view_permission(request, obj):
            return True
        return isinstance(obj, Job) and obj.actor_id is not None and obj.actor_id == request.user.pk

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        deeds: dict[str, Callable[..., HttpResponseBase]] = {
            "confirm": self.confirm_view,
            "pause": self.pause_view,
            "resume": self.resume_view,
            "cancel": self.cancel_view,
            "undo": self.undo_view,
            "progress": self.progress_view,
            "errors": self.errors_view,
            "download": self.download_view,
        }
        return [
            path(f"<path:object_id>/{deed}/", self.admin_site.admin_view(view), name=f"{name}_{deed}")
            for deed, view in deeds.items()
        ] + super().get_urls()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        found: QuerySet[Job] = super().get_queryset(request).defer("preview")
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        number = term.removeprefix("#")
        if number.isascii() and number.isdecimal() and len(number) < 19:
            return queryset.filter(pk=int(number)), False
        return queryset.filter(actor__in=owners.find_users(term)), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        for row in rows:
            row.panel = panel_of(self.admin_site, request, row)

    # The page

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        found = self._found(request, object_id)
        return found if isinstance(found, HttpResponse) else self._page(request, found).response()

    def _found(self, request: HttpRequest, object_id: str) -> Job | HttpResponse:
        try:
            row = Job.objects.select_related("event").filter(pk=Job._meta.pk.to_python(unquote(object_id))).first()
        except ValidationError:
            row = None
        if row is None:
            if not self.has_view_permission(request):
                raise PermissionDenied
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def _page(self, request: HttpRequest, job: Job) -> JobPage:
        return JobPage(self, request, job, may_run=may_run(request, job))

    # Deeds

    def confirm_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def confirm(job: Job) -> HttpResponse | None:
            page = self._page(request, job)
            form = page.form(request.POST)
            if not form.is_valid():
                return page.response(form)
            try:
                given = form.cleaned_data
                jobs.confirm(job, reason=given["reason"], actor=request.user, most_errors=given.get("most_errors"))
            except InvalidInput as error:
                form.add_error(None, error.message)
                return page.response(form)
            return None

        return self._do(request, object_id, confirm)

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(request, object_id, lambda job: jobs.pause(job, actor=request.user))

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(request, object_id, lambda job: jobs.resume(job, actor=request.user))

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def cancel(job: Job) -> None:
            left = jobs.cancel(job, actor=request.user)
            told = ngettext(
                "The job is cancelled. %(count)s row was done before, and stays done.",
                "The job is cancelled. %(count)s rows were done before, and stay done.",
                left.done,
            )
            messages.warning(request, told % {"count": number(left.done)})

        return self._do(request, object_id, cancel)

    def undo_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks for the job that takes this one back, whose page shows what would happen."""
        job = self._found(request, object_id)
        if isinstance(job, HttpResponse):
            return job
        if not may_undo(request, job):
            raise PermissionDenied
        shown = job
        if request.method == "POST":
            undoing = jobs.undoing_of(job)
            try:
                if undoing is None or not jobs.is_final(undoing):
                    now = job.done <= AT_ONCE
                    undoing = jobs.undo(job, reason="", actor=request.user, key=uuid4(), now=now)
                shown = undoing
            except TokenPricingError as error:
                messages.error(request, error.message)
        return HttpResponseRedirect(object_url(self.admin_site, Job, shown.pk))

    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The figures of the page that change, for the script that polls."""
        job = self._found(request, object_id)
        if isinstance(job, HttpResponse):
            return job
        response = JsonResponse(self._page(request, job).figures())
        response["Cache-Control"] = "no-store"
        return response

    def _do(self, request: HttpRequest, object_id: str, deed: Callable[[Job], Any]) -> HttpResponse:
        """One deed for who may, by POST; then the job's page shows what became of it."""
        job = self._found(request, object_id)
        if isinstance(job, HttpResponse):
            return job
        if not may_run(request, job):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseRedirect(object_url(self.admin_site, Job, job.pk))
        try:
            answer = deed(job)
        except TokenPricingError as error:
            messages.error(request, error.message)
            answer = None
        return (
            answer
            if isinstance(answer, HttpResponse)
            else HttpResponseRedirect(object_url(self.admin_site, Job, job.pk))
        )

    def errors_view(self, request: HttpRequest, object_id: str) -> HttpResponse | StreamingHttpResponse:
        """All rows that could not be done, with the reasons, as CSV."""
        job = self._found(request, object_id)
        if isinstance(job, HttpResponse):
            return job
        panel = panel_of(self.admin_site, request, job)
        writer = csv.writer(_Echo())

        def lines() -> Iterator[str]:
            yield "\ufeff" + writer.writerow(["row", "name", "code", "reason"])
            last = 0
            while rows := list(job.rows.filter(number__gt=last).exclude(code="").order_by("number")[:1_000]):
                names = panel.names(rows)
                for row in rows:
                    name, _url = names.get(row.number, ("", ""))
                    for code, text in problem_texts(row):
                        yield writer.writerow([row.number, formula_safe(name), code, formula_safe(text)])
                last = rows[-1].number

        response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="job-{job.pk}-errors.csv"'
        response["Cache-Control"] = "no-store"
        return response

    def download_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The file that the job has written."""
        job = self._found(request, object_id)
        return job if isinstance(job, HttpResponse) else exports.download(self.admin_site, request, job)

    # Columns

    @admin.display(description=_("job"))
    def title(self, row: Any) -> str:
        return str(row.panel.title())

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        state, symbol = BADGES[row.status]
        return badge(state, str(row.get_status_display()), symbol)

    @admin.display(description=_("done"))
    def progress(self, row: Any) -> str:
        words = gettext("%(done)s of %(total)s")
        return words % {"done": number(row.done + row.skipped), "total": number(row.total)}

    @admin.display(description=_("with errors"))
    def errors(self, row: Any) -> str:
        return number(row.failed)

    @admin.display(description=_("asked for by"))
    def who(self, row: Any) -> str:
        return row.actor_label or gettext("The system")

    @admin.display(description=_("asked for"))
    def asked(self, row: Any) -> str:
        return moment(row.created_at)


class _Echo:
    """What csv writes to: it hands each line back."""

    def write(self, line: str) -> str:
        return line
