"""Deeds on many accounts: chosen in the list or all that match its filters, asked for in a form, done as a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_token_pricing import jobs
from django_token_pricing.admin.base.changelist import BEFORE
from django_token_pricing.admin.base.mixins import AnyModelAdmin, Link, list_url, object_url
from django_token_pricing.admin.base.paginator import MOST_COUNTED
from django_token_pricing.admin.base.selection import WholeList, filters_on, selected, site_named
from django_token_pricing.admin.base.wording import number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.forms import KeyForm, TermsForm, TokensField, notify_field
from django_token_pricing.choices import Source
from django_token_pricing.exceptions import InvalidInput, TokenPricingError
from django_token_pricing.models import Job, TokenAccount

# So many accounts are previewed at once, more of them by a worker.
AT_ONCE = 1_000


class BulkSubtractForm(KeyForm):
    amount = TokensField()
    at_most = forms.BooleanField(
        label=gettext_lazy("Take what there is where less is left"),
        required=False,
        help_text=gettext_lazy("Otherwise such accounts are left as they are, and listed."),
    )
    notify = notify_field()


class BulkSetForm(KeyForm):
    amount = TokensField(label=gettext_lazy("Available afterwards"), min_value=0)
    notify = notify_field()


class BulkExpireForm(KeyForm):
    of_source = forms.ChoiceField(
        label=gettext_lazy("Lots"),
        required=False,
        choices=[("", gettext_lazy("All lots")), *((source.value, source.label) for source in Source)],
    )
    notify = notify_field()


class BulkDeed:
    """One deed on many accounts: what it is called, who may do it, what it asks, and the terms that the job gets."""

    name: ClassVar[str]
    permission: ClassVar[str]
    form_class: ClassVar[type[forms.Form]]

    @property
    def kind(self) -> str:
        return f"tokens.{self.name}"

    def action_text(self) -> str:
        raise NotImplementedError

    def title(self) -> str:
        raise NotImplementedError

    def lead(self) -> str:
        raise NotImplementedError

    def terms(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"amount": given["amount"]}


class GrantMany(BulkDeed):
    name = "grant"
    permission = "grant_tokens"
    form_class = TermsForm

    def action_text(self) -> str:
        return _("Grant tokens…")

    def title(self) -> str:
        return _("Grant tokens to many accounts")

    def lead(self) -> str:
        return _(
            "Each account gets a new lot on these terms. The next page shows what would happen; nothing is done yet."
        )

    def terms(self, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "amount": given["amount"],
            "source": given["source"],
            "priority": given["priority"],
            "starts_on": given["starts_on"] and given["starts_on"].isoformat(),
            "expires_on": given["expires_on"] and given["expires_on"].isoformat(),
        }


class SubtractMany(BulkDeed):
    name = "subtract"
    permission = "subtract_tokens"
    form_class = BulkSubtractForm

    def action_text(self) -> str:
        return _("Subtract tokens…")

    def title(self) -> str:
        return _("Subtract tokens from many accounts")

    def lead(self) -> str:
        return _(
            "Lots pay in the order in which they are spent; what is held stays. The next page shows what would happen."
        )

    def terms(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"amount": given["amount"], "at_most": given["at_most"]}


class SetMany(BulkDeed):
    name = "set"
    permission = "set_balance"
    form_class = BulkSetForm

    def action_text(self) -> str:
        return _("Set balance…")

    def title(self) -> str:
        return _("Set what many accounts have available")

    def lead(self) -> str:
        return _("What is missing is granted, what is too much is subtracted. The next page shows what would happen.")


class ExpireMany(BulkDeed):
    name = "expire"
    permission = "expire_tokens"
    form_class = BulkExpireForm

    def action_text(self) -> str:
        return _("Let tokens expire…")

    def title(self) -> str:
        return _("Let tokens of many accounts expire")

    def lead(self) -> str:
        return _("What is available lapses at once; what is held stays. The next page shows what would happen.")

    def terms(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"of_source": given["of_source"] or None}


DEEDS: Sequence[BulkDeed] = (GrantMany(), SubtractMany(), SetMany(), ExpireMany())


def _in_list(chosen: dict[str, Any], actor: Any) -> QuerySet[Any]:
    """All accounts that a list with these filters shows this person. Raises InvalidInput where it shows none now."""
    try:
        found, shown = selected(site_named(chosen["site"], TokenAccount), TokenAccount, actor, chosen["query"])
    except (PermissionDenied, BadRequest) as error:
        raise InvalidInput(detail=str(error) or _("Who asked for this may not see the accounts any more.")) from error
    if shown.told:
        raise InvalidInput(detail=" ".join(shown.told))
    return found


jobs.register_selection("list", _in_list)


class BulkMixin(AnyModelAdmin):
    """Adds the deeds to the list of accounts, as actions that lead to a form."""

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Only what this person may do; nobody deletes accounts."""
        if not self.has_view_permission(request):
            return {}
        return {deed.name: (self._action(deed), deed.name, deed.action_text()) for deed in DEEDS if _may(request, deed)}

    def _action(self, deed: BulkDeed) -> Callable[..., HttpResponse]:
        def ask(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
            if request.POST.get("select_across") == "1":
                query = QueryDict(request.GET.urlencode(), mutable=True)
                for name in (PAGE_VAR, ORDER_VAR, BEFORE):
                    query.pop(name, None)
                chosen = {"list": query.urlencode()}
            else:
                chosen = {"accounts": ",".join(request.POST.getlist(ACTION_CHECKBOX_NAME))}
            return HttpResponseRedirect(f"{self._bulk_url(deed)}?{urlencode(chosen)}")

        return ask

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                f"many/{deed.name}/",
                self.admin_site.admin_view(self.bulk_view),
                {"deed": deed},
                name=f"{self.opts.app_label}_{self.opts.model_name}_many_{deed.name}",
            )
            for deed in DEEDS
        ] + super().get_urls()

    def _bulk_url(self, deed: BulkDeed) -> str:
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_many_{deed.name}"
        return reverse(route, current_app=self.admin_site.name)

    def bulk_view(self, request: HttpRequest, deed: BulkDeed) -> HttpResponse:
        if not self.has_view_permission(request) or not _may(request, deed):
            raise PermissionDenied
        chosen = _Chosen(self, request)
        if chosen.refusal:
            messages.warning(request, chosen.refusal)
            return HttpResponseRedirect(chosen.back)
        form = deed.form_class(request.POST) if request.method == "POST" else deed.form_class(initial={"key": uuid4()})
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            params = {"selection": chosen.selection, "notify": given["notify"], **deed.terms(given)}
            now = chosen.count <= AT_ONCE
            try:
                job = jobs.create(deed.kind, params=params, actor=request.user, key=given["key"], now=now)
            except TokenPricingError as error:
                form.add_error(None, error.message)
            else:
                return HttpResponseRedirect(object_url(self.admin_site, Job, job.pk))
        return self._bulk_page(request, deed, form, chosen)

    def _bulk_page(self, request: HttpRequest, deed: BulkDeed, form: forms.Form, chosen: _Chosen) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media + form.media,
            "title": deed.title(),
            "trail": [Link(capfirst(str(self.opts.verbose_name_plural)), list_url(self.admin_site, TokenAccount))],
            "tabs": self.tabs(request),  # type: ignore[attr-defined]
            "section_name": self.section_name,  # type: ignore[attr-defined]
            "form": form,
            "lead": deed.lead(),
            "facts": chosen.facts(),
            "facts_title": _("Chosen"),
            "button": _("Show what would happen"),
            "back": chosen.back,
            "zone": timezone.get_default_timezone_name(),
        }
        return TemplateResponse(request, "django_token_pricing/admin/tokens/deed.html", context)


def _may(request: HttpRequest, deed: BulkDeed) -> bool:
    return request.user.has_perm(f"django_token_pricing.{deed.permission}")


class _Chosen:
    """Which accounts the URL of a form names: their numbers, or a list with its filters."""

    def __init__(self, model_admin: Any, request: HttpRequest) -> None:
        self.query = request.GET.get("list", "")
        self.back = list_url(model_admin.admin_site, TokenAccount) + (f"?{self.query}" if self.query else "")
        self.list: WholeList | None = None
        self.pks: list[int] = []
        self.selection: dict[str, Any]
        if "list" in request.GET:
            self.selection = {"by": "list", "site": model_admin.admin_site.name, "query": self.query}
            try:
                found, self.list = selected(model_admin.admin_site, TokenAccount, request.user, self.query)
            except BadRequest:
                found = TokenAccount.objects.none()
            self.count = found.order_by().values("pk")[: MOST_COUNTED + 1].count()
        else:
            texts = request.GET.get("accounts", "").split(",")
            pks = [int(text) for text in texts if text.isdecimal() and len(text) < 19][:AT_ONCE]
            found = model_admin.get_queryset(request).filter(pk__in=pks).order_by("pk")
            self.pks = list(found.values_list("pk", flat=True))
            self.selection = {"by": "accounts", "pks": self.pks}
            self.count = len(self.pks)

    @property
    def refusal(self) -> str:
        if self.list is not None and self.list.told:
            return " ".join(self.list.told)
        return "" if self.count else _("No account was chosen.")

    def facts(self) -> list[tuple[str, str]]:
        if self.list is None:
            rows = owners.with_owner(TokenAccount.objects.filter(pk__in=self.pks[:5]), "").order_by("pk")
            names = [owners.name(row.owner_login, row.owner_pool, row.pk) for row in rows]
            more = self.count - len(names)
            if more > 0:
                names.append(ngettext("and %(count)s more", "and %(count)s more", more) % {"count": number(more)})
            return [(_("Accounts"), number(self.count)), (_("Owners"), ", ".join(names))]
        words = _("more than %(count)s") if self.count > MOST_COUNTED else "%(count)s"
        facts = [(_("Accounts"), words % {"count": number(min(self.count, MOST_COUNTED))})]
        facts += [(capfirst(name), value) for name, value in filters_on(self.list)]
        if len(facts) == 1:
            facts.append((_("Filter"), _("none: all accounts")))
        return facts
