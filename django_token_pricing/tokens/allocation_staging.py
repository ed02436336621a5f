"""A file of allocations becomes the rows of its job: read, checked against users, keys and itself, kept in chunks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import blake2b
from itertools import islice
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.fields.json import KT
from django.utils import timezone
from django.utils.translation import gettext_noop

from django_token_pricing import jobs
from django_token_pricing.choices import Verb
from django_token_pricing.lib.digests import digest
from django_token_pricing.lib.firsts import Firsts
from django_token_pricing.lib.ordinals import Ordinals
from django_token_pricing.lib.rows import Row, SheetError
from django_token_pricing.lib.sheets import Sheet, open_sheet
from django_token_pricing.lib.steps import STEP
from django_token_pricing.models import IdempotencyKey, Job, JobRow, TokenAccount, TokenAllocation
from django_token_pricing.models.batches import copy_rows
from django_token_pricing.tokens.allocation_columns import Columns, storable
from django_token_pricing.tokens.allocation_lines import Evidence, Line, LineReader, past, plain
from django_token_pricing.tokens.import_summary import Summary
from django_token_pricing.tokens.owner_names import LARGE_STEP, OwnerNames
from django_token_pricing.tokens.staging import among

MOST_BYTES = 100 << 20
MOST_ROWS = 1_000_000
STAGED = 5_000
# Of a line with an error, so that it can be given back as it was.
MOST_KEPT = 20_000
RECENT = timedelta(days=30)
# Lines, and nobody counts on in a file that says otherwise.
MOST_NUMBER = 10**12


@contextmanager
def _opened(job: Job) -> Iterator[Sheet]:
    with io.BufferedReader(jobs.FileReader(job), buffer_size=1 << 18) as file, open_sheet(file) as sheet:
        yield sheet


class Staging:
    """One run over the file: its lines become the job's rows, a chunk at a time."""

    def __init__(self, job: Job, beat: jobs.Beat) -> None:
        self.job = job
        self.beat = beat
        self.using = job._state.db or "default"
        self.is_postgres = connections[self.using].vendor == "postgresql"
        self.step = LARGE_STEP if self.is_postgres else STEP
        self.zone = timezone.get_default_timezone()
        self.now = timezone.now()
        self.last_number = 0

    def run(self) -> None:
        job = self.job
        self.remove()
        if jobs.FileReader(job).size > MOST_BYTES:
            template = gettext_noop("The file is larger than %(most)s MB. Split it into several.")
            raise SheetError("too_large", template, most=MOST_BYTES >> 20)
        with ExitStack() as stack:
            sheet = stack.enter_context(_opened(job))
            self.columns = Columns.of(sheet.columns)
            given = job.params
            self.reader = LineReader(
                self.columns,
                zone=self.zone,
                mark=given.get("mark"),
                order=given.get("order"),
                shows=self._shown_by_file,
            )
            self.owners = OwnerNames(self.columns.called, self.using)
            self.ordinals = stack.enter_context(Ordinals())
            self.firsts = stack.enter_context(Firsts())
            self.summary = Summary()
            while rows := list(islice(sheet.rows, STAGED)):
                self._stage(rows)
                job.position = self.summary.rows
                job.total = max(self.summary.rows, int(self.summary.rows / max(sheet.read_share(), 0.001)))
            dialect = sheet.dialect
        if not self.summary.rows:
            raise SheetError("no_lines", gettext_noop("There is no line below the names of the columns."))
        job.total = self.summary.rows
        job.preview = {
            **self.summary.as_json(self.using),
            **self._count_owners(),
            "as_of": self.now.isoformat(),
            "form": dialect.form,
            "encoding": dialect.encoding,
            "delimiter": dialect.delimiter,
            "mark": self.reader.mark,
            "order": self.reader.order,
            "columns": {name: self.columns.name(name) for name in self.columns.places},
            "ignored": [storable(name[:200]) for name in self.columns.ignored[:50]],
            "header": [storable(name[:200]) for name in self.columns.names],
        }

    def remove(self) -> None:
        """The rows that are there, such as a worker's that died. Each step may find that the job is no longer ours."""
        while True:
            with transaction.atomic(using=self.using):
                self.beat()
                numbers = self.job.rows.using(self.using).order_by("number").values_list("number", flat=True)
                last = numbers[STAGED - 1 : STAGED].first()
                rows: QuerySet[JobRow] = self.job.rows.using(self.using)
                (rows if last is None else rows.filter(number__lte=last))._raw_delete(self.using)
            if last is None:
                return

    def _shown_by_file(self) -> tuple[str | None, Any]:
        evidence = Evidence(self.columns, self.zone)
        with _opened(self.job) as sheet:
            for count, (_number, cells, problem) in enumerate(sheet.rows):
                if problem is None:
                    evidence.see(cells)
                if count % 20_000 == 0:
                    self.beat()
        return evidence.agreed()

    def _count_owners(self) -> dict[str, int]:
        good = self.job.rows.using(self.using).filter(code="")
        people = Count(KT("data__user"), filter=Q(target=None), distinct=True)
        pools = Count(KT("data__pool"), filter=Q(target=None), distinct=True)
        found = good.aggregate(accounts=Count("target", distinct=True), people=people, pools=pools)
        to_open = found["people"] + found["pools"]
        return {"owners": found["accounts"] + to_open, "accounts_to_open": to_open}

    # A chunk

    def _stage(self, rows: list[Row]) -> None:
        lines = [self._line(row) for row in rows]
        lines = [line for line in lines if not line.problems or not _is_empty(line)]
        self._find_owners(lines)
        good = [line for line in lines if not line.problems]
        self._name_keys(good)
        self._find_granted(good)
        for line in good:
            if not line.same_as and line.expires_at is not None and line.expires_at <= self.now:
                self.reader.refuse(line, "expires_at", past())
        good = [line for line in lines if not line.problems]
        self.summary.repeated_lately += self._count_recent([line for line in good if not line.same_as])
        for line in lines:
            self.summary.add(line)
        if self.summary.rows > MOST_ROWS:
            template = gettext_noop("There are more than %(most)s lines. Split the file into several.")
            raise SheetError("too_many_lines", template, most=MOST_ROWS)
        with transaction.atomic(using=self.using):
            # The job's row is locked from here on: a worker that takes the job over waits, and removes these.
            self.beat()
            self._write(lines)

    def _line(self, row: Row) -> Line:
        number, cells, problem = row
        if not self.last_number < number <= MOST_NUMBER:
            raise SheetError("damaged", gettext_noop("The file is damaged, or it is no Excel file."))
        self.last_number = number
        return self.reader.read(number, cells, problem)

    def _find_owners(self, lines: list[Line]) -> None:
        found = self.owners.find(line.name for line in lines if line.name)
        for line in lines:
            if line.name:
                one = found[line.name]
                if isinstance(one, SheetError):
                    self.reader.refuse(line, "owner", one, first=True)
                else:
                    line.owner = one

    def _name_keys(self, lines: list[Line]) -> None:
        """Keys for lines that have none, and what is wrong with keys that stand in several lines."""
        nameless = [line for line in lines if not line.key]
        facts = [line.facts() for line in nameless]
        ordinals = self.ordinals.of([int.from_bytes(fact[:8], "big", signed=True) for fact in facts])
        for line, fact, ordinal in zip(nameless, facts, ordinals, strict=True):
            line.key = f"import:{fact.hex()}:{ordinal}"
            line.has_own_key = False
            self.summary.equal += ordinal > 1
        for line in lines:
            line.digest = digest(line.key)
        named = [line for line in lines if line.has_own_key]
        if not named:
            return
        items = [(blake2b(line.key.encode(), digest_size=20).digest(), line.facts(), line.number) for line in named]
        for line, item, first in zip(named, items, self.firsts.of(items), strict=True):
            if first is None:
                continue
            said, number = first
            if said == item[1]:
                line.same_as = f"line {number}"
                continue
            template = gettext_noop(
                "Line %(line)s has the same key and says something else. Give each line a key of its own, or none."
            )
            self.reader.refuse(line, "key", SheetError("duplicate_key", template, line=number))

    # What former imports and other deeds did

    def _find_granted(self, lines: list[Line]) -> None:
        """Which lines were granted before, and which have the key of another deed."""
        by_digest: dict[UUID, list[Line]] = {}
        for line in lines:
            if line.digest and not line.problems:
                by_digest.setdefault(line.digest, []).append(line)
        other: list[tuple[Line, IdempotencyKey]] = []
        same: list[tuple[Line, datetime]] = []
        for step in self._steps(list(by_digest)):
            for used in IdempotencyKey.objects.using(self.using).filter(digest__in=among(step, "uuid", self.using)):
                for line in by_digest[used.digest]:
                    account = line.owner and line.owner.account
                    said = (Verb.GRANT.value, account, line.amount, line.source)
                    if said != (used.verb, used.account_id, used.amount, used.detail):
                        other.append((line, used))
                        continue
                    line.same_as = used.booked_at.isoformat()
                    if line.has_own_key:
                        same.append((line, used.booked_at))
        self._refuse_other_deeds(other)
        self._refuse_other_terms(same)

    def _refuse_other_deeds(self, found: list[tuple[Line, IdempotencyKey]]) -> None:
        names = self._names_of({used.account_id for _line, used in found})
        for line, used in found:
            template = gettext_noop(
                "The key was used on %(when)s for something else: %(verb)s, %(amount)s tokens, %(owner)s. Give the line"
                " another key, or none."
            )
            error = SheetError(
                "key_used",
                template,
                when=timezone.localtime(used.booked_at, self.zone).date().isoformat(),
                verb=str(Verb(used.verb).label),
                amount=used.amount or 0,
                owner=names.get(used.account_id, "?"),
            )
            self.reader.refuse(line, "key", error)

    def _names_of(self, accounts: set[int]) -> dict[int, str]:
        login = get_user_model().USERNAME_FIELD
        found = {}
        for step in self._steps(sorted(accounts)):
            rows = TokenAccount.objects.using(self.using).filter(pk__in=among(step, "bigint", self.using))
            for pk, user, pool in rows.values_list("pk", f"user__{login}", "pool__name"):
                found[pk] = user or pool or "?"
        return found

    def _refuse_other_terms(self, found: list[tuple[Line, datetime]]) -> None:
        """The ledger takes a key for the same where account, tokens and source are; whoever reads the file does not."""
        keys = {line.key for line, _at in found}
        accounts = sorted({line.owner.account for line, _at in found if line.owner and line.owner.account})
        moments = {at for _line, at in found}
        lots: dict[str, TokenAllocation] = {}
        for step in self._steps(accounts):
            rows = (
                TokenAllocation.objects.using(self.using)
                .filter(account__in=among(step, "bigint", self.using))
                .exclude(key="")
            )
            for lot in rows.filter(booked_at__gte=min(moments), booked_at__lte=max(moments)).iterator(chunk_size=2_000):
                if lot.key in keys:
                    lots[lot.key] = lot
        for line, at in found:
            if line.key not in lots:
                continue
            lot = lots[line.key]
            terms: dict[str, tuple[Any, Any]] = {
                "starts_at": (_later(line.starts_at, at), _later(lot.starts_at, at)),
                "expires_at": (line.expires_at, lot.expires_at),
                "priority": (line.priority, lot.priority),
                "paid_amount": (line.paid_amount, lot.paid_amount),
                "paid_currency": (line.paid_currency, lot.paid_currency),
            }
            for name, (now, then) in terms.items():
                if now != then:
                    self.reader.refuse(line, name, _differs(lot, then, self.zone))

    def _count_recent(self, lines: list[Line]) -> int:
        """Of how many lines the owner was given as many tokens from the same source lately."""
        accounts = {line.owner.account for line in lines if line.owner and line.owner.account}
        given: set[tuple[int, int, str]] = set()
        for step in self._steps(sorted(accounts)):
            lots = TokenAllocation.objects.using(self.using).filter(booked_at__gte=self.now - RECENT)
            lots = lots.filter(account__in=among(step, "bigint", self.using))
            given.update(lots.order_by().values_list("account", "amount", "source").distinct())
        return sum((line.owner.account, line.amount, line.source) in given for line in lines if line.owner)

    def _steps(self, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return (items[start : start + self.step] for start in range(0, len(items), self.step))

    # Rows

    def _write(self, lines: list[Line]) -> None:
        if not self.is_postgres:
            rows = [JobRow(**row) for row in map(self._row, lines)]
            JobRow.objects.using(self.using).bulk_create(rows, batch_size=STEP)
            return
        with connections[self.using].cursor() as cursor:
            copy_rows(cursor, JobRow._meta.db_table, COPIED, map(self._copied, lines))

    def _row(self, line: Line) -> dict[str, Any]:
        account = line.owner and line.owner.account
        row = {"job_id": self.job.pk, "number": line.number, "target": account}
        if not line.problems:
            return {**row, "data": line.values(), "code": "", "problems": None}
        return {**row, "data": {"cells": _kept(line)}, "code": line.problems[0]["code"], "problems": line.problems}

    def _copied(self, line: Line) -> tuple[Any, ...]:
        row = self._row(line)
        problems = row["problems"]
        return (*list(row.values())[:3], _dump(row["data"]), row["code"], None if problems is None else _dump(problems))


COPIED = ("job_id", "number", "target", "data", "code", "problems")
_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _later(starts: datetime | None, at: datetime) -> datetime | None:
    """A start that had come when it was granted changed nothing."""
    return starts if starts and starts > at else None


def _differs(lot: TokenAllocation, then: Any, zone: tzinfo) -> SheetError:
    template = gettext_noop(
        "The key was granted on %(when)s already, and there this was “%(then)s”. What was granted stays as it is: give"
        " the line another key to grant more."
    )
    said = then.isoformat() if isinstance(then, datetime) else plain(then) if isinstance(then, Decimal) else then
    when = timezone.localtime(lot.booked_at, zone).date().isoformat()
    return SheetError("differs", template, when=when, then="" if said is None else str(said))


def _kept(line: Line) -> list[str]:
    """The cells of a line with an error, to be given back with the reasons."""
    written = [storable("" if cell is None else str(cell)) for cell in line.cells]
    if sum(map(len, written)) <= MOST_KEPT:
        return written
    return [cell[:200] for cell in written[:100]]


def _is_empty(line: Line) -> bool:
    """A row of a workbook in which there are spaces alone."""
    is_readable = all(problem["code"] == "empty_cell" for problem in line.problems)
    return is_readable and all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in line.cells)
