"""What single databases need or give beyond Django's tables.

PostgreSQL: metering in one call, guards, storage; its SQL is built from the column of the host's user key, so that it
fits any user model. MariaDB: references of the host compared by their bytes, which its usual collation does not do.
"""

from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import migrations

SQL = Path(__file__).parent / "sql"


def run(vendor, name, apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != vendor:
        return
    user = apps.get_model(settings.AUTH_USER_MODEL)._meta
    account = apps.get_model("django_token_pricing", "TokenAccount")._meta
    quote = connection.ops.quote_name
    text = (SQL / name).read_text(encoding="utf-8")
    for token, value in {
        "@user_type@": account.get_field("user").db_type(connection),
        "@user_table@": quote(user.db_table),
        "@user_pk@": quote(user.pk.column),
    }.items():
        text = text.replace(token, value)
    # MariaDB takes one statement a call; functions of PostgreSQL are full of semicolons.
    for statement in [text] if vendor == "postgresql" else filter(str.strip, text.split(";")):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("django_token_pricing", "0001_initial")]

    operations = [
        *(
            migrations.RunPython(
                partial(run, "postgresql", f"{name}.sql"), partial(run, "postgresql", f"{name}_drop.sql")
            )
            for name in ("metering_1", "guards_1", "storage_1")
        ),
        migrations.RunPython(partial(run, "mysql", "collation_1.sql"), migrations.RunPython.noop, atomic=False),
    ]
