"""The inbox of who is logged in: what the person was told, and what the person wants to hear of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import notifications
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.paginator import CappedPaginator
from django_token_pricing.admin.base.wording import moment, number
from django_token_pricing.admin.notifications.forms import PreferencesForm
from django_token_pricing.models import Notification, TokenAccount

PAGE_SIZE = 25


@dataclass(frozen=True, slots=True)
class Line:
    pk: int
    title: str
    text: str
    when: str
    is_unread: bool
    url: str


def inbox_url(site: AdminSite) -> str:
    return reverse("admin:django_token_pricing_notification_inbox", current_app=site.name)


def view(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Everybody who may enter the site has one, without any permission: it holds nothing of others."""
    site = model_admin.admin_site
    if request.method != "POST":
        return _page(model_admin, request, PreferencesForm(request.user))
    if "read_all" in request.POST:
        _tell_read(request, notifications.mark_read(request.user))
    elif (text := request.POST.get("read", "")).isascii() and text.isdecimal() and len(text) < 19:
        _tell_read(request, notifications.mark_read(request.user, [int(text)]))
    elif "preferences" in request.POST:
        form = PreferencesForm(request.user, request.POST)
        if not form.is_valid():
            return _page(model_admin, request, form)
        form.save()
        messages.success(request, _("What you hear of is saved."))
    return HttpResponseRedirect(inbox_url(site))


def _tell_read(request: HttpRequest, count: int) -> None:
    words = ngettext("%(count)s notification is read.", "%(count)s notifications are read.", count)
    messages.success(request, words % {"count": number(count)})


def _page(model_admin: Any, request: HttpRequest, form: PreferencesForm) -> HttpResponse:
    site = model_admin.admin_site
    # As the stock views do: links in templates stay on this site.
    request.current_app = site.name
    opts = Notification._meta
    page = CappedPaginator(notifications.inbox(request.user), PAGE_SIZE).get_page(request.GET.get("p"))
    may_open = may_view(site, request, TokenAccount)
    unread = notifications.unread(request.user)
    may_list = model_admin.has_view_permission(request)
    listed = Link(capfirst(str(opts.verbose_name_plural)), list_url(site, Notification))
    context = {
        **site.each_context(request),
        "opts": opts,
        "media": model_admin.media + form.media,
        "title": _("Inbox"),
        "trail": [listed] if may_list else [Link(_("Inbox"), inbox_url(site))],
        "tabs": model_admin.tabs(request),
        "section_name": model_admin.section_name,
        "page": page,
        "lines": [_line(row, site, may_open=may_open) for row in page],
        "unread": unread,
        "unread_text": ngettext("%(count)s unread", "%(count)s unread", unread) % {"count": number(unread)},
        "form": form,
    }
    return TemplateResponse(request, "django_token_pricing/admin/notifications/inbox.html", context)


def _line(row: Notification, site: AdminSite, *, may_open: bool) -> Line:
    said = notifications.words(row)
    url = object_url(site, TokenAccount, row.account_id) if may_open and row.account_id else ""
    return Line(row.pk, said.title, said.text, moment(row.created_at), row.read_at is None, url)
