"""Limits as a list, with their form, their end and their history."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.base.exports import ExportMixin
from django_token_pricing.admin.base.history import HistoryMixin
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import Link, may_view, object_url
from django_token_pricing.admin.base.wording import moment
from django_token_pricing.admin.limits.deeds import RetireLimit
from django_token_pricing.admin.limits.exports import LimitsExport
from django_token_pricing.admin.limits.filters import AccountFilter, StateFilter, TierFilter, titled
from django_token_pricing.admin.limits.pages import LimitPage
from django_token_pricing.admin.tokens import limit_words, owners
from django_token_pricing.admin.tokens.deed_pages import DeedsMixin
from django_token_pricing.admin.tokens.lists import TokensAdmin
from django_token_pricing.choices import LimitCounting, LimitScope
from django_token_pricing.models import LimitRule, TokenAccount, TokenPool

MOST_SUGGESTED = 10


@admin.register(LimitRule)
class LimitRuleAdmin(ExportMixin, HistoryMixin, DeedsMixin, TokensAdmin):
    export = LimitsExport
    deeds = [RetireLimit]
    change_form_template = "django_token_pricing/admin/limits/form.html"
    list_display = ["whom", "state", "uses", "allowed", "at_limit", "counted", "until"]
    list_filter = [
        AccountFilter,
        StateFilter,
        ("scope", titled(_("for whom"))),
        TierFilter,
        ("metric", titled(_("what is counted"))),
        ("window", titled(_("window"))),
        ("mode", titled(_("what happens at the limit"))),
    ]
    scopes = ["account"]
    parameters = ["state", "scope", "tier", "metric", "window", "mode"]
    search_fields = ["user"]
    search_help_text = _("Login, pool, tier, model or feature, from the first letters")
    fields = ["whom", "uses", "limit_shown", "window_shown", "at_limit", "counted", "since", "until", "state"]
    readonly_fields = [
        "whom",
        "uses",
        "limit_shown",
        "window_shown",
        "at_limit",
        "counted",
        "since",
        "until",
        "state",
    ]

    def described(self, queryset: QuerySet[Any]) -> Any:
        return queryset.annotate(
            owner_login=F(f"user__{owners.login_field()}"),
            owner_pool=F("pool__name"),
            user_account=F("user__token_account"),
            pool_account=F("pool__account"),
        )

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        may_open = may_view(self.admin_site, request, TokenAccount)
        for row in rows:
            account = row.user_account or row.pool_account
            row.account_url = object_url(self.admin_site, TokenAccount, account) if may_open and account else ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        begins = Q()
        for name in ("tier", "model", "feature", "pool__name"):
            begins |= Q(**{f"{name}__istartswith": term})
        return queryset.filter(begins | Q(user__in=owners.find_users(term))), False

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        tools = super().tools(request, row)
        return [Link(gettext("Account"), row.account_url), *tools] if row.account_url else tools

    # The form

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What is retired is history."""
        return (obj is None or obj.retired_at is None) and self._may(request, "change")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_limitrule")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Who may write gets our form; who may only look, the stock page."""
        if object_id is None:
            if not self.has_add_permission(request):
                raise PermissionDenied
            return LimitPage(self, request, None).response(extra_context or {})
        rule = self.get_object(request, unquote(object_id))
        if rule is None or not self.has_change_permission(request, rule):
            return super().changeform_view(request, object_id, form_url, extra_context)
        return LimitPage(self, request, rule).response(extra_context or {})

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_suggest"
        return [path("suggest/", self.admin_site.admin_view(self.suggest_view), name=name), *super().get_urls()]

    def suggest_view(self, request: HttpRequest) -> JsonResponse:
        """Logins or names of pools that begin like this, for the form."""
        if not (self._may(request, "add") and may_view(self.admin_site, request, TokenAccount)):
            raise PermissionDenied
        term = request.GET.get("term", "").strip()
        found: list[str] = []
        if term and "\0" not in term:
            if request.GET.get("kind") == "pool":
                pools = TokenPool.objects.filter(name__istartswith=term).order_by("name")
                found = list(pools.values_list("name", flat=True)[:MOST_SUGGESTED])
            else:
                found = owners.logins(term, MOST_SUGGESTED)
        return JsonResponse({"found": found})

    # Columns

    def history_title(self, row: Any) -> str:
        facts = {"number": row.pk, "what": row}
        return gettext("limit %(number)s (%(what)s)") % facts

    @admin.display(description=_("for"))
    def whom(self, row: Any) -> SafeString | str:
        if row.scope == LimitScope.USER:
            return owners.breakable(str(row.owner_login))
        if row.scope == LimitScope.POOL:
            return str(row.owner_pool)
        if row.scope == LimitScope.TIER:
            return gettext("Tier %(tier)s") % {"tier": row.tier}
        return str(row.get_scope_display())

    @admin.display(description=_("uses"))
    def uses(self, row: Any) -> str:
        return limit_words.uses(row)

    @admin.display(description=_("limit"))
    def limit_shown(self, row: Any) -> SafeString | str:
        return limit_words.amount(row)

    @admin.display(description=_("limit"))
    def allowed(self, row: Any) -> str:
        window = limit_words.window(row)
        facts = {"amount": limit_words.amount(row), "window": window[:1].lower() + window[1:]}
        return gettext("%(amount)s, %(window)s") % facts

    @admin.display(description=_("window"))
    def window_shown(self, row: Any) -> str:
        return limit_words.window(row)

    @admin.display(description=_("at the limit"))
    def at_limit(self, row: Any) -> str:
        return limit_words.at_limit(row)

    @admin.display(description=_("counted"))
    def counted(self, row: Any) -> str:
        """In a word: the form has the whole of it."""
        return gettext("exactly") if row.counting == LimitCounting.LEDGER else gettext("in the cache")

    @admin.display(description=_("from"))
    def since(self, row: Any) -> str:
        return moment(row.starts_at) if row.starts_at else self.get_empty_value_display()

    @admin.display(description=_("until"))
    def until(self, row: Any) -> str:
        return moment(row.ends_at) if row.ends_at else self.get_empty_value_display()

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        return badge(*limit_words.state(row, timezone.now()))
