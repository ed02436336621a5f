"""`manage.py demo`: a database, a story in it, a worker, a server."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connection

from customers.models import User
from demo import insights, people
from demo.seed import seed
from django_token_pricing import tokens

TRACE_COLUMNS = ["used_at=TIMESTAMP", "input_tokens=ContextTokens", "output_tokens=GeneratedTokens"]
# The replay is charged, so whoever it is spread over gets tokens for it.
TRACE_OWNERS, TRACE_TOKENS = 40, 1_000_000
# A task that the worker has begun may end; then it is stopped hard.
PATIENCE = 10


class Command(BaseCommand):
    help = "Migrate, fill an empty database with a believable story, start a worker and serve the admin site."
    # The database may not exist yet; migrate and runserver check.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000", help="[address:]port to serve on")
        parser.add_argument("--users", type=int, default=200, help="customers in the story (200)")
        parser.add_argument("--months", type=int, default=14, help="how long the story lasts (14)")
        parser.add_argument("--fresh", action="store_true", help="delete all there is and start anew")
        parser.add_argument("--trace", metavar="FILE", help="replay a trace of requests too (TIMESTAMP, …Tokens)")
        parser.add_argument("--no-worker", action="store_true", help="no child process for background work")
        parser.add_argument("--no-serve", action="store_true", help="stop when the story is written")

    def handle(self, *, address: str, users: int, months: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo makes staff users with a known password, so it runs under DJANGO_DEBUG only.")
        if users < 20 or months < 2:
            raise CommandError("The story needs 20 users and 2 months at least.")
        if options["trace"] and not Path(options["trace"]).is_file():
            raise CommandError(f"There is no file {options['trace']}.")
        host, port = _split(address)
        if not options["no_serve"]:
            _require_free(host, port)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        # A script's background job starts with this one ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.prepare(users=users, months=months, fresh=options["fresh"])
            if options["trace"]:
                try:
                    self.replay(Path(options["trace"]))
                except CommandError as error:
                    if options["no_serve"]:
                        raise
                    # Rows that were refused are no reason not to look at the others.
                    self.stderr.write(self.style.ERROR(str(error)))
            # Lists would wait for the worker's first round to sort and filter.
            call_command("token_pricing_refresh_summaries", stdout=self.stdout)
            insights.look(self.tell)
            if not options["no_serve"]:
                with nullcontext() if options["no_worker"] else _worker():
                    self.serve(host, port)
        except KeyboardInterrupt:
            sys.exit(130)

    def prepare(self, *, users: int, months: int, fresh: bool) -> None:
        if fresh:
            self.empty()
        call_command("migrate", verbosity=0)
        if User.objects.exists():
            self.tell("The story is in the database already; --fresh writes it anew.")
        else:
            self.tell(f"Writing {months} months of {users} customers …")
            seed(users=users, months=months, tell=self.tell)

    def replay(self, trace: Path) -> None:
        self.tell(f"Replaying {trace.name} …")
        users = User.objects.order_by("pk")[:TRACE_OWNERS]
        lots = [tokens.GrantRow(user, TRACE_TOKENS, key=f"trace:{trace.name}:{user.pk}") for user in users]
        tokens.grant_many(lots, source=tokens.Source.IMPORT, reason=f"To replay {trace.name}")
        call_command("token_pricing_import_usage", trace, map=TRACE_COLUMNS, spread=len(lots), timezone="UTC")

    def empty(self) -> None:
        database = settings.DATABASES["default"]
        if connection.vendor != "sqlite":
            self.tell(f"Emptying {database['NAME']} on {database['HOST'] or 'this machine'} …")
            call_command("flush", interactive=sys.stdin.isatty(), verbosity=0)
            return
        connection.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{database['NAME']}{suffix}").unlink(missing_ok=True)

    def serve(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.tell(
            f"\n  Admin     http://{shown}:{port}/admin/"
            f"\n  Log in    {people.OWNER}   password {people.PASSWORD}"
            f"\n  Also      {people.OPERATOR}, {people.VIEWER}, {people.STRANGER}, same password"
            "\n  Stop      Ctrl-C\n"
        )
        call_command("runserver", f"{shown}:{port}", use_reloader=False)

    def tell(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


@contextmanager
def _worker() -> Iterator[None]:
    """Celery's worker and beat in one child process, gone when the block is left."""
    command = ["celery", "--quiet", "--app=config", "worker", "--beat", "--pool=solo", "--loglevel=WARNING"]
    worker = subprocess.Popen([sys.executable, "-m", *command], cwd=settings.BASE_DIR)
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            worker.kill()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise CommandError(f"{address} is not [address:]port.")
    return host.strip("[]") or "127.0.0.1", int(port)


def _require_free(host: str, port: int) -> None:
    """Find out before the work is done: the server would end this process without letting it stop the worker."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        raise CommandError(f"Cannot serve on {host}:{port}: {error}. Give another [address:]port.") from error
