"""What deeds of a person on one account, lot, hold or use have in common: permission, form, reason, and the way back.

Each form carries a key of its own, so that a form sent twice does its deed once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import jobs, tokens
from django_token_pricing.admin.base.mixins import AnyModelAdmin, Link, list_url, object_url
from django_token_pricing.admin.base.wording import NOTHING, number
from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.forms import DeedForm
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import Job, LedgerEntry, TokenAccount


class Deed(ABC):
    """One deed for one person at one row: `view` asks, does and leads back to the account."""

    name: ClassVar[str]
    permission: ClassVar[str]
    form_class: ClassVar[type[DeedForm]] = DeedForm
    is_adding: ClassVar[bool] = False

    def __init__(self, site: AdminSite, request: HttpRequest, row: Any) -> None:
        self.site = site
        self.request = request
        self.row = row

    # What a deed says and does

    @classmethod
    @abstractmethod
    def link_text(cls) -> str:
        """On the page of the row."""

    def button(self) -> str:
        """Verb and object, without an ellipsis: nothing more is asked."""
        return self.link_text()

    @abstractmethod
    def title(self) -> str: ...

    @abstractmethod
    def lead(self) -> str:
        """What will happen."""

    def facts(self) -> Iterable[tuple[str, str]]:
        """What to know before deciding."""
        balance = tokens.balance(self.account)
        yield _("Account"), owners.name_of(self.account)
        yield _("Available"), number(balance.available)
        yield _("Held"), number(balance.held) if balance.held else NOTHING

    def row_name(self) -> str:
        return owners.name_of(self.row) if isinstance(self.row, TokenAccount) else str(self.row)

    @classmethod
    def is_possible(cls, row: Any) -> bool:
        """Whether the row is in a state in which there is anything to do."""
        return True

    def initial(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def do(self, given: dict[str, Any], key: str) -> str:
        """Do it; answers what to tell."""

    # How

    # What the verb answered, for those who are told of it.
    done: tokens.Grant | tokens.Subtraction | None = None

    def announce(self) -> None:
        """Let a worker tell the customer, once however often the form is sent."""
        if self.done is not None:
            entries = LedgerEntry.objects.filter(account=self.done.account, booked_at=self.done.booked_at)
            event = entries.exclude(event=None).select_related("event").first()
            if event is not None and event.event is not None:
                jobs.announce(event.event, actor=self.actor)

    @property
    def account(self) -> TokenAccount:
        pk = self.row.pk if isinstance(self.row, TokenAccount) else self.row.account_id
        return TokenAccount.objects.select_related("user", "pool").get(pk=pk)

    @property
    def actor(self) -> Any:
        """Logged in, as every view of an admin site makes sure."""
        return self.request.user

    def back(self) -> str:
        row = self.row
        return object_url(self.site, type(row), row.pk)

    def view(self) -> HttpResponse:
        if self.request.method == "POST":
            form = self.form_class(self.request.POST)
            if form.is_valid():
                try:
                    with transaction.atomic(using=router.db_for_write(Job)):
                        told = self.do(form.cleaned_data, f"admin:{form.cleaned_data['key']}")
                        if form.cleaned_data.get("notify"):
                            self.announce()
                except TokenPricingError as error:
                    facts = {name: number(fact) if type(fact) is int else fact for name, fact in error.facts.items()}
                    form.add_error(None, str(error.template) % facts)
                else:
                    messages.success(self.request, told)
                    return HttpResponseRedirect(self.back())
        else:
            form = self.form_class(initial={"key": uuid4(), **self.initial()})
        return self.page(form)

    def page(self, form: DeedForm) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        self.request.current_app = self.site.name
        model = type(self.row)
        model_admin = self.site._registry[model]
        context = {
            **self.site.each_context(self.request),
            "opts": model._meta,
            "media": model_admin.media + form.media,
            "title": self.title(),
            "trail": [
                Link(capfirst(str(model._meta.verbose_name_plural)), list_url(self.site, model)),
                Link(self.row_name(), self.back()),
            ],
            "tabs": model_admin.tabs(self.request),  # type: ignore[attr-defined]
            "section_name": model_admin.section_name,  # type: ignore[attr-defined]
            "form": form,
            "lead": self.lead(),
            "facts": list(self.facts()),
            "button": self.button(),
            "back": self.back(),
            "zone": timezone.get_default_timezone_name(),
        }
        return TemplateResponse(self.request, "django_token_pricing/admin/tokens/deed.html", context)

    def counted(self, words: str, count: int) -> str:
        return words % {"tokens": number(count), "available": number(tokens.balance(self.account).available)}


class DeedsMixin(AnyModelAdmin):
    """Adds to an admin the pages of its rows' deeds, and the links to them."""

    deeds: Sequence[type[Deed]] = ()

    def get_urls(self) -> list[URLPattern]:
        # Before the stock ones, whose last takes every path.
        return [
            path(
                f"<path:object_id>/{deed.name}/",
                self.admin_site.admin_view(self.deed_view),
                {"deed": deed},
                name=self._url_name(deed),
            )
            for deed in self.deeds
        ] + super().get_urls()

    def deed_view(self, request: HttpRequest, object_id: str, deed: type[Deed]) -> HttpResponse:
        if not self.may_do(request, deed):
            raise PermissionDenied
        row: Model | None = super().get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        if not deed.is_possible(row) and request.method != "POST":
            messages.warning(request, _("There is nothing to do here any more: the row has changed meanwhile."))
            return HttpResponseRedirect(object_url(self.admin_site, type(row), row.pk))
        return deed(self.admin_site, request, row).view()

    def may_do(self, request: HttpRequest, deed: type[Deed]) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"django_token_pricing.{deed.permission}")

    def deed_links(self, request: HttpRequest, row: Any) -> list[Link]:
        """What this person can do at this row now."""
        return [
            Link(deed.link_text(), self.deed_url(deed, row), is_adding=deed.is_adding)
            for deed in self.deeds
            if deed.is_possible(row) and self.may_do(request, deed)
        ]

    def deed_url(self, deed: type[Deed], row: Any) -> str:
        return reverse(f"admin:{self._url_name(deed)}", args=(row.pk,), current_app=self.admin_site.name)

    def _url_name(self, deed: type[Deed]) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{deed.name.replace('-', '_')}"
