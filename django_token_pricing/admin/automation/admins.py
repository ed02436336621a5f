"""Policies of renewal with their form and preview, and the renewals with what is due."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_token_pricing.admin.automation.forms import PolicyForm, SampleForm
from django_token_pricing.admin.automation.previews import preview_of
from django_token_pricing.admin.base.history import EditedMixin
from django_token_pricing.admin.base.markup import badge, link
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, day, moment, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.automation import renewals
from django_token_pricing.choices import PeriodOutcome, RenewalState, Rollover
from django_token_pricing.models import Job, Renewal, RenewalPeriod, RenewalPolicy, TokenAccount

SECTION: list[tuple[type[Model], Any]] = [(RenewalPolicy, _("Policies")), (Renewal, _("Renewals"))]
STATES = {
    RenewalState.ACTIVE: "ok",
    RenewalState.WAITING: "warn",
    RenewalState.FAILED: "bad",
    RenewalState.ENDED: "idle",
}
READ: list[str] = [
    "reference",
    "owner",
    "policy_code",
    "state_shown",
    "period",
    "worth",
    "due",
    "counted_from",
    "time_zone",
    "quantity",
    "tries",
    "problem_shown",
]
MAY_RENEW = "django_token_pricing.renew_subscriptions"
MOST_CHOSEN = 1_000
MOST_PERIODS = 24


class RenewalsAdmin(ReadOnlyAdmin):
    section = SECTION
    section_name = _("Renewal")


@admin.register(RenewalPolicy)
class RenewalPolicyAdmin(EditedMixin, RenewalsAdmin):
    form = PolicyForm
    deeds_name = "policies"
    ordering = ["code"]
    # All are counted: they are few.
    paginator = Paginator  # type: ignore[assignment]
    change_form_template = "django_token_pricing/admin/automation/policy.html"
    list_display = ["code", "given", "every", "lasting", "carried", "is_active"]
    list_filter = ["is_active"]
    parameters = ["is_active"]
    search_fields = ["code"]
    search_help_text = _("Code from its first letters")
    fieldsets = [
        (_("Plan"), {"fields": ["code", "is_active", "starts_at"]}),
        (_("Period"), {"fields": [("count", "unit"), "anchor", "missed"]}),
        (_("Tokens"), {"fields": ["tokens", "is_per_seat", "priority", "lasts", "lasts_days"]}),
        (
            _("Carried over"),
            {"fields": ["rollover", "rollover_percent", "rollover_cap", "rollover_days", "rollover_periods"]},
        ),
        (_("Changes"), {"fields": ["on_upgrade", "on_downgrade", "on_past_due", "on_cancel"]}),
        (_("Why"), {"fields": ["reason"], "classes": ["tp-last"]}),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "change")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_renewalpolicy")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        may = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        return [part for part in self.fieldsets if may or "reason" not in part[1]["fields"]]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(code__istartswith=term) if term else queryset), False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"starts_at": timezone.now().replace(second=0, microsecond=0)}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With the preview: of the form where that was asked for, otherwise of the policy as it is."""
        form, policy = context["adminform"].form, kwargs.get("obj")
        is_unsaved = getattr(form, "is_preview", False) and not form.errors
        sample = SampleForm.of(request.GET)
        if is_unsaved:
            policy = form.instance
        if policy is not None and (is_unsaved or not form.is_bound):
            context["preview"] = preview_of(policy, sample)
            context["sample"] = sample
        context["is_unsaved"] = is_unsaved
        context["may_preview"] = "reason" in form.fields
        return super().render_change_form(request, context, *args, **kwargs)

    # Columns

    @admin.display(description=_("tokens"))
    def given(self, row: Any) -> str:
        if row.is_per_seat:
            return gettext("%(tokens)s for each seat") % {"tokens": number(row.tokens)}
        return number(row.tokens)

    @admin.display(description=_("period"))
    def every(self, row: Any) -> str:
        return period_words(row)

    @admin.display(description=_("tokens last"))
    def lasting(self, row: Any) -> str:
        if row.lasts_days:
            words = ngettext("%(count)s day", "%(count)s days", row.lasts_days)
            return words % {"count": number(row.lasts_days)}
        return str(row.get_lasts_display())

    @admin.display(description=_("carried over"))
    def carried(self, row: Any) -> str:
        if row.rollover == Rollover.NONE:
            return NOTHING
        share = f"{row.rollover_percent or 100}%"
        if row.rollover_cap:
            return gettext("%(share)s, at most %(tokens)s") % {"share": share, "tokens": number(row.rollover_cap)}
        return share


def period_words(policy: Any) -> str:
    words = {
        "day": ngettext("%(count)s day", "%(count)s days", policy.count),
        "month": ngettext("%(count)s month", "%(count)s months", policy.count),
        "year": ngettext("%(count)s year", "%(count)s years", policy.count),
    }[policy.unit]
    return words % {"count": number(policy.count)}


@admin.register(Renewal)
class RenewalAdmin(RenewalsAdmin):
    change_form_template = "django_token_pricing/admin/automation/renewal.html"
    ordering = ["-subscription"]
    list_display = ["reference", "owner", "policy_code", "state_shown", "period", "worth", "due", "problem_shown"]
    list_filter = ["state"]
    parameters = ["state"]
    search_fields = ["subscription"]
    search_help_text = _("Login of the user or reference of the subscription, from the first letters")
    actions = ["renew_now"]  # type: ignore[assignment]
    fields = [*READ]
    readonly_fields = READ

    def described(self, queryset: QuerySet[Any]) -> Any:
        return queryset.annotate(
            login=F(f"subscription__user__{owners.login_field()}"),
            ref=F("subscription__external_ref"),
            code=F("policy__code"),
            account_pk=F("subscription__user__token_account"),
        )

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        may_open = may_view(self.admin_site, request, TokenAccount)
        may_policy = may_view(self.admin_site, request, RenewalPolicy)
        for row in rows:
            known = may_open and row.account_pk
            row.account_url = object_url(self.admin_site, TokenAccount, row.account_pk) if known else ""
            row.policy_url = (
                object_url(self.admin_site, RenewalPolicy, row.policy_id) if may_policy and row.policy_id else ""
            )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        users = owners.find_users(term)
        by_ref = queryset.filter(subscription__external_ref__startswith=term)
        return by_ref | queryset.filter(subscription__user__in=users), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """None for a number that no database takes: a key that is another table's is not checked by its field."""
        if not (object_id.isascii() and object_id.isdecimal() and len(object_id) < 19):
            return None
        return super().get_object(request, object_id, from_field)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With its periods, the newest first."""
        row = self.get_object(request, unquote(object_id))
        context = {} if row is None else self._page(request, row)
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def _page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        found = RenewalPeriod.objects.filter(subscription=row.pk).select_related("policy").order_by("-starts_at")
        lines = [
            {
                "start": moment(one.starts_at),
                "end": moment(one.ends_at),
                "policy": one.policy.code,
                "state": "ok" if one.outcome == PeriodOutcome.GRANTED else "idle",
                "outcome": one.get_outcome_display(),
                "tokens": number(one.tokens) if one.tokens else NOTHING,
                "carried": number(one.carried) if one.carried else NOTHING,
            }
            for one in found[: MOST_PERIODS + 1]
        ]
        return {
            "periods": lines[:MOST_PERIODS],
            "is_cut": len(lines) > MOST_PERIODS,
            "most": MOST_PERIODS,
            "zone": timezone.get_current_timezone_name(),
            "renew_url": self._renew_url(row) if self._may_renew(request, row) else "",
        }

    # Renewing now

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_renew"
        return [
            path("<path:object_id>/renew/", self.admin_site.admin_view(self.renew_view), name=name),
            *super().get_urls(),
        ]

    def _renew_url(self, row: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_renew"
        return reverse(name, args=(row.pk,), current_app=self.admin_site.name)

    def _may_renew(self, request: HttpRequest, row: Any) -> bool:
        return request.user.has_perm(MAY_RENEW) and row.due_at is not None and row.due_at <= timezone.now()

    def has_renew_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(MAY_RENEW)

    def renew_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_renew_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return self._renew(request, [row.pk])

    @admin.action(description=_("Renew now what is due"), permissions=["renew"])
    def renew_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        due = queryset.filter(due_at__lte=timezone.now())
        return self._renew(request, list(due.order_by("pk").values_list("pk", flat=True)[:MOST_CHOSEN]))

    def _renew(self, request: HttpRequest, chosen: list[int]) -> HttpResponse:
        back = HttpResponseRedirect(request.get_full_path() if len(chosen) != 1 else self._row_url(chosen[0]))
        if not chosen:
            messages.warning(request, gettext("Of those chosen nothing is due."))
            return back
        job = renewals.start_chosen(chosen, as_of=timezone.now(), actor=request.user, key=uuid4())
        messages.success(request, gettext("The renewal is under way."))
        url = object_url(self.admin_site, Job, job.pk)
        return HttpResponseRedirect(url) if url else back

    def _row_url(self, pk: int) -> str:
        return object_url(self.admin_site, Renewal, pk)

    # Columns

    @admin.display(description=_("subscription"))
    def reference(self, row: Any) -> str:
        return str(row.ref)

    @admin.display(description=_("user"))
    def owner(self, row: Any) -> SafeString | str:
        text = NOTHING if row.login is None else owners.breakable(str(row.login))
        return link(getattr(row, "account_url", ""), text)

    @admin.display(description=_("policy"))
    def policy_code(self, row: Any) -> SafeString | str:
        return link(getattr(row, "policy_url", ""), row.code) if row.code else NOTHING

    @admin.display(description=_("state"))
    def state_shown(self, row: Any) -> SafeString:
        return badge(STATES[RenewalState(row.state)], str(capfirst(str(row.get_state_display()))))

    @admin.display(description=_("period"))
    def period(self, row: Any) -> str:
        if row.period_starts_at is None or row.period_ends_at is None:
            return NOTHING
        return f"{day(row.period_starts_at)} – {day(row.period_ends_at)}"

    @admin.display(description=_("worth"))
    def worth(self, row: Any) -> str:
        return number(row.granted) if row.granted else NOTHING

    @admin.display(description=_("due"))
    def due(self, row: Any) -> str:
        return moment(row.due_at) if row.due_at else NOTHING

    @admin.display(description=_("counted from"))
    def counted_from(self, row: Any) -> str:
        return moment(row.anchor_at) if row.anchor_at else NOTHING

    @admin.display(description=_("problem"))
    def problem_shown(self, row: Any) -> str:
        return row.problem or NOTHING
