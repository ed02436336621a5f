"""Emergency boosts: the form at an account or a pool, and the policies that say how large they may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import approvals, audit, tokens
from django_token_pricing.admin.base.history import EditedMixin, sign
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import list_url, may_view, object_url
from django_token_pricing.admin.base.wording import NOTHING, number
from django_token_pricing.admin.tokens.deed_pages import Deed, DeedsMixin
from django_token_pricing.admin.tokens.forms import AmountForm, DeedForm, TokensField, reason_field
from django_token_pricing.admin.tokens.lists import TokensAdmin
from django_token_pricing.exceptions import ApprovalNeeded
from django_token_pricing.lib.texts import is_storable
from django_token_pricing.models import Approval, BoostPolicy
from django_token_pricing.tokens.boosts import KIND, MOST_HOURS, allowance


class BoostForm(AmountForm):
    hours = forms.IntegerField(
        label=gettext_lazy("Hours"),
        min_value=1,
        max_value=MOST_HOURS,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "class": "num", "autocomplete": "off"}),
        help_text=gettext_lazy("What is left after so many hours is gone by itself."),
    )
    # Set once the page has said that a second person is needed.
    ask = forms.BooleanField(required=False, widget=forms.HiddenInput)

    field_order = ["amount", "hours"]


class Boost(Deed):
    """At an account. Where a second person is needed, the page says so, and its button asks for approval."""

    name = "boost"
    permission = "boost_tokens"
    form_class = BoostForm

    approval: Approval | None = None
    is_to_ask = False

    @classmethod
    def link_text(cls) -> str:
        return _("Emergency boost")

    def button(self) -> str:
        return _("Ask for approval") if self.is_to_ask else _("Give boost")

    def title(self) -> str:
        return _("Emergency boost for %(name)s") % {"name": self.row_name()}

    def lead(self) -> str:
        if self.is_to_ask:
            return _("Nothing is given yet. Who may decide sees your reason, and gives the boost by approving it.")
        return _("Tokens for some hours, spent before all others. What is left then is gone by itself.")

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return not row.is_closed

    def facts(self) -> Iterable[tuple[str, str]]:
        balance = tokens.balance(self.row)
        yield _("Account"), self.row_name()
        yield _("Available"), number(balance.available)
        allowed = allowance(self.row)
        if allowed is None:
            yield _("Boost policy"), _("None. Somebody has to make one before boosts can be given.")
            return
        yield _("Most tokens"), number(allowed.most_tokens)
        yield _("Most hours"), number(allowed.most_hours)
        yield _("Boosts this month"), number(allowed.given)
        yield _("Left this month"), _("Any number") if allowed.left is None else number(allowed.left)
        above = approvals.limit_of(KIND)
        if above is not None and above < allowed.most_tokens:
            yield _("Approval above"), number(above)

    def do(self, given: dict[str, Any], key: str) -> str:
        terms = {"hours": given["hours"], "reason": given["reason"], "actor": self.actor}
        if given["ask"] and approvals.is_needed(KIND, given["amount"]):
            self.approval = tokens.ask_boost(self.row, given["amount"], key=UUID(str(given["key"])), **terms)
            return _("Approval was asked for. The boost is given when a second person agrees.")
        try:
            done = self.done = tokens.boost(self.row, given["amount"], key=key, **terms)
        except ApprovalNeeded:
            self.is_to_ask = True
            raise
        words = ngettext(
            "%(tokens)s token was given for %(hours)s hours. Available now: %(available)s.",
            "%(tokens)s tokens were given for %(hours)s hours. Available now: %(available)s.",
            done.amount,
        )
        facts = {"tokens": done.amount, "hours": given["hours"], "available": done.balance_after}
        return words % {name: number(count) for name, count in facts.items()}

    def page(self, form: DeedForm) -> HttpResponse:
        if self.is_to_ask:
            form.data = {**form.data.dict(), "ask": "on"}  # type: ignore[attr-defined]
            # The customer gets nothing yet that could be told of.
            del form.fields["notify"]
        return super().page(form)

    def back(self) -> str:
        if self.approval is not None and may_view(self.site, self.request, Approval):
            return object_url(self.site, Approval, self.approval.pk)
        return super().back()


class BoostPool(Boost):
    @classmethod
    def is_possible(cls, row: Any) -> bool:
        return True

    def row_name(self) -> str:
        return str(self.row.name)

    def announce(self) -> None:
        """A pool has nobody to tell."""


# Policies


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    most_tokens = TokensField(label=gettext_lazy("Most tokens"))
    reason = reason_field()

    class Meta:
        model = BoostPolicy
        fields = ["tier", "most_tokens", "most_hours", "per_month"]

    def clean_tier(self) -> str:
        tier: str = self.cleaned_data["tier"]
        if not is_storable(tier):
            raise forms.ValidationError(_("It holds a character that cannot be stored."))
        return tier


class DeletePolicy(Deed):
    name = "delete"
    permission = "delete_boostpolicy"

    @classmethod
    def link_text(cls) -> str:
        return _("Delete")

    def button(self) -> str:
        return _("Delete policy")

    def title(self) -> str:
        return _("Delete the boost policy for “%(tier)s”?") % {"tier": str(self.row)}

    def lead(self) -> str:
        if self.row.tier:
            return _("The policy for all other tiers counts then; without one, such accounts get no boosts.")
        return _("Accounts whose tier has no policy of its own get no boosts then.")

    def facts(self) -> Iterable[tuple[str, str]]:
        policy: BoostPolicy = self.row
        yield _("Tier"), str(policy)
        yield _("Most tokens"), number(policy.most_tokens)
        yield _("Most hours"), number(policy.most_hours)
        yield _("Boosts a month"), _("Any number") if policy.per_month is None else number(policy.per_month)

    def back(self) -> str:
        return list_url(self.site, BoostPolicy)

    def do(self, given: dict[str, Any], key: str) -> str:
        with transaction.atomic(using=router.db_for_write(BoostPolicy)):
            for policy in BoostPolicy.objects.select_for_update().filter(pk=self.row.pk):
                audit.record("boost_policies.delete", target=policy, actor=self.actor, reason=given["reason"])
                sign(policy, actor=self.actor, reason=given["reason"])
                policy.delete()
        return _("The boost policy for “%(tier)s” was deleted.") % {"tier": str(self.row)}


@admin.register(BoostPolicy)
class BoostPolicyAdmin(EditedMixin, DeedsMixin, TokensAdmin):
    form = PolicyForm
    deeds = [DeletePolicy]
    deeds_name = "boost_policies"
    list_display = ["of_tier", "tokens", "hours", "a_month"]
    search_fields = ["tier"]
    search_help_text = gettext_lazy("Tier from its first letters")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(tier__istartswith=term) if term else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, "change")

    def _may(self, request: HttpRequest, deed: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed}_boostpolicy")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fieldsets: list[Any] = [(None, {"fields": ["tier", "most_tokens", "most_hours", "per_month"]})]
        if self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj):
            fieldsets.append((_("Why"), {"fields": ["reason"]}))
        return fieldsets

    @admin.display(description=gettext_lazy("tier"))
    def of_tier(self, row: Any) -> SafeString | str:
        return row.tier or badge("info", str(row))

    @admin.display(description=gettext_lazy("most tokens"))
    def tokens(self, row: Any) -> str:
        return number(row.most_tokens)

    @admin.display(description=gettext_lazy("longest, in hours"))
    def hours(self, row: Any) -> str:
        return number(row.most_hours)

    @admin.display(description=gettext_lazy("boosts a month"))
    def a_month(self, row: Any) -> str:
        return NOTHING if row.per_month is None else number(row.per_month)
