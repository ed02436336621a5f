"""Anomaly rules: a list with their measured precision, and a form that lets a rule be tried out before it is saved."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import admin, messages
from django.contrib.admin.helpers import AdminErrorList, AdminForm
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing import analytics, audit
from django_token_pricing.admin.analytics import anomaly_trying as trying
from django_token_pricing.admin.analytics.anomaly_form import AnomalyRuleForm, initial_of
from django_token_pricing.admin.analytics.section import NAME, tabs
from django_token_pricing.admin.base.history import HistoryMixin, sign
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import Link, ReadOnlyAdmin, list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, number, per_cent
from django_token_pricing.analytics import anomalies
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import Anomaly, AnomalyRule


def save(rule: AnomalyRule, values: dict[str, Any], *, actor: Any, reason: str, tried: str = "") -> AnomalyRule:
    """With a version and an audit event, in one transaction."""
    is_new = rule._state.adding
    before = {name: None if is_new else getattr(rule, name) for name in values}
    changes = {name: (before[name], value) for name, value in values.items() if before[name] != value}
    if tried:
        changes["tried"] = (None, tried)
    with transaction.atomic():
        for name, value in values.items():
            setattr(rule, name, value)
        sign(rule, actor=actor, reason=reason)
        rule.save()
        action = "anomaly_rules.add" if is_new else "anomaly_rules.change"
        audit.record(action, target=rule, actor=actor, reason=reason, changes=changes)
    return rule


@admin.register(AnomalyRule)
class AnomalyRuleAdmin(HistoryMixin, ReadOnlyAdmin):
    section_name = NAME
    paginator = Paginator  # type: ignore[assignment]
    change_list_template = "django_token_pricing/admin/analytics/anomaly_rules.html"
    change_form_template = "django_token_pricing/admin/analytics/anomaly_rule.html"
    list_display = ["name", "state", "place", "sensitivity", "least_shown", "open_alerts", "precision"]
    list_filter = ["kind", "scope", "is_active"]
    parameters = ["kind", "scope", "is_active"]
    search_fields = ["name"]
    search_help_text = _("Name from its first letters")
    readonly_fields = ["name", "state", "looks_for", "place", "sensitivity", "least_shown", "open_alerts", "precision"]
    fields = [*readonly_fields]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(name__istartswith=term) if term else queryset), False

    def tabs(self, request: HttpRequest) -> list[Link]:
        return tabs(self.admin_site, request, "anomalies")

    def list_tools(self, request: HttpRequest) -> list[Link]:
        return [Link(gettext("Alerts"), list_url(self.admin_site, Anomaly))] if self._may_see_alerts(request) else []

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        tools = super().tools(request, row)
        if not self._may_see_alerts(request):
            return tools
        return [Link(gettext("Its alerts"), list_url(self.admin_site, Anomaly, rule__id__exact=row.pk)), *tools]

    def _may_see_alerts(self, request: HttpRequest) -> bool:
        return may_view(self.admin_site, request, Anomaly)

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        said, waiting = anomalies.precision(rows), anomalies.open_alerts(rows)
        for row in rows:
            row.said, row.waiting = said.get(row.pk, (0, 0)), waiting.get(row.pk, 0)

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "change")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_anomalyrule")

    # The usual rules

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_defaults"
        return [path("defaults/", self.admin_site.admin_view(self.defaults_view), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context: dict[str, Any] = {"title": gettext("Anomaly rules")}
        if self.has_add_permission(request) and not AnomalyRule.objects.exists():
            route = "admin:django_token_pricing_anomalyrule_defaults"
            context["defaults_url"] = reverse(route, current_app=self.admin_site.name)
            context["defaults"] = [rule.name for rule in analytics.default_rules()]
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def defaults_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        rules = [] if AnomalyRule.objects.exists() else analytics.default_rules()
        for rule in rules:
            values = {name: str(value) if name == "name" else value for name, value in initial_of(rule).items()}
            save(AnomalyRule(), values, actor=request.user, reason=gettext("The usual rules"))
        if rules:
            words = ngettext("%(count)s rule was added.", "%(count)s rules were added.", len(rules))
            messages.success(request, words % {"count": number(len(rules))})
        return HttpResponseRedirect(list_url(self.admin_site, AnomalyRule))

    # The form

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
            return RulePage(self, request, None).response(extra_context or {})
        rule = self.get_object(request, unquote(object_id))
        if rule is None or not self.has_change_permission(request, rule):
            return super().changeform_view(request, object_id, form_url, extra_context)
        return RulePage(self, request, rule).response(extra_context or {})

    # Columns

    def history_title(self, row: Any) -> str:
        return str(row.name)

    @admin.display(description=_("looks for"))
    def looks_for(self, row: Any) -> str:
        return str(row.get_kind_display())

    @admin.display(description=_("in"))
    def place(self, row: Any) -> str:
        return str(row.get_scope_display())

    @admin.display(description=_("least"))
    def least_shown(self, row: Any) -> str:
        return number(row.least)

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        return badge("ok", gettext("On")) if row.is_active else badge("idle", gettext("Off"))

    @admin.display(description=_("open alerts"))
    def open_alerts(self, row: Any) -> str:
        return number(row.waiting)

    @admin.display(description=_("worth telling"))
    def precision(self, row: Any) -> str:
        """The share of what people said was worth telling, and of how many they said anything."""
        real, not_real = row.said
        if not real + not_real:
            return NOTHING
        words = gettext("%(share)s of %(count)s")
        return words % {"share": per_cent(real / (real + not_real)), "count": number(real + not_real)}


class RulePage:
    """One form for one person: `response` shows it, or does what was sent."""

    def __init__(self, model_admin: AnomalyRuleAdmin, request: HttpRequest, rule: AnomalyRule | None) -> None:
        self.model_admin = model_admin
        self.site = model_admin.admin_site
        self.request = request
        self.rule = rule
        # What the form says below its fields, once values were sent.
        self.is_asked = False
        self.trial: trying.Trial | None = None

    def response(self, extra_context: dict[str, Any]) -> HttpResponse:
        if self.request.method == "POST":
            form = AnomalyRuleForm(self.request.POST)
            if form.is_valid() and (answer := self.act(form)):
                return answer
        else:
            form = AnomalyRuleForm(initial=self.initial())
        return self.draw(form, extra_context)

    def initial(self) -> dict[str, Any]:
        shown = self.rule or AnomalyRule()
        return {"key": uuid4(), **initial_of(shown)}

    def act(self, form: AnomalyRuleForm) -> HttpResponse | None:
        """Save it, if it was tried out. Answers None where the form is shown again."""
        values, given = form.values(), form.cleaned_data
        wanted = anomalies.terms(AnomalyRule(**values))
        tried = ""
        if self.rule is None or anomalies.terms(self.rule) != wanted:
            self.is_asked = True
            self.trial = trying.trial_of(self.site, wanted, key=given["key"])
            if "_try" in self.request.POST:
                self.try_out(form, wanted)
                return None
            if not self.is_tried(form):
                return None
            tried = gettext("no") if given["untried"] else str(self.trial and self.trial.job)
        actor: Any = self.request.user
        is_new = self.rule is None
        rule = save(self.rule or AnomalyRule(), values, actor=actor, reason=given["reason"], tried=tried)
        words = gettext("The rule “%(name)s” is added.") if is_new else gettext("The rule “%(name)s” is changed.")
        messages.success(self.request, words % {"name": rule.name})
        return HttpResponseRedirect(list_url(self.site, AnomalyRule))

    def try_out(self, form: AnomalyRuleForm, wanted: dict[str, Any]) -> None:
        if self.trial is not None:
            return
        key = form.cleaned_data["key"]
        try:
            trying.start(wanted, actor=self.request.user, key=key)
        except TokenPricingError as error:
            form.add_error("untried", error.message)
            return
        self.trial = trying.trial_of(self.site, wanted, key=key)

    def is_tried(self, form: AnomalyRuleForm) -> bool:
        if form.cleaned_data["untried"]:
            return True
        if self.trial is not None and self.trial.is_done:
            # What a trial found has to be read before it is followed, whoever asked for it.
            return self.request.POST.get("_seen") == str(self.trial.job)
        form.add_error("untried", gettext("Try the rule out first, or say that you save it without."))
        return False

    def draw(self, form: AnomalyRuleForm, extra_context: dict[str, Any]) -> HttpResponse:
        is_new = self.rule is None
        fieldsets = [
            (gettext("What it looks for"), {"fields": ["name", ("kind", "scope"), ("sensitivity", "least")]}),
            (gettext("State"), {"fields": ["is_active"]}),
            (gettext("Why"), {"fields": ["reason"], "classes": ["tp-last"]}),
        ]
        admin_form = AdminForm(form, fieldsets, {}, (), model_admin=self.model_admin)  # type: ignore[arg-type]
        context = {
            **self.site.each_context(self.request),
            "title": gettext("Add anomaly rule") if is_new else gettext("Change anomaly rule"),
            "subtitle": None,
            "adminform": admin_form,
            "form": form,
            "object_id": None if self.rule is None else str(self.rule.pk),
            "original": self.rule,
            "is_popup": False,
            "to_field": None,
            "media": self.model_admin.media + form.media,
            "inline_admin_formsets": [],
            "errors": AdminErrorList(form, []),  # type: ignore[arg-type]
            "preserved_filters": "",
            "tabs": self.model_admin.tabs(self.request),
            "tools": [] if self.rule is None else self.model_admin.tools(self.request, self.rule),
            "section_name": self.model_admin.section_name,
            "is_form": True,
            "is_asked": self.is_asked,
            "trial": self.trial,
            "days": trying.DAYS,
            "back": list_url(self.site, AnomalyRule),
            "url": "" if self.rule is None else object_url(self.site, AnomalyRule, self.rule.pk),
            **extra_context,
        }
        return self.model_admin.render_change_form(
            self.request, context, add=is_new, change=not is_new, obj=self.rule, form_url=""
        )
