"""Allocations in: the page that takes a file, and what the page of the job says of it before and after."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

from django import forms
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from django_token_pricing import jobs
from django_token_pricing.admin.base.mixins import AnyModelAdmin, Link, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import number
from django_token_pricing.admin.tokens.import_panel import said
from django_token_pricing.choices import Source
from django_token_pricing.lib import lot_columns
from django_token_pricing.lib.sheet_writers import FORMATS
from django_token_pricing.lib.sheets import formula_safe
from django_token_pricing.models import Job
from django_token_pricing.tokens.allocation_import import MOST_AT_ONCE, ImportAllocations
from django_token_pricing.tokens.allocation_staging import MOST_BYTES, MOST_ROWS

# So few bytes are checked while the person waits.
AT_ONCE = 256 << 10
# For a person to fill in; JSON is for programs.
TEMPLATES = ("csv", "xlsx")
EXAMPLE = {
    "owner": "maya.chen@example.com",
    "amount": "1000000",
    "source": "promotion",
    "starts_at": "2027-01-01",
    "expires_at": "2027-12-31",
    "priority": "100",
    "paid_amount": "49.00",
    "paid_currency": "EUR",
    "key": "fair-2027:17",
    "reason": "Spring fair",
}


class ImportForm(forms.Form):
    """A file; and how it writes what can be read in two ways, for files that do not show it."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    file = forms.FileField(
        label=gettext_lazy("File"),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv,.xlsx"}),
        help_text=gettext_lazy("CSV in any dialect, or Excel (XLSX). What is in it counts, not its name."),
    )
    mark = forms.ChoiceField(
        label=gettext_lazy("Numbers"),
        required=False,
        choices=[
            ("", gettext_lazy("As the file shows")),
            (".", pgettext_lazy("how numbers are written", "1,234.56")),
            (",", pgettext_lazy("how numbers are written", "1.234,56")),
        ],
        help_text=gettext_lazy("If nothing in the file shows it, 1,234 is refused: it may be two numbers."),
    )
    order = forms.ChoiceField(
        label=gettext_lazy("Dates"),
        required=False,
        choices=[
            ("", gettext_lazy("As the file shows")),
            ("dmy", gettext_lazy("Day first: 31/12/2026")),
            ("mdy", gettext_lazy("Month first: 12/31/2026")),
        ],
        help_text=gettext_lazy("2026-12-31 is always clear."),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            words = _("The file has %(size)s; at most %(most)s are taken. Split it into several.")
            raise forms.ValidationError(
                words % {"size": filesizeformat(file.size), "most": filesizeformat(MOST_BYTES)}, code="too_large"
            )
        return file


class ImportMixin(AnyModelAdmin):
    """Adds the page that takes a file of allocations, its template files, and the link to it."""

    def get_urls(self) -> list[URLPattern]:
        # Before the stock ones, whose last takes every path.
        name, wrap = f"{self.opts.app_label}_{self.opts.model_name}_import", self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_view), name=name),
            path("import/template.<str:extension>", wrap(self.import_template_view), name=f"{name}_template"),
            path("import/<path:object_id>/errors.csv", wrap(self.import_errors_view), name=f"{name}_errors"),
            *super().get_urls(),
        ]

    def has_import_permission(self, request: HttpRequest) -> bool:
        """Named as in django-import-export, which would let all staff import."""
        return self.has_view_permission(request) and request.user.has_perm(ImportAllocations.permission)

    def list_tools(self, request: HttpRequest) -> list[Link]:
        tools: list[Link] = super().list_tools(request)  # type: ignore[misc]
        return [*tools, Link(_("Import"), self._import_url())] if self.has_import_permission(request) else tools

    def _import_url(self, name: str = "", *args: Any) -> str:
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_import{name}"
        return reverse(route, args=args, current_app=self.admin_site.name)

    def import_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_import_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self._import_page(request, ImportForm(initial={"key": uuid4()}))
        form = ImportForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._import_page(request, form)
        given = form.cleaned_data
        file = given["file"]
        job = jobs.create(
            ImportAllocations.kind,
            params={"mark": given["mark"] or None, "order": given["order"] or None},
            actor=request.user,
            key=given["key"],
            file_name=file.name,
            file=file.chunks(),
            now=file.size < AT_ONCE,
        )
        return HttpResponseRedirect(object_url(self.admin_site, Job, job.pk))

    def _import_page(self, request: HttpRequest, form: ImportForm) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.admin_site.name
        back = list_url(self.admin_site, self.model)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media + form.media,
            "title": _("Import allocations"),
            "trail": [Link(capfirst(str(self.opts.verbose_name_plural)), back)],
            "tabs": self.tabs(request),  # type: ignore[attr-defined]
            "section_name": self.section_name,  # type: ignore[attr-defined]
            "form": form,
            "back": back,
            "columns": columns_explained(),
            "example": [EXAMPLE[name] for name in lot_columns.READ],
            "names": lot_columns.READ,
            "templates": [(FORMATS[name].extension.upper(), self._import_url("_template", name)) for name in TEMPLATES],
            "most_rows": number(MOST_ROWS),
            "most_bytes": filesizeformat(MOST_BYTES),
            "at_once": number(MOST_AT_ONCE),
            "zone": timezone.get_default_timezone_name(),
        }
        return TemplateResponse(request, "django_token_pricing/admin/tokens/import.html", context)

    def import_template_view(self, request: HttpRequest, extension: str) -> HttpResponse:
        """A file with the names of the columns and nothing else, so that nothing has to be taken out of it."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        if extension not in TEMPLATES:
            raise Http404
        form, file = FORMATS[extension], BytesIO()
        with form.writer(lot_columns.READ, file):
            pass
        response = HttpResponse(file.getvalue(), content_type=form.content_type)
        response["Content-Disposition"] = f'attachment; filename="allocations.{extension}"'
        return response

    def import_errors_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The lines that are wrong as they stand in the file, each with what is wrong with it."""
        number_ = unquote(object_id)
        if not self.has_import_permission(request):
            raise PermissionDenied
        jobs_ = Job.objects.filter(kind=ImportAllocations.kind)
        job = jobs_.filter(pk=int(number_)).first() if number_.isdecimal() and len(number_) < 19 else None
        if job is None:
            raise Http404
        if job.actor_id != request.user.pk and not may_view(self.admin_site, request, Job):
            raise PermissionDenied
        response = StreamingHttpResponse(error_lines(job), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="job-{job.pk}-errors.csv"'
        response["Cache-Control"] = "no-store"
        return response


def columns_explained() -> list[tuple[str, str]]:
    words = {
        "owner": _("Whose the tokens are: an e-mail address, a login, a user's number, or “pool:” and a pool's name."),
        "amount": _("How many tokens: a whole number."),
        "source": _("One of %(known)s. Empty: import.") % {"known": ", ".join(Source.values)},
        "starts_at": _("The day on which the tokens can be spent first, or an exact moment. Empty: now."),
        "expires_at": _("The last day on which they can be spent, or an exact moment. Empty: never."),
        "priority": _("A whole number; a smaller one is spent first. Empty: 100."),
        "paid_amount": _("What was paid, with its currency beside it. Empty: nothing."),
        "paid_currency": _("Three letters, such as EUR."),
        "key": _(
            "What the line is known by, at most 200 characters: the same key is granted once, whatever file it is in."
        ),
        "reason": _("Why, for the audit trail. Empty: the reason that you give when you confirm."),
    }
    return [(name, words[name]) for name in lot_columns.READ]


# What is wrong --------------------------------------------------------------------------------------------------------


class _Echo:
    """What csv writes to: it hands each line back."""

    def write(self, line: str) -> str:
        return line


def error_lines(job: Job) -> Iterator[str]:
    writer = csv.writer(_Echo())
    header = job.preview.get("header", [])
    # With a mark, so that Excel reads it as UTF-8. None of these names is one that an import reads.
    yield "\ufeff" + writer.writerow(["line", "what is wrong", "code", *map(formula_safe, header)])
    last = 0
    while rows := list(job.rows.filter(number__gt=last).exclude(code="").order_by("number")[:1_000]):
        for row in rows:
            problems = row.problems or []
            words = [f"{one['column']}: {said(one)}" if one.get("column") else said(one) for one in problems]
            codes = " ".join(dict.fromkeys(one["code"] for one in problems))
            cells = (row.data or {}).get("cells", [])
            yield writer.writerow([row.number, formula_safe(" ".join(words)), codes, *map(formula_safe, cells)])
        last = rows[-1].number
