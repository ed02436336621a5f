"""Bring usage history in, or replay a trace."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.lib.cells import UTC
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.lib.sheets import Sheet, open_sheet
from django_token_pricing.management.usage_import import (
    FIELDS,
    Counts,
    ErrorFile,
    UsageImport,
    reason,
)
from django_token_pricing.management.usage_owners import NamedOwners, OneOwner, SpreadOwners, UsageOwners

MARKS = {"point": ".", "comma": ","}
TELL_EVERY = 0.5  # seconds, where the line can be written over
TELL_ELSEWHERE = 10.0


class Command(BaseCommand):
    help = (
        "Brings in usage from a CSV or XLSX file, a row a use. What is there already is skipped: after a run that was "
        "stopped, when the file has grown or its bad rows were mended, simply import it again. Rows that cannot be "
        "taken go to an error file with the line and the reason, and the exit code is 1."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="A CSV or XLSX file with a header; of XLSX the first sheet."
        )
        parser.add_argument(
            "--map",
            metavar="FIELD=COLUMN",
            nargs="+",
            action="extend",
            required=True,
            help="Which column holds what. Fields: " + ", ".join(FIELDS) + ". Without amount, input_tokens and "
            "output_tokens are added up; without key, one is made from the file's name, the row and its ordinal among "
            "equal rows; without used_at, the use is of now.",
        )
        parser.add_argument(
            "--owner", metavar="IDENT", help="Whose use it was: primary key, login, e-mail, or pool:NAME."
        )
        parser.add_argument(
            "--spread",
            metavar="N",
            type=int,
            help="Spread the rows evenly over the N users with the lowest primary keys.",
        )
        parser.add_argument(
            "--no-charge",
            action="store_true",
            help="Record the usage alone; by default the owner's tokens pay for it now.",
        )
        parser.add_argument(
            "--timezone", metavar="ZONE", help="Zone of times that name no offset, such as UTC. By default the site's."
        )
        parser.add_argument(
            "--decimal", choices=MARKS, help="The decimal mark, for files with numbers such as 1,234 that may be two."
        )
        parser.add_argument(
            "--source",
            metavar="NAME",
            help="Name from which keys are made. By default the file's; give it if that changed.",
        )
        parser.add_argument("--errors", metavar="PATH", type=Path, help="The error file. By default FILE.errors.csv.")
        parser.add_argument("--chunk", metavar="N", type=int, help="Rows a transaction.")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        mapped = _mapped(options["map"])
        zone = _zone(options["timezone"])
        path = options["errors"] or _error_path(file)
        if not path.parent.is_dir() or path.is_dir() or (path.exists() and file.exists() and path.samefile(file)):
            raise CommandError(_("%(path)s cannot be the error file.") % {"path": path})
        if options["chunk"] is not None and options["chunk"] < 1:
            raise CommandError(_("--chunk must be at least 1."))
        try:
            with open_sheet(file) as sheet:
                columns = {field: sheet.place(column) for field, column in mapped.items()}
                with ErrorFile(path, sheet.columns) as errors:
                    run = UsageImport(
                        sheet,
                        columns=columns,
                        owners=_owners(columns, options["owner"], options["spread"]),
                        source=options["source"] or file.name,
                        zone=zone,
                        mark=MARKS.get(options["decimal"] or ""),
                        charge=not options["no_charge"],
                        errors=errors,
                        chunk=options["chunk"],
                    )
                    self._run(run, self._told(sheet), quiet=not options["verbosity"])
                    errors.discard_stale()
        except OSError as error:
            raise CommandError(str(error)) from error
        except SheetError as error:
            raise CommandError(f"{file}: {reason(error)}") from error

    def _run(self, run: UsageImport, told: Callable[[Counts], None], *, quiet: bool) -> None:
        complaints = []
        try:
            run.run((lambda counts: None) if quiet else told)
        except KeyboardInterrupt:
            raise CommandError(_("Stopped. Run the same command again to go on."), returncode=130) from None
        except SheetError as error:
            complaints.append(_("The file cannot be read any further. %(reason)s") % {"reason": reason(error)})
        finally:
            if not quiet:
                self.stdout.write(("\n" if self.stdout.isatty() else "") + _sentence(run.counts))
        if run.counts.refused:
            complaints.append(_complaint(run.counts, run.errors.path))
        if complaints:
            raise CommandError("\n".join(complaints))

    def _told(self, sheet: Sheet) -> Callable[[Counts], None]:
        """Writes the progress line: over the last one on a terminal, a new one now and then elsewhere."""
        terminal = self.stdout.isatty()
        began = last = time.monotonic()

        def told(counts: Counts) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < (TELL_EVERY if terminal else TELL_ELSEWHERE):
                return
            last = now
            line = _("%(percent)3d %% · %(rows)s rows · %(rate)s a second · %(refused)s refused") % {
                "percent": min(sheet.read_share(), 1) * 100,
                "rows": f"{counts.read:,}",
                "rate": f"{counts.read / (now - began):,.0f}",
                "refused": f"{counts.refused:,}",
            }
            self.stdout.write(f"\r{line:<78}" if terminal else line, ending="" if terminal else "\n")
            self.stdout.flush()

        return told


def _mapped(given: list[str]) -> dict[str, str]:
    mapped: dict[str, str] = {}
    for pair in given:
        field, equals, column = pair.partition("=")
        field = field.strip()
        if not equals or not column.strip():
            raise CommandError(_("--map %(pair)s: give it as FIELD=COLUMN.") % {"pair": pair})
        if field not in FIELDS:
            raise CommandError(
                _("--map %(pair)s: there is no field “%(field)s”. There are: %(fields)s.")
                % {"pair": pair, "field": field, "fields": ", ".join(FIELDS)}
            )
        if field in mapped:
            raise CommandError(_("--map %(pair)s: the field is mapped already.") % {"pair": pair})
        mapped[field] = column.strip()
    if not mapped.keys() & {"amount", "input_tokens", "output_tokens"}:
        raise CommandError(_("Map amount, input_tokens or output_tokens: without them there is nothing to book."))
    return mapped


def _owners(columns: dict[str, int], name: str | None, count: int | None) -> UsageOwners:
    if (name is not None) + (count is not None) + ("owner" in columns) != 1:
        raise CommandError(_("Say whose use it was: give one of --owner, --spread and --map owner=COLUMN."))
    if count is not None and count < 1:
        raise CommandError(_("--spread must be at least 1."))
    try:
        if name is not None:
            return OneOwner(name)
        return NamedOwners(columns["owner"]) if count is None else SpreadOwners(count)
    except SheetError as error:
        raise CommandError(reason(error)) from error


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return timezone.get_default_timezone()
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # ZoneInfoNotFoundError is a LookupError
        raise CommandError(_("There is no time zone “%(name)s”.") % {"name": name}) from None


def _error_path(file: Path) -> Path:
    """Beside the file, or in the current folder where that one cannot be written to."""
    beside = file.with_name(file.name + ".errors.csv")
    return beside if os.access(beside.parent, os.W_OK) else Path(beside.name)


def _sentence(counts: Counts) -> str:
    return _("%(rows)s: %(added)s added, %(replayed)s there already, %(refused)s refused.") % {
        "rows": ngettext("%(count)s row", "%(count)s rows", counts.read) % {"count": f"{counts.read:,}"},
        "added": f"{counts.added:,}",
        "replayed": f"{counts.replayed:,}",
        "refused": f"{counts.refused:,}",
    }


def _complaint(counts: Counts, path: Path) -> str:
    complaint = ngettext(
        "%(count)s row was refused; %(path)s has the line and the reason. Mend the file and import it again: "
        "only what is new will be added.",
        "%(count)s rows were refused; %(path)s has the lines and the reasons. Mend the file and import it again: "
        "only what is new will be added.",
        counts.refused,
    ) % {"count": f"{counts.refused:,}", "path": path}
    if counts.short_of_tokens:
        complaint += "\n" + ngettext(
            "%(count)s row needs tokens that its owner does not have. Grant them first, or give --no-charge to record "
            "the usage alone.",
            "%(count)s rows need tokens that their owners do not have. Grant them first, or give --no-charge to record "
            "the usage alone.",
            counts.short_of_tokens,
        ) % {"count": f"{counts.short_of_tokens:,}"}
    return complaint
