"""Whose account: the name that lists and pages show, and the search for it, of any user model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from django_token_pricing.admin.base.markup import link
from django_token_pricing.admin.base.mixins import may_view, object_url
from django_token_pricing.admin.base.wording import number
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import TokenAccount

MOST_FOUND = 1_000


def login_field() -> str:
    return str(get_user_model().USERNAME_FIELD)


def with_owner(queryset: QuerySet[Any], path: str = "account__") -> QuerySet[Any]:
    """Adds what names the owner, without loading a user: password hashes and all else of the host's stay away."""
    named: QuerySet[Any] = queryset.annotate(
        owner_login=F(f"{path}user__{login_field()}"), owner_pool=F(f"{path}pool__name")
    )
    return named


def name(login: Any, pool: Any, account: int) -> str:
    if pool is not None:
        return str(pool)
    if login is not None:
        return str(login)
    return _("Account %(number)s, closed") % {"number": account}


def name_of(account: TokenAccount) -> str:
    """For an account loaded with its user and pool."""
    return name(account.user and account.user.get_username(), account.pool and account.pool.name, account.pk)


def link_accounts(site: AdminSite, request: HttpRequest, rows: Iterable[Any]) -> None:
    """Let each row's account column lead to the account's page, if this person may open it."""
    may_open = may_view(site, request, TokenAccount)
    for row in rows:
        row.account_url = object_url(site, TokenAccount, row.account_id) if may_open else ""


def linked_name(row: Any) -> SafeString | str:
    text = breakable(name(row.owner_login, row.owner_pool, row.account_id))
    return link(getattr(row, "account_url", ""), text)


def breakable(text: str) -> SafeString:
    """An address may go on in the next line after its @, and a narrow column breaks it nowhere else."""
    return format_html_join(mark_safe("@<wbr>"), "{}", ((part,) for part in text.split("@")))


@dataclass(frozen=True, slots=True)
class Found:
    accounts: list[int]
    is_cut: bool

    def tell(self, request: HttpRequest, term: str) -> None:
        if self.is_cut:
            text = _("More than %(most)s accounts begin with “%(term)s”, and some are left out. Type more of the name.")
            messages.warning(request, text % {"most": number(MOST_FOUND), "term": term})


def find_accounts(term: str) -> Found:
    """Accounts by the beginning of the login, by a pool's name, or by the number of the account or of the user.

    Each way is a query of its own that an index answers; joined by OR they would read every account.
    """
    login = login_field()
    accounts = TokenAccount.objects.order_by()
    # Users type capitals where logins have none; lower and upper case are two ranges of one index.
    begins = Q(**{f"user__{login}__startswith": term}) | Q(**{f"user__{login}__startswith": term.lower()})
    wanted = [begins, Q(pool__name__istartswith=term)]
    if (account := _key_of(TokenAccount, term.removeprefix("#"))) is not None:
        wanted.append(Q(pk=account))
    if (user := _key_of(get_user_model(), term)) is not None:
        wanted.append(Q(user_id=user))
    found: dict[int, None] = {}
    is_cut = False
    for condition in wanted:
        keys = list(accounts.filter(condition).values_list("pk", flat=True)[: MOST_FOUND + 1])
        is_cut = is_cut or len(keys) > MOST_FOUND
        found.update(dict.fromkeys(keys[:MOST_FOUND]))
    return Found(list(found), is_cut)


def find_users(term: str) -> list[Any]:
    """Keys of users by the beginning of their login, or by their own key."""
    login = login_field()
    users = get_user_model()._base_manager.order_by()
    begins = Q(**{f"{login}__startswith": term}) | Q(**{f"{login}__startswith": term.lower()})
    found = dict.fromkeys(users.filter(begins).values_list("pk", flat=True)[:MOST_FOUND])
    if (user := _key_of(get_user_model(), term)) is not None:
        found[user] = None
    return list(found)


def logins(term: str, most: int) -> list[str]:
    """Logins that begin like this, for a form that suggests them."""
    login = login_field()
    begins = Q(**{f"{login}__startswith": term}) | Q(**{f"{login}__startswith": term.lower()})
    found = get_user_model()._base_manager.filter(begins).order_by(login)
    return [str(name) for name in found.values_list(login, flat=True)[:most]]


def users_of(logins: list[str]) -> dict[str, Any]:
    """Users by the login given; as it is, else in small letters. Who is not known is left out."""
    login = login_field()
    found: dict[str, Any] = {}
    for form in (str, str.lower):
        wanted = {form(given): given for given in logins if given not in found}
        for step in steps(list(wanted)):
            for user in get_user_model()._base_manager.filter(**{f"{login}__in": step}):
                found[wanted[user.get_username()]] = user
    return found


def _key_of(model: type[Model], text: str) -> Any:
    """The text as a primary key, or None if it cannot be one."""
    field = model._meta.pk
    try:
        value = field.to_python(text)
        field.run_validators(value)
    except (ValidationError, ValueError, OverflowError):
        return None
    return value
