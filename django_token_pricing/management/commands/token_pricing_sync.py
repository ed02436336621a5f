"""Bring the mirrors of the host's subscriptions and payments up to date."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from django_token_pricing import payments
from django_token_pricing.exceptions import AdapterError
from django_token_pricing.tasks.runs import recorded

VERBS = {"subscriptions": payments.sync_subscriptions, "payments": payments.sync_payments}


class Command(BaseCommand):
    help = "Reads what the host's adapters told since last time into the mirrors of its subscriptions and payments."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--full", action="store_true", help="Read everything again, and mark what the host no longer has as gone."
        )
        parser.add_argument("--only", choices=VERBS, help="Sync one of the two.")

    def handle(self, *args: Any, full: bool, only: str | None, **options: Any) -> None:
        with recorded("django_token_pricing.payments.sync") as run:
            self.sync([only] if only else list(VERBS), run, full=full)

    def sync(self, names: list[str], run: dict[str, Any], *, full: bool) -> None:
        complaints = []
        run.update(events=0, problems=0)
        for name in names:
            try:
                result = VERBS[name](full=full)
            except AdapterError as error:  # the other adapter may still answer
                complaints.append(_("%(adapter)s failed. %(detail)s") % error.facts)
                continue
            line = _(
                "%(name)s: %(read)d read, %(new_events)d new, %(changed)d changed, %(gone)d gone, %(refused)d refused"
            )
            self.stdout.write(line % {"name": name, **asdict(result)})
            run["events"] += result.new_events
            run["problems"] += len(result.problems)
            for problem in result.problems:
                self.stderr.write(str(problem))
            if result.problems:
                complaints.append(
                    _("There were problems with the %(name)s. What was refused will be read again.") % {"name": name}
                )
        if complaints:
            raise CommandError("\n".join(complaints))
