"""Who shares a pool: members in and out, and what each may draw a month. Each change leaves a version of its row.

Whoever changes a membership locks the member's account first, as a use does: each use sees the change whole or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from django_token_pricing import audit
from django_token_pricing.audit import versions
from django_token_pricing.exceptions import MemberElsewhere, UnknownOwner
from django_token_pricing.lib.steps import STEP, steps
from django_token_pricing.models import PoolMember, TokenPool
from django_token_pricing.tokens import arguments, booking
from django_token_pricing.tokens.arguments import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersChanged:
    """How many users the deed changed, and how many were already as wanted; `event` is its audit event, if any."""

    changed: int
    unchanged: int
    event: int | None


def add_members(
    pool: TokenPool,
    users: Iterable[Any],
    *,
    monthly_cap: int | None = None,
    move: bool = False,
    reason: str,
    actor: models.Model | None,
) -> MembersChanged:
    """Let users draw on the pool when their own lots run out, each up to `monthly_cap` (None: no cap), all or none.

    Who is a member already keeps the place and gets this cap. Who is in another pool is moved only with `move`.
    Raises MemberElsewhere, UnknownOwner, InvalidAmount.
    """
    cap = _cap(monthly_cap)
    with _locked(users, reason, into=pool) as (keys, using):
        present = {member.user_id: member for member in _members(keys, using)}
        elsewhere = [member for member in present.values() if member.pool_id != pool.pk]
        if elsewhere and not move:
            first = elsewhere[0]
            raise MemberElsewhere(user=first.user.get_username(), pool=first.pool.name, count=len(elsewhere))
        changed = [member for member in present.values() if (member.pool_id, member.monthly_cap) != (pool.pk, cap)]
        for member in changed:
            member.pool, member.monthly_cap = pool, cap
        PoolMember.objects.using(using).bulk_update(changed, ["pool", "monthly_cap"], batch_size=STEP)
        fresh = [
            PoolMember(pool=pool, user_id=key, monthly_cap=cap)
            for step in steps([key for key in keys if key not in present])
            # In the database's order, as a row that points to a user locks the user's row on MariaDB.
            for key in get_user_model()
            ._base_manager.using(using)
            .filter(pk__in=step)
            .order_by("pk")
            .values_list("pk", flat=True)
        ]
        PoolMember.objects.using(using).bulk_create(fresh, batch_size=STEP)
        versions.write(versions.CHANGED, changed, actor=actor, reason=reason, using=using)
        versions.write(versions.ADDED, fresh, actor=actor, reason=reason, using=using)
        facts = {"members_added": (0, len(fresh)), "members_moved": (0, len(elsewhere)), "monthly_cap": (None, cap)}
        return _told("pools.add_members", pool, len(changed) + len(fresh), len(keys), facts, reason, actor, using)


def remove_members(pool: TokenPool, users: Iterable[Any], *, reason: str, actor: models.Model | None) -> MembersChanged:
    """Take users out of the pool; who is not in it stays as is. What their open holds reserve of it they may settle.

    Raises UnknownOwner.
    """
    with _locked(users, reason) as (keys, using):
        # By the rows' own keys: found by the pool, InnoDB would lock members whose accounts are not locked here.
        leaving = [member for member in _members(keys, using) if member.pool_id == pool.pk]
        for step in steps([member.pk for member in leaving]):
            # The usual delete would read the rows once more and write a version of each on its own.
            PoolMember.objects.using(using).filter(pk__in=step)._raw_delete(using)
        versions.write(versions.DELETED, leaving, actor=actor, reason=reason, using=using)
        facts = {"members_removed": (0, len(leaving))}
        return _told("pools.remove_members", pool, len(leaving), len(keys), facts, reason, actor, using)


def set_caps(
    pool: TokenPool, users: Iterable[Any], monthly_cap: int | None, *, reason: str, actor: models.Model | None
) -> MembersChanged:
    """What each of these members may draw in a calendar month; None lifts the cap. Who is not in the pool stays out.

    Raises UnknownOwner, InvalidAmount.
    """
    cap = _cap(monthly_cap)
    with _locked(users, reason) as (keys, using):
        changed = [
            member for member in _members(keys, using) if member.pool_id == pool.pk and member.monthly_cap != cap
        ]
        before = {member.monthly_cap for member in changed}
        for member in changed:
            member.monthly_cap = cap
        PoolMember.objects.using(using).bulk_update(changed, ["monthly_cap"], batch_size=STEP)
        versions.write(versions.CHANGED, changed, actor=actor, reason=reason, using=using)
        facts = {"monthly_cap": (before.pop() if len(before) == 1 else None, cap)}
        return _told("pools.set_caps", pool, len(changed), len(keys), facts, reason, actor, using)


def _cap(value: Any) -> int | None:
    return None if value is None else arguments.amount(value, least=0)


@contextmanager
def _locked(users: Iterable[Any], reason: str, *, into: TokenPool | None = None) -> Iterator[tuple[list[Any], str]]:
    """The users' keys, each once, with their accounts locked, and before them the pool that they join.

    Who gives a pool its first limit waits for all uses of its members; none may join meanwhile.
    """
    owners = list(dict.fromkeys(arguments.owner(user) for user in users))
    if not_users := [owner.pool for owner in owners if owner.pool is not None]:
        raise UnknownOwner(owner=f"TokenPool {not_users[0]}")
    arguments.reason(reason)
    using = booking.database()
    with booking.writing(using):
        if into is not None:
            booking.lock_pools([into.pk], using)
            # Uses of members name the pool's account, whether or not it has been granted anything.
            booking.accounts_of({Owner(pool=into.pk)}, using)
        accounts = booking.accounts_of({Owner(user=owner.user) for owner in owners}, using)
        booking.lock_accounts((account.pk for account in accounts.values()), using)
        yield [owner.user for owner in owners], using


def _members(keys: list[Any], using: str) -> Iterator[PoolMember]:
    for step in steps(keys):
        yield from PoolMember.objects.using(using).filter(user__in=step).select_related("pool", "user").order_by("pk")


def _told(
    action: str,
    pool: TokenPool,
    changed: int,
    given: int,
    facts: dict[str, tuple[Any, Any]],
    reason: str,
    actor: models.Model | None,
    using: str,
) -> MembersChanged:
    """The answer, and the audit event where anything changed."""
    event = None
    if changed:
        event = audit.record(
            action, target=pool, actor=actor, reason=reason, changes=facts, count=changed, using=using
        ).pk
    return MembersChanged(changed=changed, unchanged=given - changed, event=event)
