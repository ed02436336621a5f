"""Set-based work on PostgreSQL: rows go into a temporary table in large steps, then move on in single statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.db.models.expressions import RawSQL

from django_token_pricing.exceptions import UnknownOwner
from django_token_pricing.models import TokenAccount
from django_token_pricing.models.batches import copy_rows

STEP = 5_000


class Stage:
    """The temporary table tp_stage for one batch: id (of the row to be), whose it is, and declared columns.

    user_id or pool_id says whose, account_id is found by them.

    Names of tables, columns and types in its SQL are ours or quoted by Django; values are always parameters.
    """

    def __init__(self, cursor: CursorWrapper, columns: dict[str, str], sequence: str, using: str) -> None:
        self.cursor = cursor
        self.user_type = str(TokenAccount._meta.get_field("user").db_type(connections[using]))
        user = get_user_model()._meta
        quote = connections[using].ops.quote_name
        self.user_table, self.user_pk = quote(user.db_table), quote(str(user.pk.column))
        self.types = columns
        listed = "".join(f", {name} {kind}" for name, kind in columns.items())
        cursor.execute("DROP TABLE IF EXISTS tp_stage, tp_owner")
        cursor.execute(
            f"CREATE TEMPORARY TABLE tp_stage (id bigint DEFAULT nextval('{sequence}'),"
            f" user_id {self.user_type}, pool_id bigint, account_id bigint{listed}) ON COMMIT DROP"
        )

    def fill(self, rows: Iterable[Sequence[Any]]) -> None:
        """Rows of a user's key or else a pool's, then what was declared."""
        source = iter(rows)
        # In steps, because nothing else may be asked of the connection during a COPY, and making rows may ask.
        while step := list(islice(source, STEP)):
            copy_rows(self.cursor, "tp_stage", ["user_id", "pool_id", *self.types], step)
        self._find_accounts()

    def fill_from(self, owner_column: str, sql: str, params: Sequence[Any], values: dict[str, Any]) -> None:
        """A row for each owner whose key a query selects, with the same values in all. The column is an account's."""
        constants = "".join(f", %s::{self.types[name]}" for name in values)
        names = "".join(f", {name}" for name in values)
        owner = {"user_id": "x.pk, NULL", "pool_id": "NULL, x.pk", "id": "a.user_id, a.pool_id"}[owner_column]
        self.cursor.execute(
            f"INSERT INTO tp_stage (user_id, pool_id, account_id{names}) SELECT {owner}, a.id{constants}"
            f" FROM ({sql}) AS x (pk) LEFT JOIN django_token_pricing_tokenaccount a ON a.{owner_column} = x.pk",
            [*values.values(), *params],
        )

    def open_accounts(self) -> None:
        """Make the accounts that are missing, in one order whatever the batch's. Raises UnknownOwner."""
        if self._unknown_owner() is None:
            return
        self.cursor.execute(
            f"""
            INSERT INTO django_token_pricing_tokenaccount (user_id, tier, balance, created_at)
            SELECT u.{self.user_pk}, coalesce((
                SELECT coalesce(nullif(m.tier, ''), m.plan_code) FROM django_token_pricing_subscriptionmirror m
                WHERE m.user_id = u.{self.user_pk} AND m.gone_at IS NULL
                    AND m.status IN ('trialing', 'active', 'past_due')
                ORDER BY m.period_starts_at DESC NULLS LAST, m.id DESC LIMIT 1), ''), 0, clock_timestamp()
            FROM {self.user_table} u
            WHERE u.{self.user_pk} IN (SELECT user_id FROM tp_stage WHERE account_id IS NULL)
            ORDER BY u.{self.user_pk} ON CONFLICT DO NOTHING
            """
        )
        self.cursor.execute(
            """
            INSERT INTO django_token_pricing_tokenaccount (pool_id, tier, balance, created_at)
            SELECT p.id, '', 0, clock_timestamp() FROM django_token_pricing_tokenpool p
            WHERE p.id IN (SELECT pool_id FROM tp_stage WHERE account_id IS NULL)
            ORDER BY p.id ON CONFLICT DO NOTHING
            """
        )
        self._find_accounts()
        unknown = self._unknown_owner()
        if unknown is not None:
            raise UnknownOwner(owner=unknown)

    def _find_accounts(self) -> None:
        for owner in ("user_id", "pool_id"):
            self.cursor.execute(
                "UPDATE tp_stage t SET account_id = a.id FROM django_token_pricing_tokenaccount a"
                f" WHERE t.account_id IS NULL AND a.{owner} = t.{owner}"
            )

    def _unknown_owner(self) -> Any:
        (unknown,) = self.one(
            "SELECT (SELECT coalesce(user_id::text, pool_id::text) FROM tp_stage WHERE account_id IS NULL LIMIT 1)"
        )
        return unknown

    def lock_owners(self) -> None:
        """tp_owner: the batch's accounts as they are under their locks, taken in the order that every verb keeps."""
        self.cursor.execute("ANALYZE tp_stage")
        self.cursor.execute(
            """
            CREATE TEMPORARY TABLE tp_owner ON COMMIT DROP AS
            SELECT a.id AS account_id, a.balance, a.booked_at FROM django_token_pricing_tokenaccount a
            WHERE a.id IN (SELECT account_id FROM tp_stage)
            ORDER BY a.pool_id IS NOT NULL, a.id FOR NO KEY UPDATE OF a
            """
        )
        self.cursor.execute("ANALYZE tp_owner")

    def one(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The single row that this answers."""
        self.cursor.execute(sql, params)
        row: tuple[Any, ...] = self.cursor.fetchone()
        return row


def among(items: Sequence[Any], kind: str, using: str) -> Any:
    """What stands on the right of an `__in`: on PostgreSQL one array of that type instead of a parameter an item."""
    if connections[using].vendor != "postgresql":
        return items
    # Of what needs no quoting the driver would still look at each item.
    given = f"{{{','.join(map(str, items))}}}" if kind in ("bigint", "uuid") else list(items)
    return RawSQL(f"SELECT unnest(%s::{kind}[])", [given])  # noqa: S611 - the type is of our own naming
