"""Deeds on packages: one is deleted from its page, chosen ones are switched on or off or deleted from the list.

The list's actions lead to a page with an address of its own, which asks for the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import audit
from django_token_pricing.admin.base.history import sign
from django_token_pricing.admin.base.mixins import Link, list_url
from django_token_pricing.admin.base.wording import NOTHING, decimal, number
from django_token_pricing.admin.tokens.deed_pages import Deed
from django_token_pricing.admin.tokens.forms import ReasonForm
from django_token_pricing.audit import versions
from django_token_pricing.exceptions import InvalidInput, TokenPricingError
from django_token_pricing.models import TokenPackage

# So many fit an address, and nobody chooses more by hand.
MOST_CHOSEN = 500


class DeletePackage(Deed):
    name = "delete"
    permission = "delete_tokenpackage"

    @classmethod
    def link_text(cls) -> str:
        return _("Delete")

    def button(self) -> str:
        return _("Delete package")

    def title(self) -> str:
        return _("Delete the package “%(name)s”?") % {"name": self.row.name}

    def lead(self) -> str:
        return _("It goes with its prices; its history stays. To take it off sale and keep it, switch it off instead.")

    def facts(self) -> Iterable[tuple[str, str]]:
        return _facts(self.row)

    def back(self) -> str:
        return list_url(self.site, TokenPackage)

    def do(self, given: dict[str, Any], key: str) -> str:
        with transaction.atomic(using=router.db_for_write(TokenPackage)):
            for package in TokenPackage.objects.select_for_update().filter(pk=self.row.pk):
                _record("packages.delete", [package], self.actor, given["reason"], {})
                _delete(package, actor=self.actor, reason=given["reason"])
        return _("The package “%(name)s” was deleted.") % {"name": self.row.name}


class ChosenPackages(ABC):
    """One deed for one person at the packages chosen in the list: `view` asks, does and leads back to the list."""

    name: ClassVar[str]
    permission: ClassVar[str]

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        self.site = site
        self.request = request

    @classmethod
    @abstractmethod
    def button(cls) -> str: ...

    @abstractmethod
    def title(self, count: int) -> str: ...

    @abstractmethod
    def lead(self) -> str: ...

    @abstractmethod
    def do(self, packages: Sequence[TokenPackage], reason: str) -> str:
        """Do it to these rows, which are locked; answers what to tell."""

    def view(self) -> HttpResponse:
        given = self.request.POST if self.request.method == "POST" else self.request.GET
        chosen = TokenPackage.objects.filter(pk__in=_keys(given.get("rows", ""))).order_by("place", "code")
        form = ReasonForm(self.request.POST) if self.request.method == "POST" else ReasonForm(initial=_initial(chosen))
        if form.is_bound and form.is_valid():
            told = ""
            try:
                with transaction.atomic(using=router.db_for_write(TokenPackage)):
                    packages = list(chosen.select_for_update())
                    told = self.do(packages, form.cleaned_data["reason"]) if packages else ""
            except TokenPricingError as error:
                form.add_error(None, error.message)
            if told:
                messages.success(self.request, told)
                return HttpResponseRedirect(list_url(self.site, TokenPackage))
        packages = list(chosen.prefetch_related("prices"))
        if not packages:
            messages.warning(self.request, _("There is nothing to do here any more: choose packages in the list."))
            return HttpResponseRedirect(list_url(self.site, TokenPackage))
        return self.page(form, packages)

    def page(self, form: ReasonForm, packages: Sequence[TokenPackage]) -> HttpResponse:
        # As the stock views do: links in templates stay on this site.
        self.request.current_app = self.site.name
        opts = TokenPackage._meta
        model_admin: Any = self.site._registry[TokenPackage]
        back = list_url(self.site, TokenPackage)
        context = {
            **self.site.each_context(self.request),
            "opts": opts,
            "media": model_admin.media + form.media,
            "title": self.title(len(packages)),
            "trail": [Link(capfirst(str(opts.verbose_name_plural)), back)],
            "tabs": model_admin.tabs(self.request),
            "section_name": model_admin.section_name,
            "form": form,
            "lead": self.lead(),
            "facts": [(package.name, _state(package)) for package in packages],
            "button": self.button(),
            "back": back,
        }
        return TemplateResponse(self.request, "django_token_pricing/admin/tokens/deed.html", context)


class Switch(ChosenPackages):
    permission = "change_tokenpackage"
    is_on: ClassVar[bool]

    def do(self, packages: Sequence[TokenPackage], reason: str) -> str:
        changed = [package for package in packages if package.is_active is not self.is_on]
        for package in changed:
            package.is_active = self.is_on
        TokenPackage.objects.bulk_update(changed, ["is_active"])
        actor: Any = self.request.user
        versions.write(versions.CHANGED, changed, actor=actor, reason=reason)
        if changed:
            _record("packages.change", changed, actor, reason, {"is_active": (not self.is_on, self.is_on)})
        told = self.told(len(changed)) % {"count": number(len(changed))}
        if same := len(packages) - len(changed):
            words = ngettext("%(count)s was as wanted already.", "%(count)s were as wanted already.", same)
            told += " " + words % {"count": number(same)}
        return told

    @abstractmethod
    def told(self, count: int) -> str: ...


class SwitchOn(Switch):
    name = "switch-on"
    is_on = True

    @classmethod
    def button(cls) -> str:
        return _("Switch on")

    def title(self, count: int) -> str:
        words = ngettext("Switch on %(count)s package?", "Switch on %(count)s packages?", count)
        return words % {"count": number(count)}

    def lead(self) -> str:
        return _("They are for sale again at once.")

    def told(self, count: int) -> str:
        return ngettext("%(count)s package was switched on.", "%(count)s packages were switched on.", count)


class SwitchOff(Switch):
    name = "switch-off"
    is_on = False

    @classmethod
    def button(cls) -> str:
        return _("Switch off")

    def title(self, count: int) -> str:
        words = ngettext("Switch off %(count)s package?", "Switch off %(count)s packages?", count)
        return words % {"count": number(count)}

    def lead(self) -> str:
        return _("They are not for sale any more. Tokens that were sold stay with whom they belong to.")

    def told(self, count: int) -> str:
        return ngettext("%(count)s package was switched off.", "%(count)s packages were switched off.", count)


class DeleteChosen(ChosenPackages):
    name = "delete-chosen"
    permission = "delete_tokenpackage"

    @classmethod
    def button(cls) -> str:
        return _("Delete packages")

    def title(self, count: int) -> str:
        words = ngettext("Delete %(count)s package?", "Delete %(count)s packages?", count)
        return words % {"count": number(count)}

    def lead(self) -> str:
        return _(
            "They go with their prices; their history stays. To take them off sale and keep them, switch them off"
            " instead."
        )

    def do(self, packages: Sequence[TokenPackage], reason: str) -> str:
        actor: Any = self.request.user
        _record("packages.delete", packages, actor, reason, {})
        for package in packages:
            _delete(package, actor=actor, reason=reason)
        words = ngettext("%(count)s package was deleted.", "%(count)s packages were deleted.", len(packages))
        return words % {"count": number(len(packages))}


def _delete(package: TokenPackage, *, actor: Any, reason: str) -> None:
    """With its prices, each with a version that says who and why: what a cascade deletes is signed by nobody.

    Raises InvalidInput for one that was bought.
    """
    if package.purchases.exists():
        words = _("“%(name)s” was bought, and its purchases need it. Switch it off instead.")
        raise InvalidInput(detail=words % {"name": package.name})
    for row in (*package.prices.all(), package):
        sign(row, actor=actor, reason=reason)
        row.delete()


def _record(
    action: str,
    packages: Sequence[TokenPackage],
    actor: Any,
    reason: str,
    changes: dict[str, tuple[Any, Any]],
) -> None:
    """One event for all; of one package alone it is its own."""
    if len(packages) == 1:
        audit.record(action, target=packages[0], actor=actor, reason=reason, changes=changes)
        return
    codes = ", ".join(package.code for package in packages)
    changes = {**changes, "code": (codes, codes)}
    audit.record(action, actor=actor, reason=reason, changes=changes, count=len(packages))


def _keys(text: str) -> list[int]:
    """The keys that stand in an address; nonsense is nobody's."""
    keys = [key for key in text.split(",") if key.isascii() and key.isdecimal() and len(key) < 19]
    return [int(key) for key in keys[:MOST_CHOSEN]]


def _initial(packages: Any) -> dict[str, Any]:
    return {"key": uuid4(), "rows": ",".join(str(package.pk) for package in packages)}


def _facts(package: TokenPackage) -> Iterable[tuple[str, str]]:
    yield _("Package"), package.name
    yield _("Code"), package.code
    yield _("State"), _state(package)
    yield _("Tokens"), number(package.tokens)
    yield (
        _("Prices"),
        ", ".join(f"{price.currency} {decimal(price.amount)}" for price in package.prices.all()) or NOTHING,
    )


def _state(package: TokenPackage) -> str:
    return _("Active") if package.is_active else _("Not active")
