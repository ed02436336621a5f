"""Warnings in the stock form, and notifications as a list with the state of their mails."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import notifications
from django_token_pricing.admin.base.history import EditedMixin
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin
from django_token_pricing.admin.base.wording import NOTHING, moment, number
from django_token_pricing.admin.notifications import inbox
from django_token_pricing.admin.notifications.forms import WarningForm
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import DeliveryStatus
from django_token_pricing.lib.periods import month_of
from django_token_pricing.models import Notification, WarningRule, WarningTally

SECTION: list[tuple[type[Model], Any]] = [(Notification, _("Notifications")), (WarningRule, _("Warnings"))]
BADGES = {
    DeliveryStatus.NONE: ("idle", "idle"),
    DeliveryStatus.WAITING: ("info", "clock"),
    DeliveryStatus.SENT: ("ok", "ok"),
    DeliveryStatus.FAILED: ("bad", "bad"),
}


@admin.register(WarningRule)
class WarningRuleAdmin(EditedMixin, ReadOnlyAdmin):
    form = WarningForm
    deeds_name = "warnings"
    section = SECTION
    section_name = _("Notifications")
    list_display = ["condition", "of_tier", "whom", "state", "fired"]
    list_filter = ["kind", "is_active"]
    parameters = ["kind", "is_active"]
    search_fields = ["tier"]
    search_help_text = _("Tier from its first letters")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(tier__istartswith=term) if term else queryset), False

    def history_title(self, row: Any) -> str:
        return capfirst(notifications.described(row))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "change")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_warningrule")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fieldsets: list[Any] = [
            (_("When"), {"fields": ["kind", "percent", "tokens", "days", "tier"]}),
            (_("Whom"), {"fields": ["tells_user", "tells_admins", "is_active"]}),
        ]
        if self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj):
            fieldsets.append((_("Why"), {"fields": ["reason"]}))
        return fieldsets

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        month = month_of(timezone.now(), timezone.get_default_timezone())
        fired = dict(WarningTally.objects.filter(rule__in=rows, month=month).values_list("rule", "fired"))
        for row in rows:
            row.fired_this_month = fired.get(row.pk, 0)

    @admin.display(description=_("when"))
    def condition(self, row: Any) -> str:
        row.tier, tier = "", row.tier
        text = capfirst(notifications.described(row))
        row.tier = tier
        return text

    @admin.display(description=_("tier"))
    def of_tier(self, row: Any) -> str:
        return row.tier or gettext("All")

    @admin.display(description=_("tells"))
    def whom(self, row: Any) -> str:
        if row.tells_user and row.tells_admins:
            return gettext("The user and the operators")
        return gettext("The user") if row.tells_user else gettext("The operators")

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        return badge("ok", gettext("On")) if row.is_active else badge("idle", gettext("Off"))

    @admin.display(description=_("fired this month"))
    def fired(self, row: Any) -> str:
        return number(row.fired_this_month)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    section = SECTION
    section_name = _("Notifications")
    actions = ["send_again"]  # type: ignore[assignment]
    list_display = ["what", "who", "when", "read", "mail_state", "mail_problem"]
    list_filter = ["kind", "mail"]
    parameters = ["kind", "mail"]
    search_fields = ["user"]
    search_help_text = _("Login of the reader from its first letters, or the number of the user")
    readonly_fields = ["what", "text", "who", "when", "read", "in_inbox", "mail_state", "mail_moment", "mail_problem"]
    fields = [*readonly_fields, "tries"]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_inbox"
        return [path("inbox/", self.admin_site.admin_view(self.inbox_view), name=name), *super().get_urls()]

    def inbox_view(self, request: HttpRequest) -> HttpResponse:
        return inbox.view(self, request)

    def list_tools(self, request: HttpRequest) -> list[Link]:
        return [Link(gettext("My inbox"), inbox.inbox_url(self.admin_site))]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(user__in=owners.find_users(term)) if term else queryset), False

    def described(self, queryset: QuerySet[Any]) -> Any:
        return notifications.with_names(queryset).annotate(reader=F(f"user__{owners.login_field()}"))

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("django_token_pricing.resend_notification")

    @admin.action(description=_("Send failed mails again"), permissions=["resend"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        actor: Any = request.user
        count = notifications.retry(queryset, actor=actor)
        if not count:
            messages.warning(request, gettext("None of these mails has failed, so none is sent again."))
            return
        words = ngettext("%(count)s mail is sent again.", "%(count)s mails are sent again.", count)
        messages.success(request, words % {"count": number(count)})

    # Columns

    @admin.display(description=_("what"))
    def what(self, row: Any) -> str:
        return notifications.words(row).title

    @admin.display(description=_("more"))
    def text(self, row: Any) -> str:
        return notifications.words(row).text or NOTHING

    @admin.display(description=_("for"))
    def who(self, row: Any) -> SafeString | str:
        return owners.breakable(str(row.reader))

    @admin.display(description=_("when"))
    def when(self, row: Any) -> str:
        return moment(row.created_at)

    @admin.display(description=_("in the inbox"))
    def in_inbox(self, row: Any) -> str:
        return gettext("Yes") if row.is_shown else gettext("No")

    @admin.display(description=_("read"))
    def read(self, row: Any) -> str:
        return NOTHING if row.read_at is None else moment(row.read_at)

    @admin.display(description=_("mail"))
    def mail_state(self, row: Any) -> SafeString:
        state, symbol = BADGES[DeliveryStatus(row.mail)]
        return badge(state, str(row.get_mail_display()), symbol)

    @admin.display(description=_("mail due or sent"))
    def mail_moment(self, row: Any) -> str:
        return NOTHING if row.mail_at is None else moment(row.mail_at)

    @admin.display(description=_("problem"))
    def mail_problem(self, row: Any) -> str:
        return row.problem or NOTHING
