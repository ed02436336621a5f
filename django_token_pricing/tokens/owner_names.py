"""Whom people mean by a login, an e-mail address, a number or “pool:” and a name; many at once.

Nobody is guessed: a name that fits several owners is refused, and one that fits none comes with what it may have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower
from django.utils.translation import gettext_noop

from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.steps import STEP
from django_token_pricing.models import TokenAccount, TokenPool
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.staging import among

POOL = "pool:"
# In one statement, where the database does not mind.
LARGE_STEP = 5_000
# Who gets so many names wrong does not read further suggestions.
MOST_SUGGESTED = 100


class Called(Enum):
    """What a column's names are."""

    ANYTHING = "anything"
    LOGIN = "login"
    EMAIL = "e-mail"
    KEY = "key"


class Named(NamedTuple):
    """An owner that a name was found to mean; `account` is None where none is open yet."""

    owner: Owner
    name: str
    account: int | None
    is_active: bool = True


class OwnerNames:
    """Finds owners by what a column calls them: first as what the column is for, then as whatever else it may be."""

    def __init__(self, called: Called, using: str) -> None:
        self.using = using
        self.model: Any = get_user_model()
        self.login: str = self.model.USERNAME_FIELD
        self.email = self._email_field()
        self.flag = "is_active" if self._has("is_active") else None
        self.suggested = 0
        everything = [Called.LOGIN, Called.EMAIL, Called.KEY]
        first = everything if called is Called.ANYTHING else [called]
        self.rounds = [first, [way for way in everything if way not in first]]
        self.step = LARGE_STEP if connections[using].vendor == "postgresql" else STEP

    def _email_field(self) -> str | None:
        """The field of e-mail addresses, if it is not the login itself."""
        try:
            name = str(self.model.get_email_field_name())
        except AttributeError:
            return None
        return name if name != self.login and self._has(name) else None

    def _has(self, name: str) -> bool:
        try:
            return bool(self.model._meta.get_field(name).concrete)
        except FieldDoesNotExist:
            return False

    def find(self, names: Iterable[str]) -> dict[str, Named | SheetError]:
        """For each name whose it is, or why that is not known."""
        wanted = set(names)
        pools = {name for name in wanted if name[: len(POOL)].lower() == POOL}
        matches = self._pools(pools)
        left = sorted(wanted - pools)
        # As it is written wins over another case, and what the column is for over what it is not for.
        for ways in self.rounds:
            for looked_up in (self._as_written, self._in_any_case):
                if left:
                    matches.update(looked_up(left, ways))
                    left = [name for name in left if not matches.get(name)]
        found = {name: self._decided(name, matches.get(name, {})) for name in wanted}
        self._suggest(found)
        return found

    def _decided(self, name: str, matches: dict[Any, Named]) -> Named | SheetError:
        if not matches:
            template = gettext_noop("There is no user or pool “%(owner)s”.")
            return SheetError("unknown_owner", template, owner=_brief(name))
        if len(matches) > 1:
            return SheetError(
                "ambiguous_owner",
                gettext_noop("“%(owner)s” may be one of %(count)s: %(names)s. Write the number in brackets instead."),
                owner=_brief(name),
                count=len(matches),
                names=", ".join(_described(one) for one in list(matches.values())[:3]),
            )
        (one,) = matches.values()
        if not one.is_active:
            return SheetError(
                "inactive_owner",
                gettext_noop("The user “%(owner)s” is not active. Activate the user, or take the line out."),
                owner=_brief(name),
            )
        return one

    # Ways to look a name up; each gives what it has found by name and primary key

    def _pools(self, written: Iterable[str]) -> dict[str, dict[Any, Named]]:
        found: dict[str, dict[Any, Named]] = {}
        by_name: dict[str, list[str]] = {}
        for name in written:
            by_name.setdefault(name[len(POOL) :].strip(), []).append(name)
        for step in self._steps(sorted(by_name)):
            pools = TokenPool.objects.using(self.using).filter(name__in=step)
            for pk, pool, account in pools.values_list("pk", "name", "account"):
                for name in by_name.get(pool, ()):  # a database's collation may find more
                    found.setdefault(name, {})[pk] = Named(Owner(pool=pk), POOL + pool, account)
        return found

    def _as_written(self, names: Sequence[str], ways: Sequence[Called]) -> dict[str, dict[Any, Named]]:
        found: dict[str, dict[Any, Named]] = {}
        if Called.LOGIN in ways or (Called.EMAIL in ways and self.email is None):
            for step in self._steps(names):
                self._collect(found, set(step), self._users(self.login, step), self.login)
        if Called.EMAIL in ways and self.email:
            for step in self._steps([name for name in names if "@" in name]):
                self._collect(found, set(step), self._users(self.email, step), self.email)
        if Called.KEY in ways:
            keys: dict[Any, list[str]] = {}
            for name in names:
                if (key := self._primary_key(name)) is not None:
                    keys.setdefault(key, []).append(name)
            for step in self._steps(list(keys)):
                for _text, one in self._rows(self._users("pk", step), self.login):
                    for name in keys.get(one.owner.user, ()):
                        found.setdefault(name, {})[one.owner.user] = one
        return found

    def _in_any_case(self, names: Sequence[str], ways: Sequence[Called]) -> dict[str, dict[Any, Named]]:
        found: dict[str, dict[Any, Named]] = {}
        folded: dict[str, list[str]] = {}
        for name in names:
            folded.setdefault(name.lower(), []).append(name)
        fields = [self.login] if Called.LOGIN in ways or (Called.EMAIL in ways and self.email is None) else []
        fields += [self.email] if Called.EMAIL in ways and self.email else []
        for field in fields:
            for step in self._steps(sorted(folded)):
                folded_in = among(step, "text", self.using)
                users = self._all.annotate(tp_folded=Lower(field)).filter(tp_folded__in=folded_in)
                for text, one in self._rows(users, field):
                    for name in folded.get(text.lower(), ()):
                        found.setdefault(name, {})[one.owner.user] = one
        return found

    def _collect(self, found: dict[str, dict[Any, Named]], wanted: set[str], users: QuerySet[Any], field: str) -> None:
        for text, one in self._rows(users, field):
            if text in wanted:  # a database's collation may find more
                found.setdefault(text, {})[one.owner.user] = one

    @property
    def _all(self) -> QuerySet[Any]:
        users: QuerySet[Any] = self.model._base_manager.using(self.using).order_by()
        return users

    def _users(self, field: str, texts: Sequence[Any]) -> QuerySet[Any]:
        kind = "text" if field != "pk" else str(TokenAccount._meta.get_field("user").db_type(connections[self.using]))
        return self._all.filter(**{f"{field}__in": among(texts, kind, self.using)})

    def _rows(self, users: QuerySet[Any], field: str) -> Iterator[tuple[str, Named]]:
        """Users with the text of that field, which is what they were found by."""
        fields = ["pk", "token_account", self.login, field, *([self.flag] if self.flag else [])]
        for pk, account, login, text, *flag in users.values_list(*fields):
            yield str(text), Named(Owner(user=pk), str(login), account, bool(flag[0]) if flag else True)

    def _primary_key(self, name: str) -> Any:
        """The name as a primary key, where it is written like one."""
        field = self.model._meta.pk
        try:
            key = field.to_python(name)
            field.run_validators(key)
        except (ValidationError, ValueError, TypeError, OverflowError):
            return None
        # “042” is not the user 42; a UUID may be written in several ways.
        return None if isinstance(key, int) and str(key) != name else key

    def _steps(self, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return (items[start : start + self.step] for start in range(0, len(items), self.step))

    # What an unknown name may have been

    def _suggest(self, found: dict[str, Named | SheetError]) -> None:
        unknown = [name for name, one in found.items() if isinstance(one, SheetError) and one.code == "unknown_owner"]
        unknown = sorted(unknown)[: MOST_SUGGESTED - self.suggested]
        self.suggested += len(unknown)
        for start in range(0, len(unknown), 20):
            step = {name: _beginning(name) for name in unknown[start : start + 20]}
            condition = Q()
            for beginning in filter(None, step.values()):
                condition |= Q(**{f"{self.login}__startswith": beginning})
            if not condition:
                continue
            logins = [str(login) for login in self._all.filter(condition).values_list(self.login, flat=True)[:500]]
            for name in step:
                if close := get_close_matches(name, logins, 1, 0.75):
                    found[name] = SheetError(
                        "unknown_owner",
                        gettext_noop("There is no user or pool “%(owner)s”. Did you mean “%(login)s”?"),
                        owner=_brief(name),
                        login=close[0],
                    )


def _beginning(name: str) -> str:
    """What the right name most likely begins with too; an index of logins finds it."""
    local, at, _domain = name.partition("@")
    start = local[:-2] if len(local) > 5 else local + at
    return start if len(start) > 3 else ""


def _described(one: Named) -> str:
    return f"{_brief(one.name)} ({one.owner.user})" if one.owner.pool is None else _brief(one.name)


def _brief(name: str) -> str:
    return name if len(name) <= 80 else name[:79] + "…"
