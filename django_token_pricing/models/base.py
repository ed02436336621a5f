"""What several tables share: append-only rows, and expressions that each database writes in its own way."""

from __future__ import annotations

from typing import Any, TypeVar

from django.apps import apps
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler
from django.utils.translation import gettext_lazy as _
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


def transaction_id() -> models.BigIntegerField[Any, Any]:
    """The field of a table whose rows are folded incrementally."""
    return models.BigIntegerField(
        null=True, db_default=TransactionId(), editable=False, verbose_name=_("inserting transaction")
    )


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


class FoldedQuerySet(AppendOnlyQuerySet[_Row]):
    """Rows that the roll-ups fold: those of one statement are queued with it."""

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[_Row]:
        made = super().bulk_create(objs, *args, **kwargs)
        _queue(self.model, [row.pk for row in made], self.db)
        return made


class FoldedModel(AppendOnlyModel):
    """A row that the roll-ups fold. PostgreSQL tells by its transaction which are new; elsewhere each is queued."""

    fold_kind: str

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        _queue(type(self), [self.pk], str(self._state.db))


def _queue(model: type[models.Model], keys: list[Any], using: str) -> None:
    if connections[using].vendor == "postgresql":
        return
    queue = apps.get_model("django_token_pricing", "FoldQueue")
    rows = [queue(kind=getattr(model, "fold_kind"), row=key) for key in keys]  # noqa: B009 - of our two tables alone
    queue._default_manager.using(using).bulk_create(rows)
