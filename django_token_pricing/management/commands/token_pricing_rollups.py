from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import analytics
from django_token_pricing.exceptions import TokenPricingError


class Command(BaseCommand):
    help = "Brings the roll-ups of analytics up to date, compares them with the rows, or makes them anew."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "deed",
            choices=("fold", "verify", "rebuild"),
            help="add what is new; compare; make anew",
        )
        parser.add_argument("--first", metavar="MONTH", help="2026-10: from this month on; by default all there is")
        parser.add_argument("--until", metavar="MONTH", help="2026-12: up to and without this month")

    def handle(self, *, deed: str, **options: Any) -> None:
        first, until = _month(options["first"]), _month(options["until"])
        if deed == "fold" and (first or until):
            raise CommandError(_("A fold takes what is new, of whichever month. Leave --first and --until out."))
        try:
            if deed == "fold":
                self.fold()
            elif deed == "verify":
                self.verify(first, until)
            else:
                self.rebuild(first, until)
        except TokenPricingError as error:
            raise CommandError(error.message) from error

    def fold(self) -> None:
        changed = analytics.fold().changed
        self.stdout.write(
            ngettext(
                "%(count)d row of the roll-ups was changed.", "%(count)d rows of the roll-ups were changed.", changed
            )
            % {"count": changed}
        )

    def verify(self, first: date | None, until: date | None) -> None:
        found = analytics.verify(first, until)
        for difference in found:
            self.stdout.write(str(difference))
        if found:
            raise CommandError(
                ngettext(
                    "%(count)d row of the roll-ups is not what its rows add up to.",
                    "%(count)d rows of the roll-ups are not what their rows add up to.",
                    len(found),
                )
                % {"count": len(found)}
            )
        self.stdout.write(_("The roll-ups equal the rows."))

    def rebuild(self, first: date | None, until: date | None) -> None:
        made = analytics.rebuild(first, until)
        self.stdout.write(
            ngettext(
                "%(count)d row of the roll-ups was made anew.",
                "%(count)d rows of the roll-ups were made anew.",
                made.rows,
            )
            % {"count": made.rows}
        )


def _month(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007 - a month has no zone
    except ValueError:
        raise CommandError(_("“%(text)s” is no month; write 2026-10.") % {"text": text}) from None
