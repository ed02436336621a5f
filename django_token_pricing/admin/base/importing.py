"""Few rows in and out as files by django-import-export: its permissions closed, its files read by our own reader.

Left to its defaults it lets all staff read and write every row, keeps formulas in what it writes, shows its preview
with inline styles, and keeps uploads in a temporary folder under a name that the browser gives back. Tables with many
rows have their own import, which streams.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from import_export.admin import ImportExportMixin
from import_export.formats import base_formats
from import_export.forms import ExportForm, ImportForm
from import_export.resources import ModelResource
from import_export.results import RowResult
from tablib import Dataset

from django_token_pricing import audit
from django_token_pricing.admin.base.exports import told
from django_token_pricing.admin.base.mixins import AnyModelAdmin, Link, list_url
from django_token_pricing.admin.base.wording import number
from django_token_pricing.lib.rows import SheetError, gettext_noop
from django_token_pricing.lib.sheets import formula_safe, open_sheet, unescaped
from django_token_pricing.lib.texts import is_storable

if TYPE_CHECKING:
    # It ships no types.
    Files = AnyModelAdmin
else:
    Files = ImportExportMixin

# It travels in the page that asks whether to go on, and a price list is far smaller.
MOST_BYTES = 1 << 20
MOST_ROWS = 1_000
# How long that page may be left open.
PATIENCE = 24 * 60 * 60


class Csv(base_formats.CSV):  # type: ignore[misc]
    def is_binary(self) -> bool:
        """Our reader finds the encoding itself."""
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: bytes, **kwargs: Any) -> Dataset:
        return _read_sheet(in_stream)

    def export_data(self, dataset: Dataset, **kwargs: Any) -> bytes:
        # Without the mark Excel takes it for the encoding of the country.
        return str(super().export_data(dataset, **kwargs)).encode("utf-8-sig")


class Xlsx(base_formats.XLSX):  # type: ignore[misc]
    def create_dataset(self, in_stream: bytes) -> Dataset:
        return _read_sheet(in_stream)


class Json(base_formats.JSON):  # type: ignore[misc]
    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: bytes, **kwargs: Any) -> Dataset:
        """A list of objects."""
        try:
            rows = json.loads(in_stream)
        except (ValueError, RecursionError) as error:
            raise SheetError("json", gettext_noop("This is no JSON that can be read.")) from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SheetError("json_shape", gettext_noop("JSON is a list of objects here, one for each row."))
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return _dataset(columns, ([row.get(name) for name in columns] for row in rows))


FORMATS: list[Any] = [Csv, Xlsx, Json]


def _read_sheet(content: bytes) -> Dataset:
    with open_sheet(io.BytesIO(content)) as sheet:

        def rows() -> Any:
            for _line, cells, problem in sheet.rows:
                if problem is not None:
                    raise problem
                yield cells

        return _dataset(sheet.columns, rows())


def _dataset(columns: list[str], rows: Any) -> Dataset:
    if not columns:
        raise SheetError("empty", gettext_noop("The file is empty."))
    data = Dataset(headers=columns)
    for cells in rows:
        if len(data) == MOST_ROWS:
            raise SheetError("too_many_rows", gettext_noop("There are more than %(most)s rows."), most=MOST_ROWS)
        # A short row of CSV ends with empty cells.
        data.append([*cells, *[None] * (len(columns) - len(cells))])
    return data


class SignedUpload:
    """The upload travels, signed, in the page that asks whether to go on: nothing is kept, by whichever server."""

    SALT = "django_token_pricing.upload"

    def __init__(self, *, name: str = "", **kwargs: Any) -> None:
        self.name = name

    def save(self, data: bytes) -> None:
        self.name = signing.dumps(data, salt=self.SALT, serializer=_AsItIs, compress=True)

    def read(self) -> bytes:
        """Raises BadSignature."""
        content: bytes = signing.loads(self.name, salt=self.SALT, serializer=_AsItIs, max_age=PATIENCE)
        return content

    def remove(self) -> None:
        """There is nothing to remove."""


class _AsItIs:
    def dumps(self, obj: bytes) -> bytes:
        return obj

    def loads(self, data: bytes) -> bytes:
        return data


class UploadForm(ImportForm):  # type: ignore[misc]
    """A file, whose format is seen from what is in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["format"].required = False
        self.fields["format"].widget = forms.HiddenInput()
        self.fields["import_file"].label = gettext_lazy("File")
        self.fields["import_file"].help_text = gettext_lazy("CSV, XLSX or JSON, as an export gives it.")
        self.fields["import_file"].widget.attrs = {"accept": ".csv,.txt,.xlsx,.json"}

    @property
    def media(self) -> forms.Media:
        """Without the script that guesses the format by the file's name."""
        return forms.Form.media.fget(self)  # type: ignore[attr-defined, no-any-return]

    def clean_import_file(self) -> Any:
        file = self.cleaned_data["import_file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError(_("The file is larger than 1 MB."))
        return file

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if file := given.get("import_file"):
            start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
            file.seek(0)
            kind = Xlsx if start.startswith(b"PK\x03\x04") else Json if start[:1] in (b"[", b"{") else Csv
            given["format"] = str(FORMATS.index(kind))
        return given


class FileResource(ModelResource):  # type: ignore[misc]
    """Text is safe in a spreadsheet on the way out and comes back as it was; who and why go with each row.

    A row is changed as a whole or not at all, and so is the file.
    """

    class Meta:
        use_transactions = True
        skip_unchanged = True
        report_skipped = True
        clean_model_instances = True
        store_instance = True
        # It would carry inline styles, which strict sites forbid.
        skip_html_diff = True

    def before_import(self, dataset: Dataset, **kwargs: Any) -> None:
        """Columns are found whatever their case and spaces are, and none is overlooked."""
        known = {_folded(field.column_name): field.column_name for field in self.get_import_fields()}
        headers = [known.get(_folded(header or ""), header) for header in dataset.headers]
        for place, header in enumerate(headers):
            if header not in known.values():
                names = ", ".join(f"“{name}”" for name in known.values())
                raise ValueError(
                    _("There is no column “%(column)s”. There are: %(columns)s.")
                    % {"column": _storable(header)[:80], "columns": names}
                )
            if header in headers[:place]:
                raise ValueError(_("The column “%(column)s” is there more than once.") % {"column": header})
        dataset.headers = headers
        self.seen: set[str] = set()

    def before_import_row(self, row: dict[str, Any], **kwargs: Any) -> None:
        for name, cell in row.items():
            row[name] = unescaped(cell)
            if isinstance(cell, (list, dict)) or (isinstance(cell, str) and not is_storable(cell)):
                raise ValueError(_("“%(column)s” holds what cannot be stored.") % {"column": name})
        (key,) = self._meta.import_id_fields
        row[key] = "" if row[key] is None else str(row[key]).strip()
        if row[key] in self.seen:
            raise ValueError(_("“%(value)s” is there more than once.") % {"value": row[key][:80]})
        self.seen.add(row[key])

    def after_import_row(self, row: Any, row_result: RowResult, **kwargs: Any) -> None:
        """What the preview shows of the row."""
        before, after = getattr(row_result, "original", None), row_result.instance
        row_result.changes = []
        for field in self.get_import_fields():
            old, new = (_shown(field, instance) for instance in (before, after))
            if old != new:
                row_result.changes.append((field.column_name, old, new))

    def export_field(self, field: Any, instance: Any, **kwargs: Any) -> Any:
        return formula_safe(super().export_field(field, instance, **kwargs))


def _shown(field: Any, instance: Any) -> str:
    value = "" if instance is None else field.export(instance)
    return "" if value is None else str(value)


def _folded(name: str) -> str:
    return "".join(str(name).split()).casefold()


def _storable(text: Any) -> str:
    return str(text).encode("utf-8", "replace").decode()


class FilesMixin(Files):
    """Import and export at the list, each with a permission of its own. Stands before the classes that it extends."""

    resource_classes: ClassVar[list[type[FileResource]]]
    # Asks for the reason, as `reason`.
    confirm_form_class: ClassVar[type[forms.Form]]
    deeds_name: ClassVar[str]

    formats = import_formats = export_formats = FORMATS
    import_form_class = UploadForm
    export_form_class = ExportForm
    tmp_storage_class = SignedUpload
    skip_import_confirm = False
    skip_export_form = False
    import_template_name = "django_token_pricing/admin/files/import.html"
    export_template_name = "django_token_pricing/admin/files/export.html"
    import_export_change_list_template = None

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self._may_move(request, "import")

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self._may_move(request, "export")

    def _may_move(self, request: HttpRequest, deed: str) -> bool:
        opts = self.opts
        is_allowed = request.user.has_perm(f"{opts.app_label}.{deed}_{opts.model_name}")
        return is_allowed and self.has_view_permission(request)

    def is_skip_import_confirm_enabled(self) -> bool:
        """Never, whatever the host's settings say: that page asks for the reason."""
        return False

    def is_skip_export_form_enabled(self) -> bool:
        return False

    def list_tools(self, request: HttpRequest) -> list[Link]:
        tools: list[Link] = super().list_tools(request)  # type: ignore[misc]
        if self.has_import_permission(request):
            tools.append(Link(_("Import"), self._url("import")))
        if self.has_export_permission(request):
            query = request.GET.urlencode()
            tools.append(Link(_("Export"), self._url("export") + (f"?{query}" if query else "")))
        return tools

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """What our pages have beyond those of django-import-export."""
        name = capfirst(str(self.opts.verbose_name_plural))
        return {
            "media": self.media,
            "trail": [Link(name, list_url(self.admin_site, self.model))],
            "back": list_url(self.admin_site, self.model),
            "import_url": self._url("import"),
            "process_url": self._url("process_import"),
            "columns": [field.column_name for field in self.resource_classes[0]().get_import_fields()],
        }

    def _url(self, page: str) -> str:
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(route, current_app=self.admin_site.name)

    def import_action(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return self._on_our_page(request, self._import_title(), super().import_action(request, **kwargs))  # type: ignore[misc]

    def export_action(self, request: HttpRequest) -> HttpResponse:
        title = _("Export %(name)s") % {"name": self.opts.verbose_name_plural}
        return self._on_our_page(request, title, super().export_action(request))  # type: ignore[misc]

    def _import_title(self) -> str:
        return _("Import %(name)s") % {"name": self.opts.verbose_name_plural}

    def _on_our_page(self, request: HttpRequest, title: str, response: HttpResponse) -> HttpResponse:
        """With the tabs that the person may see, and a title that says of what."""
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            response.context_data["title"] = title
            response.context_data["tabs"] = self.tabs(request)  # type: ignore[attr-defined]
            response.context_data["section_name"] = self.section_name  # type: ignore[attr-defined]
        return response

    # Out

    def get_export_data(self, file_format: Any, request: HttpRequest, queryset: Any, **kwargs: Any) -> Any:
        """Numbers as numbers where the format knows them."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        is_typed = not isinstance(file_format, Csv)
        data = self.get_data_for_export(request, queryset, force_native_type=is_typed, **kwargs)  # type: ignore[attr-defined]
        actor: Any = request.user
        audit.record(f"{self.deeds_name}.export", actor=actor, count=len(data))
        return file_format.export_data(data)

    def get_valid_export_item_pks(self, request: HttpRequest) -> list[Any]:
        """None: what is exported is what the list shows."""
        return []

    # In

    def add_data_read_fail_error_to_form(self, form: forms.Form, error: Exception) -> None:
        form.add_error("import_file", _problem(error))

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        given: Mapping[str, Any] = getattr(kwargs.get("form"), "cleaned_data", {})
        return {"rollback_on_validation_errors": True, "reason": given.get("reason", "")}

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Do what the preview showed: from the same content, all of it or nothing, with the reason."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form: Any = self.create_confirm_form(request)  # type: ignore[attr-defined]
        try:
            dataset = self._dataset(request)
        except (signing.BadSignature, SheetError, ValueError, IndexError):
            messages.error(request, _("The preview is out of date. Nothing has changed: give the file again."))
            return HttpResponseRedirect(self._url("import"))
        if form.is_valid():
            result = self.process_dataset(dataset, form, request)
            if not _is_wrong(result):
                return self.process_result(result, request)  # type: ignore[attr-defined, no-any-return]
        else:
            resource = self.resource_classes[0]()
            result = resource.import_data(dataset, dry_run=True, user=request.user, **self.get_import_data_kwargs())
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.admin_site.name
        context = {
            **self.get_context_data(),
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": self.import_form_class(FORMATS, self.resource_classes),
            "result": result,
            **({} if _is_wrong(result) else {"confirm_form": form}),
        }
        page = TemplateResponse(request, self.import_template_name, context)
        return self._on_our_page(request, self._import_title(), page)

    def _dataset(self, request: HttpRequest) -> Dataset:
        content = SignedUpload(name=request.POST.get("import_file_name", "")).read()
        return FORMATS[int(request.POST.get("format", ""))]().create_dataset(content)

    def process_dataset(self, dataset: Dataset, form: Any, request: HttpRequest, **kwargs: Any) -> Any:
        with transaction.atomic(using=router.db_for_write(self.model)):
            result = super().process_dataset(dataset, form, request, **kwargs)  # type: ignore[misc]
            added, changed = (result.totals[kind] for kind in (RowResult.IMPORT_TYPE_NEW, RowResult.IMPORT_TYPE_UPDATE))
            if added + changed and not _is_wrong(result):
                actor: Any = request.user
                audit.record(
                    f"{self.deeds_name}.import",
                    actor=actor,
                    reason=form.cleaned_data["reason"],
                    changes={"added": (0, added), "changed": (0, changed)},
                    count=added + changed,
                )
        return result

    def add_success_message(self, result: Any, request: HttpRequest) -> None:
        told = _("The file is imported. Added: %(added)s. Changed: %(changed)s. As they were: %(same)s.") % {
            "added": number(result.totals[RowResult.IMPORT_TYPE_NEW]),
            "changed": number(result.totals[RowResult.IMPORT_TYPE_UPDATE]),
            "same": number(result.totals[RowResult.IMPORT_TYPE_SKIP]),
        }
        messages.success(request, told)


def _is_wrong(result: Any) -> bool:
    return bool(result.has_errors() or result.has_validation_errors())


def _problem(error: Exception) -> str:
    return told(error) if isinstance(error, SheetError) else _("The file cannot be read.")
