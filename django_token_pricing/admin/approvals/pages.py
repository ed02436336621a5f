"""The page of a request: what exactly will be done, who asked and why, and what this person can decide."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import approvals
from django_token_pricing.admin.approvals.forms import ApproveForm, RefuseForm
from django_token_pricing.admin.base.mixins import Link, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, moment, number
from django_token_pricing.choices import ApprovalStatus
from django_token_pricing.models import Approval, AuditEvent

MOST_SIZE = 2**63 - 1
# State and symbol of the badge.
BADGES = {
    ApprovalStatus.WAITING: ("warn", "clock"),
    ApprovalStatus.APPROVED: ("ok", "ok"),
    ApprovalStatus.REFUSED: ("bad", "bad"),
    ApprovalStatus.WITHDRAWN: ("idle", "idle"),
    ApprovalStatus.EXPIRED: ("idle", "idle"),
}


def status_of(approval: Approval, as_of: datetime) -> ApprovalStatus:
    """A request whose time is over cannot be approved, also before it is closed."""
    if approval.status == ApprovalStatus.WAITING and approval.expires_at <= as_of:
        return ApprovalStatus.EXPIRED
    return ApprovalStatus(approval.status)


def title_of(approval: Approval) -> str:
    try:
        return approvals.deed_of(approval.kind).title(approval)
    except KeyError:
        return approval.kind


def kind_name(kind: str) -> str:
    try:
        return approvals.deed_of(kind).name()
    except KeyError:
        return kind


def size_text(size: int) -> str:
    return _("More than any size") if size >= MOST_SIZE else number(size)


class RequestPage:
    """Gathers the page for one person at one moment; `response` draws it."""

    def __init__(self, model_admin: ModelAdmin[Approval], request: HttpRequest, approval: Approval) -> None:
        self.model_admin = model_admin
        self.site = model_admin.admin_site
        self.request = request
        self.approval = approval
        self.status = status_of(approval, timezone.now())

    @property
    def is_waiting(self) -> bool:
        return self.status == ApprovalStatus.WAITING

    @property
    def is_own(self) -> bool:
        return self.approval.asked_by_id is not None and self.approval.asked_by_id == self.request.user.pk

    @property
    def may_decide(self) -> bool:
        return approvals.may_decide(self.approval, self.request.user)

    def response(
        self, *, approve: ApproveForm | None = None, refuse: RefuseForm | None = None, problem: str = ""
    ) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        self.request.current_app = self.site.name
        approval, opts = self.approval, self.model_admin.opts
        is_open = self.is_waiting and self.may_decide and not self.is_own
        context = {
            **self.site.each_context(self.request),
            "opts": opts,
            "media": self.model_admin.media,
            "title": title_of(approval),
            "trail": [Link(capfirst(str(opts.verbose_name_plural)), list_url(self.site, Approval))],
            "tabs": self.model_admin.tabs(self.request),  # type: ignore[attr-defined]
            "section_name": self.model_admin.section_name,  # type: ignore[attr-defined]
            "tools": self.tools(),
            "approval": approval,
            "badge_state": BADGES[self.status][0],
            "badge_symbol": BADGES[self.status][1],
            "status": self.status.label,
            "is_waiting": self.is_waiting,
            "is_own": self.is_own,
            "may_decide": self.may_decide,
            "changes": list(self.changes()),
            "facts": list(self.facts()),
            "approve_form": (approve or ApproveForm()) if is_open else None,
            "refuse_form": (refuse or RefuseForm()) if is_open else None,
            "may_withdraw": self.is_waiting and self.is_own,
            "problem": problem,
            "urls": {deed: self.url(deed) for deed in ("approve", "refuse", "withdraw")},
        }
        return TemplateResponse(self.request, "django_token_pricing/admin/approvals/approval.html", context)

    def url(self, deed: str) -> str:
        opts = self.model_admin.opts
        route = f"admin:{opts.app_label}_{opts.model_name}_{deed}"
        return reverse(route, args=(self.approval.pk,), current_app=self.site.name)

    def tools(self) -> list[Link]:
        found = []
        if url := self.target_url():
            found.append(Link(self.approval.target_label or _("The row"), url))
        if self.approval.event_id is not None and may_view(self.site, self.request, AuditEvent):
            found.append(Link(_("Audit event"), object_url(self.site, AuditEvent, self.approval.event_id)))
        return found

    def target_url(self) -> str:
        """The page of the row that it is about, for those who may see it; of a new row there is none yet."""
        if not self.approval.target_id:
            return ""
        try:
            model = apps.get_model(self.approval.target_type)
        except (LookupError, ValueError):
            return ""
        return object_url(self.site, model, self.approval.target_id) if may_view(self.site, self.request, model) else ""

    def changes(self) -> Iterator[tuple[str, str, str]]:
        try:
            deed = approvals.deed_of(self.approval.kind)
        except KeyError:
            for name, value in self.approval.params.items():
                yield name, "", str(value)
            return
        for name, before, after in deed.facts(self.approval):
            yield name, _shown(before), _shown(after)

    def facts(self) -> Iterator[tuple[str, str]]:
        approval = self.approval
        yield _("What"), kind_name(approval.kind)
        yield _("Size"), size_text(approval.size)
        yield _("Asked by"), approval.asked_label or NOTHING
        yield _("Asked"), moment(approval.asked_at)
        if self.is_waiting or self.status == ApprovalStatus.EXPIRED:
            yield _("Waits until"), moment(approval.expires_at)
        elif approval.decided_at is not None:
            yield _("Decided by"), approval.decided_label or NOTHING
            yield _("Decided"), moment(approval.decided_at)
            if approval.note:
                yield _("Note"), approval.note


def _shown(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, int):
        return number(value)
    return moment(value) if isinstance(value, datetime) else str(value)
