"""Rows that people edit, each change with who and why, and the page that shows all versions of a row.

simple-history writes a version whenever such a row is saved or deleted, and takes the person and the reason from the
row itself. They are put there here, so that the host needs no middleware for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Page, Paginator
from django.db.models import ForeignKey, IntegerField, Model, OuterRef, QuerySet, Subquery, Value
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import audit
from django_token_pricing.admin.base.mixins import AnyModelAdmin, Link, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, decimal, exact_moment, number
from django_token_pricing.audit import versions

PAGE_SIZE = 25


def sign(row: Any, *, actor: Any, reason: str) -> None:
    """Who and why, for the version that is written when the row is saved or deleted next."""
    row._history_user = actor
    row._change_reason = versions.fitting(reason, type(row).history.model)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that belong to a row and whose versions stand among its own.

    `of` finds the versions, `name` says what to call one, `hidden` are fields that the page itself says.
    """

    model: Any
    of: Callable[[Any], QuerySet[Any]]
    name: Callable[[Any], str]
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Version:
    """One line of the page."""

    when: str
    who: str
    state: str
    kind: str
    name: str
    why: str
    changes: list[Change]


class HistoryMixin(AnyModelAdmin):
    """The page with all versions of a row. Stands before the classes that it extends."""

    history_parts: Sequence[Part] = ()
    history_hidden: tuple[str, ...] = ()

    def versions_of(self, row: Any) -> QuerySet[Any]:
        found: QuerySet[Any] = row.history.all()
        return found

    def history_title(self, row: Any) -> str:
        return str(row)

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        return [*super().tools(request, row), Link(_("History"), self.history_url(row))]  # type: ignore[misc]

    def history_url(self, row: Any) -> str:
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_history"
        return reverse(route, args=(quote(row.pk),), current_app=self.admin_site.name)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All versions of a row, the newest first; also of one that is deleted."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        is_there = row is not None
        row = row or self._deleted(unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.admin_site.name
        parts = self._parts(request)
        page = self._versions_page(row, parts, request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("History of %(name)s") % {"name": self.history_title(row)},
            "trail": self._trail(row, is_there=is_there),
            "tabs": self.tabs(request),  # type: ignore[attr-defined]
            "section_name": self.section_name,  # type: ignore[attr-defined]
            "page": page,
            "versions": _lines(parts, list(page.object_list)),
            "first": number(page.start_index()),
            "last": number(page.end_index()),
            "count": number(page.paginator.count),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "django_token_pricing/admin/history.html", context)

    def _trail(self, row: Any, *, is_there: bool) -> list[Link]:
        trail = [Link(capfirst(str(self.opts.verbose_name_plural)), list_url(self.admin_site, self.model))]
        if is_there:
            trail.append(Link(self.history_title(row), object_url(self.admin_site, self.model, row.pk)))
        return trail

    def _deleted(self, object_id: str) -> Any:
        """The row as it was before it was deleted."""
        try:
            key = self.opts.pk.to_python(object_id)
            last = self.model.history.filter(**{self.opts.pk.attname: key}).first()
        except (ValidationError, ValueError):
            return None
        return last and last.instance

    def _parts(self, request: HttpRequest) -> list[Part]:
        """The row and what belongs to it. What has a list of its own is for those who may see that list."""
        own = Part(self.model, self.versions_of, lambda version: "", self.history_hidden)
        site = self.admin_site
        return [
            own,
            *(
                part
                for part in self.history_parts
                if not site.is_registered(part.model) or may_view(site, request, part.model)
            ),
        ]

    def _versions_page(self, row: Any, parts: Sequence[Part], wanted: str | None) -> Page[Any]:
        """(moment, key, part) of the versions of one page; of one moment those of the row itself first."""
        first, *others = (
            part.of(row)
            .order_by()
            .annotate(part=Value(place, output_field=IntegerField()))
            .values_list("history_date", "history_id", "part")
            for place, part in enumerate(parts)
        )
        found = first.union(*others, all=True) if others else first
        return Paginator(found.order_by("-history_date", "part", "-history_id"), PAGE_SIZE).get_page(wanted)


class EditedMixin(HistoryMixin):
    """Saves with a version and an audit event, both with the reason that the form asks for as `reason`."""

    # What the audit trail calls the deeds: `pools` for pools.add and pools.change.
    deeds_name: ClassVar[str]

    def part_facts(self, row: Any) -> dict[str, Any]:
        """What the audit trail compares of the rows that belong to this one and are saved with it."""
        return {}

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        if change and not _changed(form):
            return
        sign(obj, actor=request.user, reason=form.cleaned_data["reason"])
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: ModelForm[Any], formsets: Any, change: bool) -> None:
        row, reason, actor = form.instance, form.cleaned_data["reason"], request.user
        before = self.part_facts(row) if change else {}
        for formset in formsets:
            for part in formset.forms:
                sign(part.instance, actor=actor, reason=reason)
        super().save_related(request, form, formsets, change)
        after = self.part_facts(row)
        changes = {
            name: (form.initial.get(name) if change else None, form.cleaned_data[name]) for name in _changed(form)
        }
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                changes[name] = (before.get(name), after.get(name))
        if changes or not change:
            action = f"{self.deeds_name}.{'change' if change else 'add'}"
            audit.record(action, target=row, actor=actor, reason=reason, changes=changes)  # type: ignore[arg-type]


def _changed(form: ModelForm[Any]) -> list[str]:
    return [name for name in form.changed_data if name != "reason"]


def _lines(parts: Sequence[Part], keys: Sequence[tuple[datetime, int, int]]) -> list[Version]:
    known: dict[tuple[int, int], Version] = {}
    for place, part in enumerate(parts):
        wanted = [key for _moment, key, source in keys if source == place]
        if wanted:
            known.update(((place, key), line) for key, line in _compared(part, wanted))
    return [known[place, key] for _moment, key, place in keys]


def _compared(part: Part, keys: Sequence[int]) -> Iterator[tuple[int, Version]]:
    """These versions, each against the one before it, in two queries."""
    model = part.model.history.model
    pk = part.model._meta.pk.attname
    earlier = model.objects.filter(**{pk: OuterRef(pk)}, history_id__lt=OuterRef("history_id")).order_by("-history_id")
    related = [field.name for field in model.tracked_fields if isinstance(field, ForeignKey)]
    complete = model.objects.select_related("history_user", *related)
    found = list(complete.filter(pk__in=keys).annotate(earlier=Subquery(earlier.values("history_id")[:1])))
    before = complete.in_bulk([version.earlier for version in found if version.earlier is not None])
    for version in found:
        yield version.pk, _line(version, before.get(version.earlier), part)


def _line(version: Any, before: Any, part: Part) -> Version:
    states = {
        versions.ADDED: ("ok", _("Added")),
        versions.CHANGED: ("info", _("Changed")),
        versions.DELETED: ("idle", _("Deleted")),
    }
    state, kind = states[version.history_type]
    return Version(
        when=exact_moment(version.history_date),
        who=audit.label(version.history_user) or _("The system, or a user deleted since"),
        state=state,
        kind=kind,
        name=part.name(version),
        why=version.history_change_reason or NOTHING,
        changes=list(_changes(version, before, part.hidden)),
    )


def _changes(version: Any, before: Any, hidden: Sequence[str]) -> Iterator[Change]:
    fields: dict[str, Any] = {
        field.name: field
        for field in version.tracked_fields
        if field.editable and not field.primary_key and field.name not in hidden
    }
    if version.history_type == versions.CHANGED:
        # Rows that are older than their history have no version before the first change.
        delta = before and version.diff_against(before, included_fields=list(fields))
        changed = delta.changed_fields if delta else []
        for name in sorted(changed, key=list(fields).index):
            yield Change(_label(fields[name]), _value(before, fields[name]), _value(version, fields[name]))
        return
    for field in fields.values():
        text = _value(version, field)
        if text != NOTHING:
            is_new = version.history_type == versions.ADDED
            yield Change(_label(field), "" if is_new else text, text if is_new else "")


def _label(field: Any) -> str:
    return str(capfirst(str(field.verbose_name)))


def _value(version: Any, field: Any) -> str:
    """As people read it."""
    value, key = getattr(version, field.name), getattr(version, field.attname)
    if value is None and key is not None:
        return _("number %(number)s, deleted since") % {"number": key}
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, int):
        return number(value)
    if isinstance(value, Decimal):
        return decimal(value)
    return audit.label(value) if isinstance(value, Model) else str(value)
