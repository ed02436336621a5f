"""Whose use a row is: one owner's, of users it is spread over, or of whom a column names."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model, Q
from django.utils.translation import gettext_noop

from django_token_pricing.lib.rows import SheetError
from django_token_pricing.models import TokenPool

POOL = "pool:"


class UsageOwners(Protocol):
    """Gives a chunk of rows their owners; `column` is the place of what names them, None where no column does."""

    @property
    def column(self) -> int | None: ...
    def of(self, keys: Sequence[str], names: Sequence[str]) -> list[Model | SheetError]: ...


class Owners:
    """Finds users and pools by what people call them, many at once; keeps those found last."""

    MOST_KEPT = 20_000
    STEP = 5_000

    def __init__(self) -> None:
        self.users = get_user_model()
        self.using = router.db_for_write(self.users)
        self.kept: dict[str, Model | SheetError] = {}

    def first(self, count: int) -> list[Model]:
        """The users with the lowest primary keys."""
        return list(self.users._base_manager.using(self.using).only("pk").order_by("pk")[:count])

    def find(self, names: Iterable[str]) -> dict[str, Model | SheetError]:
        """For each name the user with that primary key, login or e-mail address, or after “pool:” the pool."""
        wanted = set(names)
        if len(self.kept) + len(wanted) > self.MOST_KEPT:
            self.kept = {name: self.kept[name] for name in wanted if name in self.kept}
        missing = iter([name for name in wanted if name not in self.kept])
        while step := list(islice(missing, self.STEP)):
            self._look_up(step)
        return self.kept

    def _look_up(self, names: list[str]) -> None:
        found: dict[str, dict[Any, Model]] = {name: {} for name in names}
        pools = {name.removeprefix(POOL).strip(): name for name in names if name.startswith(POOL)}
        if pools:
            for pool in TokenPool.objects.using(self.using).filter(name__in=pools):
                if pool.name in pools:  # a database's collation may find more
                    found[pools[pool.name]][pool.pk] = pool
        if people := [name for name in names if not name.startswith(POOL)]:
            self._look_up_users(people, found)
        for name, matches in found.items():
            if len(matches) == 1:
                self.kept[name] = next(iter(matches.values()))
            elif matches:
                self.kept[name] = SheetError(
                    "ambiguous_owner", gettext_noop("“%(owner)s” is more than one user."), owner=name
                )
            else:
                self.kept[name] = SheetError(
                    "unknown_owner", gettext_noop("There is no user or pool “%(owner)s”."), owner=name
                )

    def _look_up_users(self, names: list[str], found: dict[str, dict[Any, Model]]) -> None:
        login, email = self.users.USERNAME_FIELD, self.users.get_email_field_name()
        addresses: list[str] = []
        if email != login and email in {field.name for field in self.users._meta.get_fields()}:
            addresses = [name for name in names if "@" in name]
        by_key: dict[Any, list[str]] = {}
        for name in names:
            if (key := self._primary_key(name)) is not None:
                by_key.setdefault(key, []).append(name)
        condition = Q(pk__in=list(by_key)) | Q(**{f"{login}__in": names})
        if addresses:
            condition |= Q(**{f"{email}__in": addresses})
        fields = [login, email] if addresses else [login]
        for user in self.users._base_manager.using(self.using).filter(condition).only("pk", *fields):
            called = [*by_key.get(user.pk, ()), str(getattr(user, login))]
            if addresses and "@" in (address := str(getattr(user, email))):
                called.append(address)
            for name in called:
                if name in found:
                    found[name][user.pk] = user

    def _primary_key(self, name: str) -> Any:
        """The name as a primary key, where it is written like one."""
        field: Any = self.users._meta.pk
        try:
            key = field.to_python(name)
            field.run_validators(key)
        except (ValidationError, ValueError, TypeError):
            return None
        # “042” is not the user 42; a UUID may be written in several ways.
        return None if isinstance(key, int) and str(key) != name else key


class OneOwner:
    """All uses are of one user or pool."""

    column = None

    def __init__(self, name: str) -> None:
        found = Owners().find([name])[name]
        if isinstance(found, SheetError):
            raise found
        self.owner = found

    def of(self, keys: Sequence[str], names: Sequence[str]) -> list[Model | SheetError]:
        return [self.owner] * len(keys)


class SpreadOwners:
    """Uses are spread over the first users, by a checksum of their keys: the same each time, and even."""

    column = None

    def __init__(self, count: int) -> None:
        self.owners = Owners().first(count)
        if len(self.owners) < count:
            raise SheetError(
                "too_few_users",
                gettext_noop("There are %(found)s users, and --spread asks for %(count)s."),
                found=len(self.owners),
                count=count,
            )

    def of(self, keys: Sequence[str], names: Sequence[str]) -> list[Model | SheetError]:
        owners, count = self.owners, len(self.owners)
        return [owners[zlib.crc32(key.encode("utf-8", "replace")) % count] for key in keys]


class NamedOwners:
    """A column says whose use it was."""

    def __init__(self, column: int) -> None:
        self.column = column
        self.owners = Owners()

    def of(self, keys: Sequence[str], names: Sequence[str]) -> list[Model | SheetError]:
        found = self.owners.find(name for name in names if name)
        empty = SheetError("empty_cell", gettext_noop("%(field)s is empty."), field="owner")
        return [found[name] if name else empty for name in names]
