"""Many rows in few statements: by COPY on PostgreSQL, in steps elsewhere. Rows are tuples in the columns' order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections, models
from django.db.backends.utils import CursorWrapper

from django_token_pricing.lib.steps import STEP

Rows = Sequence[Sequence[Any]]


def insert(model: type[models.Model], columns: Sequence[str], rows: Rows, using: str) -> None:
    """`columns` are the names of all fields that need a value, a foreign key's as its column."""
    if not rows:
        return
    if connections[using].vendor == "postgresql":
        # What goes past Django's cursor would raise the driver's own errors.
        with connections[using].cursor() as cursor, connections[using].wrap_database_errors:
            copy_rows(cursor, model._meta.db_table, columns, rows)
        return
    made = [model(**dict(zip(columns, row, strict=True))) for row in rows]
    model._default_manager.using(using).bulk_create(made, batch_size=STEP)


def insert_numbered(model: type[models.Model], columns: Sequence[str], rows: Rows, using: str) -> list[int]:
    """The same for rows whose primary key the database makes; answers the keys in the rows' order."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            sequence = f"{model._meta.db_table}_id_seq"
            cursor.execute("SELECT nextval(%s) FROM generate_series(1, %s)", [sequence, len(rows)])
            numbers = [row[0] for row in cursor.fetchall()]
        insert(model, ["id", *columns], [(number, *row) for number, row in zip(numbers, rows, strict=True)], using)
        return numbers
    made = [model(**dict(zip(columns, row, strict=True))) for row in rows]
    return [row.pk for row in model._default_manager.using(using).bulk_create(made, batch_size=STEP)]


def update(model: type[models.Model], columns: Sequence[str], rows: Rows, using: str) -> None:
    """Write the columns after the first, which is the primary key."""
    if not rows:
        return
    table, (key, *changed) = model._meta.db_table, columns
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            listed = ", ".join(columns)
            cursor.execute(f"CREATE TEMPORARY TABLE tp_changed ON COMMIT DROP AS SELECT {listed} FROM {table} LIMIT 0")
            copy_rows(cursor, "tp_changed", columns, rows)
            cursor.execute("ANALYZE tp_changed")
            values = ", ".join(f"{name} = c.{name}" for name in changed)
            cursor.execute(f"UPDATE {table} t SET {values} FROM tp_changed c WHERE t.{key} = c.{key}")
            cursor.execute("DROP TABLE tp_changed")
        return
    made = [model(**dict(zip(columns, row, strict=True))) for row in rows]
    fields = [next(field.name for field in model._meta.concrete_fields if field.attname == name) for name in changed]
    model._default_manager.using(using).bulk_update(made, fields, batch_size=STEP)


def copy_rows(cursor: CursorWrapper, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows into a table by COPY; nothing may be asked of the connection while they are made."""
    raw, names = cursor.cursor, ", ".join(columns)
    if hasattr(raw, "copy"):
        with raw.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        # psycopg 2 would have us write the format of COPY ourselves.
        places = ", ".join(["%s"] * len(columns))
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", list(rows))
