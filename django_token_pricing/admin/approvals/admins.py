"""Requests as a list, deciding about one, and the rules from which size on a second person is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import approvals
from django_token_pricing.admin.approvals.forms import ApproveForm, RefuseForm, RuleForm
from django_token_pricing.admin.approvals.pages import BADGES, RequestPage, kind_name, size_text, status_of, title_of
from django_token_pricing.admin.base.history import EditedMixin
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin, object_url
from django_token_pricing.admin.base.wording import moment, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import Approval, ApprovalRule

SECTION: list[tuple[type[Model], Any]] = [(Approval, _("Requests")), (ApprovalRule, _("Rules"))]


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    section = SECTION
    section_name = _("Approvals")
    list_display = ["title", "state", "size_shown", "who", "asked", "until", "decided"]
    list_filter = ["status"]
    parameters = ["status"]
    search_fields = ["asked_by"]
    search_help_text = _("Login of who asked, from the first letters, or the number of the request")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """All requests with view_approval; without it one's own, to which asking leads."""
        if super().has_view_permission(request, obj):
            return True
        return isinstance(obj, Approval) and obj.asked_by_id is not None and obj.asked_by_id == request.user.pk

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        deeds = {"approve": self.approve_view, "refuse": self.refuse_view, "withdraw": self.withdraw_view}
        return [
            path(f"<path:object_id>/{deed}/", self.admin_site.admin_view(view), name=f"{name}_{deed}")
            for deed, view in deeds.items()
        ] + super().get_urls()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        text = term.removeprefix("#")
        if text.isascii() and text.isdecimal() and len(text) < 19:
            return queryset.filter(pk=int(text)), False
        return queryset.filter(asked_by__in=owners.find_users(term)), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The number of those that wait for this person stands above the list, unless it shows a part."""
        if request.method == "GET" and not request.GET:
            waiting = approvals.waiting_for(request.user, as_of=timezone.now()).count()
            if waiting:
                words = ngettext(
                    "%(count)s request waits for your decision.", "%(count)s requests wait for your decision.", waiting
                )
                messages.info(request, words % {"count": number(waiting)})
        return super().changelist_view(request, extra_context)

    # The page

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        found = self._found(request, object_id)
        return found if isinstance(found, HttpResponse) else RequestPage(self, request, found).response()

    def _found(self, request: HttpRequest, object_id: str) -> Approval | HttpResponse:
        row = super(ReadOnlyAdmin, self).get_object(request, unquote(object_id))
        if not isinstance(row, Approval):
            if not self.has_view_permission(request):
                raise PermissionDenied
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    # Deeds

    def approve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def approve(page: RequestPage) -> HttpResponse | None:
            form = ApproveForm(request.POST)
            if not form.is_valid():
                return page.response(approve=form)
            try:
                approvals.approve(page.approval, actor=request.user, note=form.cleaned_data["note"])
            except TokenPricingError as error:
                return page.response(approve=form, problem=_in_words(error))
            messages.success(request, gettext("Approved, and done."))
            return None

        return self._decide(request, object_id, approve)

    def refuse_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def refuse(page: RequestPage) -> HttpResponse | None:
            form = RefuseForm(request.POST)
            if not form.is_valid():
                return page.response(refuse=form)
            approvals.refuse(page.approval, actor=request.user, note=form.cleaned_data["note"])
            messages.success(request, gettext("Refused. Nothing has changed."))
            return None

        return self._decide(request, object_id, refuse)

    def _decide(
        self, request: HttpRequest, object_id: str, deed: Callable[[RequestPage], HttpResponse | None]
    ) -> HttpResponse:
        """For who may decide and may do it themselves; who asked may refuse no more than approve."""
        found = self._found(request, object_id)
        if isinstance(found, HttpResponse):
            return found
        if not approvals.may_decide(found, request.user):
            raise PermissionDenied
        page = RequestPage(self, request, found)
        if request.method == "POST" and page.is_own:
            return page.response(problem=gettext("You asked for this: somebody else has to decide."))
        return self._done(request, page, deed)

    def withdraw_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def withdraw(page: RequestPage) -> None:
            approvals.withdraw(page.approval, actor=request.user)
            messages.success(request, gettext("Withdrawn. Nothing has changed."))

        found = self._found(request, object_id)
        if isinstance(found, HttpResponse):
            return found
        if found.asked_by_id is None or found.asked_by_id != request.user.pk:
            raise PermissionDenied
        return self._done(request, RequestPage(self, request, found), withdraw)

    def _done(
        self, request: HttpRequest, page: RequestPage, deed: Callable[[RequestPage], HttpResponse | None]
    ) -> HttpResponse:
        answer = None
        if request.method == "POST":
            try:
                answer = deed(page)
            except TokenPricingError as error:
                messages.error(request, _in_words(error))
        return answer or HttpResponseRedirect(object_url(self.admin_site, Approval, page.approval.pk))

    # Columns

    @admin.display(description=_("what"))
    def title(self, row: Any) -> str:
        return title_of(row)

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        status = status_of(row, timezone.now())
        state, symbol = BADGES[status]
        return badge(state, str(status.label), symbol)

    @admin.display(description=_("size"))
    def size_shown(self, row: Any) -> str:
        return size_text(row.size)

    @admin.display(description=_("asked by"))
    def who(self, row: Any) -> str | SafeString:
        return owners.breakable(row.asked_label)

    @admin.display(description=_("asked"))
    def asked(self, row: Any) -> str:
        return moment(row.asked_at)

    @admin.display(description=_("waits until"))
    def until(self, row: Any) -> str:
        return moment(row.expires_at)

    @admin.display(description=_("decided by"))
    def decided(self, row: Any) -> str | SafeString:
        return owners.breakable(row.decided_label) if row.decided_label else self.get_empty_value_display()


def _in_words(error: TokenPricingError) -> str:
    return str(error.template) % {
        name: number(fact) if type(fact) is int and name not in ("rule", "approval") else fact
        for name, fact in error.facts.items()
    }


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(EditedMixin, ReadOnlyAdmin):
    """One for each kind that the site does not want as it comes; none is deleted, as its history says who wanted it."""

    section = SECTION
    section_name = _("Approvals")
    # All are counted: they are few.
    paginator = Paginator  # type: ignore[assignment]
    form = RuleForm
    deeds_name = "approvals.rules"
    list_display = ["what", "above_shown", "lasts"]
    search_fields = ["kind"]
    search_help_text = _("Kind from its first letters, such as limits.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(kind__istartswith=term) if term else queryset), False

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        shown = ["kind", "above", "lasts_hours"]
        may_write = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        return [*shown, "reason"] if may_write else ["what", "above_shown", "lasts_hours"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return ["what", "above_shown"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "change")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_approvalrule")

    def history_title(self, row: Any) -> str:
        return kind_name(row.kind)

    @admin.display(description=_("what"))
    def what(self, row: Any) -> str:
        return kind_name(row.kind)

    @admin.display(description=_("second person above"))
    def above_shown(self, row: Any) -> str:
        return gettext("Never") if row.above is None else number(row.above)

    @admin.display(description=_("waits"))
    def lasts(self, row: Any) -> str:
        words = ngettext("%(count)s hour", "%(count)s hours", row.lasts_hours)
        return words % {"count": number(row.lasts_hours)}
