"""The files of the token lists: which columns each has, and how its rows are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import F, QuerySet

from django_token_pricing import jobs, tokens
from django_token_pricing.admin.base.exports import Export
from django_token_pricing.admin.tokens import owners
from django_token_pricing.lib import lot_columns
from django_token_pricing.models import TOKEN_COUNTS, LedgerEntry, TokenAccount, TokenAllocation, TokenUsageLog
from django_token_pricing.tokens.owner_names import POOL

COSTS = "django_token_pricing.view_costs"


def owner_cell(login: Any, pool: Any, user: Any, account: int) -> str:
    """What an import finds the owner by; of a closed account, which has none, its number."""
    if pool is not None:
        return f"{POOL}{pool}"
    if user is None:
        return f"account:{account}"
    return str(user) if str(login).lower().startswith(POOL) else str(login)


def in_order(rows: QuerySet[Any], keys: Sequence[Any], *fields: str) -> Iterator[dict[str, Any]]:
    """The fields of the rows with these keys; no row is made of them."""
    found = {row["pk"]: row for row in rows.filter(pk__in=keys).values("pk", *fields)}
    return (found[key] for key in keys if key in found)


def owned(rows: QuerySet[Any], keys: Sequence[Any], *fields: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same, each with its owner, of rows that belong to an account."""
    named = owners.with_owner(rows.order_by()).annotate(owner_user=F("account__user"))
    for row in in_order(named, keys, "owner_login", "owner_pool", "owner_user", "account_id", *fields):
        yield owner_cell(row["owner_login"], row["owner_pool"], row["owner_user"], row["account_id"]), row


@jobs.register
class LotsExport(Export):
    """What an import reads comes first, so that a file that went out can come in again as it is."""

    kind = "export.tokenallocation"
    permission = "django_token_pricing.export_tokenallocation"
    model = TokenAllocation
    file_stem = "allocations"

    def columns(self, user: Any) -> list[str]:
        return [*lot_columns.READ, *lot_columns.TOLD]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        fields = [
            "amount",
            "source",
            "starts_at",
            "expires_at",
            "priority",
            "paid_amount",
            "paid_currency",
            "key",
            "event__reason",
            "remaining",
            "booked_at",
            "pk",
        ]
        for owner, row in owned(TokenAllocation.objects.all(), keys, *fields[:-1]):
            yield [owner, *(row[name] for name in fields)]


@jobs.register
class BalancesExport(Export):
    """What is available is of the moment in which the row is written; sums of the month are of the last summary."""

    kind = "export.tokenaccount"
    permission = "django_token_pricing.export_tokenaccount"
    model = TokenAccount
    file_stem = "balances"

    def columns(self, user: Any) -> list[str]:
        return [
            "owner",
            "tier",
            "available",
            "held",
            "total",
            "granted_this_month",
            "used_this_month",
            "next_expiry",
            "last_used_at",
        ]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        named = owners.with_owner(TokenAccount.objects.order_by().filter(pk__in=keys), "")
        described = named.annotate(
            granted=F("summary__granted"), used=F("summary__used"), last_used_at=F("summary__last_used_at")
        )
        accounts = {account.pk: account for account in described}
        balances = tokens.balances(accounts.values())
        for account in (accounts[key] for key in keys if key in accounts):
            balance = balances[account]
            yield [
                owner_cell(account.owner_login, account.owner_pool, account.user_id, account.pk),
                account.tier,
                balance.available,
                balance.held,
                balance.total,
                _whole(account.granted),
                _whole(account.used),
                balance.next_expiry,
                account.last_used_at,
            ]


def _whole(amount: Any) -> int | None:
    return None if amount is None else int(amount)


@jobs.register
class EntriesExport(Export):
    kind = "export.ledgerentry"
    permission = "django_token_pricing.export_ledgerentry"
    model = LedgerEntry
    file_stem = "entries"

    def columns(self, user: Any) -> list[str]:
        return [
            "number",
            "booked_at",
            "owner",
            "kind",
            "amount",
            "balance_after",
            "lot",
            "lot_balance",
            "source",
            "use_key",
            "feature",
            "model",
            "event",
            "actor",
            "reason",
        ]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        fields = [
            "kind",
            "amount",
            "balance_after",
            "allocation_id",
            "lot_balance",
            "allocation__source",
            "usage__key",
            "usage__feature",
            "usage__model",
            "event_id",
            "event__actor_label",
            "event__reason",
        ]
        for owner, row in owned(LedgerEntry.objects.all(), keys, "booked_at", *fields):
            yield [row["pk"], row["booked_at"], owner, *(row[name] for name in fields)]


@jobs.register
class UsageExport(Export):
    kind = "export.tokenusagelog"
    permission = "django_token_pricing.export_tokenusagelog"
    model = TokenUsageLog
    file_stem = "usage"

    def columns(self, user: Any) -> list[str]:
        measured = ["feature", "provider", "model", *TOKEN_COUNTS]
        costs = ["cost"] if user.has_perm(COSTS) else []
        return ["used_at", "booked_at", "owner", "pool", "amount", "is_charged", *measured, *costs, "tier", "key"]

    def rows(self, keys: Sequence[Any], user: Any) -> Iterator[Sequence[Any]]:
        columns = self.columns(user)
        fields = [name for name in columns if name not in ("owner", "pool")]
        for owner, row in owned(TokenUsageLog.objects.all(), keys, "pool__pool__name", *fields):
            row |= {"owner": owner, "pool": row["pool__pool__name"]}
            yield [row[name] for name in columns]
