"""The form of a limit: what is saved goes through set_limit, after it was tried out and, where needed, agreed to."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import AdminErrorList, AdminForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing import approvals
from django_token_pricing.admin.base.mixins import list_url, object_url
from django_token_pricing.admin.base.wording import number
from django_token_pricing.admin.limits import trying
from django_token_pricing.admin.limits.forms import LimitForm, initial_of
from django_token_pricing.admin.tokens import owners
from django_token_pricing.choices import LimitScope, LimitWindow
from django_token_pricing.exceptions import InvalidMoment, LimitTaken, TokenPricingError
from django_token_pricing.models import Approval, LimitRule, TokenAccount
from django_token_pricing.tokens.arguments import MOST
from django_token_pricing.tokens.limits import approval as second_person
from django_token_pricing.tokens.limits import changes, rules


class LimitPage:
    """One form for one person: `response` shows it, or does what was sent."""

    def __init__(self, model_admin: ModelAdmin[LimitRule], request: HttpRequest, rule: LimitRule | None) -> None:
        self.model_admin = model_admin
        self.site = model_admin.admin_site
        self.request = request
        self.rule = rule
        # What the form says below its fields, once values were sent.
        self.trial: trying.Trial | None = None
        self.is_tighter = False
        self.is_asking = False
        self.size = 0

    def response(self, extra_context: dict[str, Any]) -> HttpResponse:
        if self.request.method == "POST":
            form = LimitForm(self.request.POST, rule=self.rule, initial=self.initial(), suggest=self.suggest_url())
            if form.is_valid() and (answer := self.act(form)):
                return answer
        else:
            form = LimitForm(rule=self.rule, initial=self.initial(), suggest=self.suggest_url())
        return self.draw(form, extra_context)

    # What is sent

    def act(self, form: LimitForm) -> HttpResponse | None:
        """Do what was asked for, unless there is something to say first. Answers None where the form is shown again."""
        now = timezone.now()
        try:
            wanted = rules.draft(**form.values())
            self.require_possible(wanted)
        except TokenPricingError as error:
            self.complain(form, error)
            return None
        if self.rule is not None and changes.is_same(wanted, self.rule):
            messages.info(self.request, _("Nothing has changed."))
            return HttpResponseRedirect(self.back())
        self.is_tighter = changes.is_tighter(wanted, before=self.rule, as_of=now)
        self.size = changes.loosens_by(wanted, before=self.rule, as_of=now)
        if self.is_tighter:
            key = form.cleaned_data["key"]
            self.trial = trying.trial_of(self.site, wanted, self.rule, key=key)
            if "_try" in self.request.POST:
                if self.trial is None and self.may_try:
                    self.try_out(form, wanted)
                return None
        if not self.is_tried(form):
            return None
        return self.save_or_ask(form, wanted)

    def require_possible(self, wanted: LimitRule) -> None:
        """What set_limit would refuse anyway is said before somebody tries it out or asks for it."""
        now = timezone.now()
        other = changes.taken(wanted, except_for=self.rule, as_of=now)
        if other is not None:
            raise LimitTaken(rule=other.pk)
        if wanted.ends_at is not None and wanted.ends_at <= now:
            raise InvalidMoment(name="ends_at", value=wanted.ends_at, detail=_("the limit would be over already."))

    def try_out(self, form: LimitForm, wanted: LimitRule) -> None:
        key = form.cleaned_data["key"]
        try:
            trying.start(wanted, self.rule, actor=self.request.user, key=key)
        except TokenPricingError as error:
            form.add_error("untried", error.message)
            return
        self.trial = trying.trial_of(self.site, wanted, self.rule, key=key)

    def is_tried(self, form: LimitForm) -> bool:
        if not self.is_tighter or form.cleaned_data["untried"]:
            return True
        if self.trial is not None and self.trial.is_done:
            # What a trial found has to be read before it is followed, whoever asked for it.
            return self.request.POST.get("_seen") == str(self.trial.job)
        form.add_error("untried", _("This limit is tighter. Try it out first, or say that you save it without."))
        return False

    def tried_out(self) -> str:
        """How it was tried on past usage, for the audit trail."""
        if not self.is_tighter:
            return ""
        if self.trial is not None and self.trial.is_done:
            return _("job %(number)s") % {"number": self.trial.job}
        return _("no")

    def save_or_ask(self, form: LimitForm, wanted: LimitRule) -> HttpResponse | None:
        given, actor = form.cleaned_data, self.request.user
        try:
            if approvals.is_needed(second_person.KIND, self.size):
                self.is_asking = True
                if "_ask" not in self.request.POST:
                    return None
                asked = second_person.ask(
                    self.rule,
                    wanted,
                    actor=actor,
                    reason=given["reason"],
                    key=given["key"],
                    tried_out=self.tried_out(),
                )
                messages.success(self.request, _("Somebody else is asked to agree. Nothing has changed yet."))
                return HttpResponseRedirect(object_url(self.site, Approval, asked.pk))
            saved = rules.set_limit(
                **form.values(),
                rule=self.rule,
                reason=given["reason"],
                actor=actor,  # type: ignore[arg-type]
                tried_out=self.tried_out(),
            )
        except TokenPricingError as error:
            self.complain(form, error)
            return None
        words = _("The limit is set.") if self.rule is None else _("The limit is changed.")
        messages.success(self.request, words)
        return HttpResponseRedirect(object_url(self.site, LimitRule, saved.pk))

    def complain(self, form: LimitForm, error: TokenPricingError) -> None:
        if isinstance(error, LimitTaken):
            form.add_error(None, self.taken(error.facts["rule"]))
        elif isinstance(error, InvalidMoment) and error.facts["name"] in form.fields:
            form.add_error(error.facts["name"], _("It is over already."))
        else:
            form.add_error(None, error.message)

    def taken(self, rule: int) -> SafeString:
        return format_html(
            '{} <a href="{}">{}</a>',
            _("There is a limit for the same already."),
            object_url(self.site, LimitRule, rule),
            _("Change limit %(number)s instead, or retire it.") % {"number": rule},
        )

    # What is shown

    @property
    def may_try(self) -> bool:
        return self.request.user.has_perm("django_token_pricing.replay_limitrule")

    def back(self) -> str:
        if self.rule is None:
            return list_url(self.site, LimitRule)
        return object_url(self.site, LimitRule, self.rule.pk)

    def suggest_url(self) -> str:
        return reverse("admin:django_token_pricing_limitrule_suggest", current_app=self.site.name)

    def initial(self) -> dict[str, Any]:
        if self.rule is not None:
            return {"key": uuid4(), **initial_of(self.rule)}
        return {"key": uuid4(), "window": LimitWindow.DAY.value, **self.whom()}

    def whom(self) -> dict[str, Any]:
        """For whom an account's page asks to add one."""
        text = self.request.GET.get("account", "")
        number_of_account = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
        if not number_of_account or not self.may_view_accounts:
            return {}
        account = owners.with_owner(TokenAccount.objects.filter(pk=number_of_account), "").first()
        if account is None or account.is_closed:
            return {}
        if account.pool_id is not None:
            return {"scope": LimitScope.POOL, "pool": account.owner_pool}
        return {"scope": LimitScope.USER, "user": account.owner_login}

    @property
    def may_view_accounts(self) -> bool:
        return self.request.user.has_perm("django_token_pricing.view_tokenaccount")

    def draw(self, form: LimitForm, extra_context: dict[str, Any]) -> HttpResponse:
        is_new = self.rule is None
        admin_form = AdminForm(form, self.fieldsets(), {}, (), model_admin=self.model_admin)  # type: ignore[arg-type]
        context = {
            **self.site.each_context(self.request),
            "title": _("Add limit") if is_new else _("Change limit"),
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
            "preserved_filters": self.model_admin.get_preserved_filters(self.request),
            "tabs": self.model_admin.tabs(self.request),  # type: ignore[attr-defined]
            "section_name": self.model_admin.section_name,  # type: ignore[attr-defined]
            "is_form": True,
            "is_tighter": self.is_tighter,
            "is_asking": self.is_asking,
            "trial": self.trial,
            "days": trying.DAYS,
            "may_try": self.may_try,
            "size": _("without end") if self.size >= MOST else number(self.size),
            "above": number(approvals.limit_of(second_person.KIND) or 0) if self.is_asking else "",
            "button": _("Set limit") if is_new else _("Save"),
            "back": self.back(),
            **extra_context,
        }
        return self.model_admin.render_change_form(
            self.request, context, add=is_new, change=not is_new, obj=self.rule, form_url=""
        )

    def fieldsets(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (_("For whom"), {"fields": ["scope", "user", "pool", "tier"]}),
            (
                _("What is limited"),
                {"fields": [("model", "feature"), ("metric", "window"), ("alignment", "time_zone"), "limit"]},
            ),
            (_("At the limit"), {"fields": [("mode", "grace"), ("counting", "on_failure")]}),
            (_("When"), {"fields": [("starts_at", "ends_at")]}),
            (_("Why"), {"fields": ["reason"], "classes": ["tp-last"]}),
        ]
