"""What several tables share: append-only rows, and expressions that each database writes in its own way."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler
from simple_history.models import HistoricalRecords

from django_token_pricing.exceptions import AppendOnly

_Row = TypeVar("_Row", bound=models.Model)


class TransactionId(models.Func):
    """The id of the inserting transaction on PostgreSQL, else NULL.

    Ids commit out of order, so whoever folds rows incrementally must stay below the snapshot's xmin instead of
    reading on from the last row seen.
    """

    output_field = models.BigIntegerField(null=True)

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        return "(NULL)", ()

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **kwargs: Any) -> Any:
        return "((pg_current_xact_id()::text)::bigint)", ()


def history(name: Any) -> HistoricalRecords:
    """Versions of rows that people edit, with who and why. Its fields are named, so no setting of a host moves them."""
    return HistoricalRecords(
        history_id_field=models.BigAutoField(primary_key=True),
        history_change_reason_field=models.CharField(max_length=500, null=True),
        verbose_name=name,
        verbose_name_plural=name,
    )


class AppendOnlyQuerySet(models.QuerySet[_Row]):
    """Refuses to change or delete rows. On PostgreSQL triggers say the same to everybody."""

    def update(self, **kwargs: Any) -> int:
        raise AppendOnly(table=self.model._meta.verbose_name_plural)

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        raise AppendOnly(table=self.model._meta.verbose_name_plural)

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnly(table=self.model._meta.verbose_name_plural)


class AppendOnlyModel(models.Model):
    """A row that is written once. Privacy and retention pass by `tokens.erase` and `tokens.prune` alone."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly(table=self._meta.verbose_name_plural)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnly(table=self._meta.verbose_name_plural)
