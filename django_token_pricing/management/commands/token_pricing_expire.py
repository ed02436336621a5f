from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from django_token_pricing import tokens
from django_token_pricing.tasks.runs import recorded


class Command(BaseCommand):
    help = "Books what has lapsed. Balances are right without it; statements show the expiry once it has run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--as-of", metavar="MOMENT", help="ISO 8601 with a zone; by default now.")

    def handle(self, *args: Any, **options: Any) -> None:
        until = _moment(options["as_of"])
        with recorded("django_token_pricing.tokens.expire") as run:
            result = tokens.expire(as_of=until)
            run.update(lots=result.lots, tokens=result.tokens, holds=result.holds)
        self.stdout.write(
            _("%(lots)s lots with %(tokens)s tokens were booked as expired, and %(holds)s holds were closed.")
            % {"lots": result.lots, "tokens": result.tokens, "holds": result.holds}
        )


def _moment(text: str | None) -> Any:
    if text is None:
        return timezone.now()
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or timezone.is_naive(moment):
        raise CommandError(_("“%(text)s” is no moment with a zone; write 2026-11-30T00:00:00Z.") % {"text": text})
    return moment
