"""The people and pools that tests are about, of whichever user model the settings name."""

from __future__ import annotations

from itertools import count
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import F

from django_token_pricing.models import PoolMember, TokenPool

_numbers = count()


def with_addresses(people: Any) -> None:
    """Give the users an address for mail that is their login, whatever field of theirs that is."""
    model: Any = get_user_model()
    model._base_manager.filter(pk__in=[user.pk for user in people]).update(email=F(model.USERNAME_FIELD))


def new_users(number: int) -> list[Any]:
    model: Any = get_user_model()
    people = [model(**{model.USERNAME_FIELD: f"user{next(_numbers)}@example.com"}) for _ in range(number)]
    return list(model._base_manager.bulk_create(people))


def new_user() -> Any:
    return new_users(1)[0]


def new_pool(*members: Any, cap: int | None = None) -> TokenPool:
    """A pool of these users, each with this cap a month."""
    pool = TokenPool.objects.create(name=f"pool {next(_numbers)}")
    for member in members:
        join(pool, member, cap=cap)
    return pool


def join(pool: TokenPool, user: Any, *, cap: int | None = None) -> None:
    """Put the user into this pool, and out of the one before."""
    PoolMember.objects.update_or_create(user=user, defaults={"pool": pool, "monthly_cap": cap})


def leave(user: Any) -> None:
    PoolMember.objects.filter(user=user).delete()
