"""Lists as files: the rows that the filters leave, in the columns that machines read.

Few rows are written at once and sent. More than a list counts are written by a job: its rows are read by the key of
the last one seen, so the last block costs what the first did. Either way one audit event says who took what.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib.admin import AdminSite
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing import audit, jobs
from django_token_pricing.admin.base.mixins import AnyModelAdmin, Link, list_url, object_url
from django_token_pricing.admin.base.selection import WholeList, asked_for, filters_on, selected, site_named
from django_token_pricing.admin.base.wording import number
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.sheet_writers import FORMATS, Stream
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import Job

# Keys that are read at once; their rows are read in steps.
PAGE = 5_000


class Export(jobs.Handler):
    """The file of one list, and the job that writes it where the rows are many. A subclass names the columns.

    Its `kind` is also the name of the audit event.
    """

    is_confirmed = False
    model: ClassVar[type[Model]]
    # The file is called by it, with the day.
    file_stem: ClassVar[str]

    @abstractmethod
    def columns(self, user: Any) -> list[str]:
        """Names for machines, the same in every language: those that this person may see."""

    @abstractmethod
    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        """The rows with these keys in their order, in a constant number of queries; without those that are gone."""

    def file_name(self, extension: str) -> str:
        return f"{self.file_stem}-{timezone.localtime():%Y-%m-%d-%H%M}.{extension}"

    def write(self, keys: Iterator[list[Any]], format_name: str, user: Any, stream: Stream) -> Iterator[int]:
        """Write the file; tells after each page how many rows there are. Raises SheetError."""
        written = 0
        with FORMATS[format_name].writer(self.columns(user), stream) as writer:
            for page in keys:
                for step in steps(page):
                    found = list(self.rows(step, user))
                    writer.write(found)
                    written += len(found)
                yield written

    def record(self, query_string: str, format_name: str, user: Any, reason: str, count: int) -> None:
        filters = {name: (None, ", ".join(values)) for name, values in asked_for(query_string).lists()}
        changes = {**filters, "format": (None, format_name)}
        audit.record(self.kind, actor=user, reason=reason, changes=changes, count=count)

    # The job

    def title(self, job: Job) -> str:
        return _("Export of %(what)s") % {"what": self.model._meta.verbose_name_plural}

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        """Writes the file, as the person who asked for it and with the permissions of now."""
        # All the work is done here, and the rate is shown by it.
        Job.objects.using(job._state.db).filter(pk=job.pk).update(started_at=timezone.now())
        user = job.actor
        try:
            if user is None or not user.has_perm(self.permission):
                raise PermissionDenied
            site = site_named(job.params["site"], self.model)
            queryset, changelist = selected(site, self.model, user, job.params["query"])
        except PermissionDenied:
            raise InvalidInput(detail=_("Who asked for this file may not have it any more.")) from None
        except BadRequest as error:
            raise InvalidInput(detail=str(error)) from error
        job.total = queryset.count()
        beat()
        try:
            with jobs.FileWriter(job) as file:
                for written in self.write(by_last_key(queryset, changelist), job.params["format"], user, file):
                    job.position = written
                    beat()
        except SheetError as error:
            raise InvalidInput(detail=told(error)) from error
        job.done = job.total = job.position

    def finish(self, job: Job) -> None:
        self.record(job.params["query"], job.params["format"], job.actor, job.params["reason"], job.done)


def told(error: SheetError) -> str:
    return _(error.template) % {name: number(fact) if type(fact) is int else fact for name, fact in error.facts.items()}


def by_last_key(queryset: QuerySet[Any], changelist: WholeList) -> Iterator[list[Any]]:
    """All keys, a page at a time, each found by the last row of the one before.

    In the list's order if that never changes; else by number, as a row whose place changes meanwhile would be left out
    or come twice.
    """
    order = queryset.query.order_by
    moment = changelist.moment
    if order != ("-pk",) and (not moment or order != (f"-{moment}", "-pk")):
        queryset = queryset.order_by("-pk")
    fields = ["pk", moment] if queryset.query.order_by[0] == f"-{moment}" else ["pk"]
    rest = queryset
    while page := list(rest.only(*fields)[:PAGE]):
        yield [row.pk for row in page]
        if len(page) < PAGE:
            return
        rest = queryset.filter(changelist.older_than(page[-1], queryset))


class ExportForm(forms.Form):
    """Which file, and why."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    format = forms.ChoiceField(
        label=gettext_lazy("Format"),
        choices=[(name, form.name) for name, form in FORMATS.items()],
        help_text=gettext_lazy("CSV and XLSX are for spreadsheets, JSON is for programs."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Kept in the audit trail. You may leave it out."),
    )


class ExportMixin(AnyModelAdmin):
    """Adds the page that makes a file of the list, and the link to it."""

    export: ClassVar[type[Export]]

    def get_urls(self) -> list[URLPattern]:
        # Before the stock ones, whose last takes every path.
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name=self._export_route()), *super().get_urls()]

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(self.export.permission)

    def list_tools(self, request: HttpRequest) -> list[Link]:
        tools: list[Link] = super().list_tools(request)  # type: ignore[misc]
        if not self.has_export_permission(request):
            return tools
        url = reverse(f"admin:{self._export_route()}", current_app=self.admin_site.name)
        query = request.GET.urlencode()
        return [*tools, Link(_("Export"), f"{url}?{query}" if query else url)]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_export_permission(request):
            raise PermissionDenied
        export = self.export()
        queryset, changelist = selected(self.admin_site, self.model, request.user, request.GET.urlencode())
        if request.method == "POST":
            form = ExportForm(request.POST)
            if form.is_valid():
                if changelist.is_capped:
                    return self._ask_for_job(request, export, form.cleaned_data)
                try:
                    return self._file(request, export, queryset, form.cleaned_data)
                except SheetError as error:
                    form.add_error("format", told(error))
        else:
            form = ExportForm(initial={"key": uuid4()})
        return self._page(request, changelist, form)

    def _file(
        self,
        request: HttpRequest,
        export: Export,
        queryset: QuerySet[Any],
        given: dict[str, Any],
    ) -> HttpResponseBase:
        """Written whole before it is sent: a file that broke off would look like one that ends there."""
        form = FORMATS[given["format"]]
        keys = iter([list(queryset.values_list("pk", flat=True))])
        with ExitStack() as until_sent:
            file = until_sent.enter_context(TemporaryFile())
            (count,) = export.write(keys, given["format"], request.user, file)
            export.record(request.GET.urlencode(), given["format"], request.user, given["reason"], count)
            file.seek(0)
            until_sent.pop_all()
        return FileResponse(
            file, as_attachment=True, filename=export.file_name(form.extension), content_type=form.content_type
        )

    def _ask_for_job(self, request: HttpRequest, export: Export, given: dict[str, Any]) -> HttpResponse:
        params = {
            "site": self.admin_site.name,
            "query": request.GET.urlencode(),
            "format": given["format"],
            "reason": given["reason"],
        }
        name = export.file_name(FORMATS[given["format"]].extension)
        job = jobs.create(export.kind, params=params, actor=request.user, key=given["key"], file_name=name)
        return HttpResponseRedirect(object_url(self.admin_site, Job, job.pk))

    def _page(self, request: HttpRequest, changelist: WholeList, form: ExportForm) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.admin_site.name
        back = list_url(self.admin_site, self.model)
        query = request.GET.urlencode()
        plural = str(self.opts.verbose_name_plural)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media + form.media,
            "title": _("Export %(what)s") % {"what": plural},
            "trail": [Link(capfirst(plural), back)],
            "tabs": self.tabs(request),  # type: ignore[attr-defined]
            "section_name": self.section_name,  # type: ignore[attr-defined]
            "form": form,
            "cl": changelist,
            "is_job": changelist.is_capped,
            "filters": list(filters_on(changelist)),
            "warnings": changelist.told,
            "columns": self.export().columns(request.user),
            "back": f"{back}?{query}" if query else back,
        }
        return TemplateResponse(request, "django_token_pricing/admin/export.html", context)

    def _export_route(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_export"


# The file of a job ----------------------------------------------------------------------------------------------------


def may_download(site: AdminSite, request: HttpRequest, job: Job) -> bool:
    """Who asked for the file, or a superuser, while still allowed to take such a file."""
    user = request.user
    if job.actor_id is None or (job.actor_id != user.pk and not getattr(user, "is_superuser", False)):
        return False
    if writes_file(job):
        return jobs.handler_of(job).permits(user, job)
    model_admin = site._registry.get(jobs.handler_of(job).model) if is_export(job) else None  # type: ignore[attr-defined]
    return isinstance(model_admin, ExportMixin) and model_admin.has_export_permission(request)


def writes_file(job: Job) -> bool:
    """Whether the job's file is a result for whoever may ask for such a job."""
    try:
        return jobs.handler_of(job).writes_file
    except KeyError:
        return False


def is_export(job: Job) -> bool:
    try:
        return isinstance(jobs.handler_of(job), Export)
    except KeyError:
        return False


def download(site: AdminSite, request: HttpRequest, job: Job) -> HttpResponseBase:
    """The file that the job wrote, a piece in memory at a time. Raises PermissionDenied, or Http404 without a file."""
    if not may_download(site, request, job):
        raise PermissionDenied
    size = jobs.FileReader(job).size
    if not size or job.status != JobStatus.DONE:
        raise Http404
    response = StreamingHttpResponse(
        jobs.pieces(job), content_type=FORMATS[job.params.get("format", "csv")].content_type
    )
    response["Content-Length"] = str(size)
    response["Content-Disposition"] = content_disposition_header(True, job.file_name)
    return response
