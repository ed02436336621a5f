"""The rows that a list shows under its filters and its search, all of them, also where there is no request.

A page, a deed on “all that match this filter” and a worker ask here, so each means the rows that were on screen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.sites import all_sites
from django.contrib.admin.sites import site as default_site
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.messages import ERROR
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from django_token_pricing.admin.base.changelist import BEFORE, BigChangeList
from django_token_pricing.admin.base.filters import DaysFilter, ScopeFilter


class WholeList(BigChangeList):
    """Mixed into the change list of a model: rows are counted as far as ever, and none is read."""

    # The list on screen ends early for speed.
    is_moment_in_ranges = False
    # What filters and search had to say.
    told: list[str]

    def get_results(self, request: HttpRequest) -> None:
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        self.result_count = self.paginator.count
        self.result_list = []


def selected(site: AdminSite, model: type[Model], user: Any, query_string: str) -> tuple[QuerySet[Any], WholeList]:
    """All rows that the list shows this person for this query string, in its order, whichever page was looked at.

    Raises PermissionDenied where the person may not see the list (any more), and BadRequest where the list shows an
    error instead of rows that match.
    """
    model_admin = site._registry.get(model)
    request = _request(site, user, query_string)
    if model_admin is None or not site.has_permission(request) or not model_admin.has_view_permission(request):
        raise PermissionDenied
    # The admin itself serves requests in other threads.
    model_admin = copy.copy(model_admin)
    kind = model_admin.get_changelist(request)
    model_admin.get_changelist = lambda request, **kwargs: type("Whole", (WholeList, kind), {})  # type: ignore[method-assign]
    try:
        changelist = model_admin.get_changelist_instance(request)
    except IncorrectLookupParameters as error:
        raise BadRequest(_("The filters cannot be read.")) from error
    changelist.told = _told(request)  # type: ignore[attr-defined]
    return changelist.queryset, changelist  # type: ignore[return-value]


def site_named(name: str, model: type[Model]) -> AdminSite:
    """The admin site of that name that has the list, Django's own before others that are called alike.

    Raises PermissionDenied if there is none any more.
    """
    for candidate in (default_site, *all_sites):
        if candidate.name == name and candidate.is_registered(model):
            return candidate
    raise PermissionDenied


def filters_on(changelist: BigChangeList) -> Iterator[tuple[str, str]]:
    """What narrows the list, as (which filter, what is chosen)."""
    if changelist.query:
        yield _("Search"), changelist.query
    for spec in changelist.filter_specs:
        if isinstance(spec, DaysFilter):
            if spec.is_set:
                words = {"from": spec.first or "…", "to": spec.last or "…"}
                yield str(spec.title), pgettext("days", "%(from)s – %(to)s") % words
        elif isinstance(spec, ScopeFilter) or spec.used_parameters:
            chosen = [str(choice["display"]) for choice in spec.choices(changelist) if choice.get("selected", True)]
            yield str(spec.title), ", ".join(chosen)


def asked_for(query_string: str) -> QueryDict:
    """Filters and search of a list's address, without the page that was looked at."""
    given = QueryDict(query_string, mutable=True)
    for name in (PAGE_VAR, BEFORE):
        given.pop(name, None)
    return given


def _request(site: AdminSite, user: Any, query_string: str) -> HttpRequest:
    request: Any = HttpRequest()
    request.method = "GET"
    request.GET = asked_for(query_string)
    request.user = user
    request.current_app = site.name
    request._messages = _Kept()
    return request  # type: ignore[no-any-return]


class _Kept(list[tuple[int, str]]):
    """Takes messages in the place of the storage that a request has."""

    def add(self, level: int, message: str, extra_tags: str = "") -> None:
        self.append((level, str(message)))


def _told(request: HttpRequest) -> list[str]:
    kept: _Kept = request._messages  # type: ignore[attr-defined]
    for level, message in kept:
        if level >= ERROR:
            raise BadRequest(message)
    return [message for _level, message in kept]
