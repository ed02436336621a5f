"""What the engine asks of those who have bulk work to do, and who they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import QuerySet
from django.utils import translation
from django.utils.translation import gettext as _

from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.lib.steps import STEP, steps
from django_token_pricing.models import Job, JobRow

Beat = Callable[[], None]
# Before so many rows were decided a share of errors says little.
ENOUGH = 100


class Stopped(Exception):
    """The job was cancelled, or another worker has taken it over: leave it as it is."""


@dataclass(slots=True)
class Applied:
    """What a chunk came to. `problems` says by the row's number what was wrong with it; such a row changed nothing."""

    done: int = 0
    skipped: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    problems: dict[int, TokenPricingError] = field(default_factory=dict)
    # What is to be said of rows that were done or skipped, such as what could not be taken back.
    notes: dict[int, list[TokenPricingError]] = field(default_factory=dict)

    def add(self, other: Applied) -> None:
        self.done += other.done
        self.skipped += other.skipped
        self.sums.update(other.sums)
        self.problems.update(other.problems)
        self.notes.update(other.notes)


@dataclass(frozen=True, slots=True)
class Undo:
    """Until when a job can be taken back, or in words why it cannot be.

    `left` of `whole` tokens could be taken back now; None where counting them is left to the preview.
    """

    refusal: str = ""
    until: datetime | None = None
    left: int | None = None
    whole: int | None = None


class Handler(ABC):
    """One kind of bulk work. `kind` is stored with the job, so it never changes."""

    kind: ClassVar[str]
    # What a person needs, as "app.codename", to ask for such a job, to confirm and to stop it.
    permission: ClassVar[str]
    # Whether a person looks at what was prepared before it is done.
    is_confirmed: ClassVar[bool] = True
    # Whether the file of the job is a result, for those who have the permission.
    writes_file: ClassVar[bool] = False
    # Whether who confirms it may say at how many errors it is to stop.
    stops_at_errors: ClassVar[bool] = False
    # The kind of job that takes back what one of this kind did, with {"undoes": its number} as params.
    undo_kind: ClassVar[str] = ""

    @abstractmethod
    def title(self, job: Job) -> str:
        """What the job does, in a few words."""

    def permits(self, user: Any, job: Job) -> bool:
        """Whether this person may have the file of the job, where it is a result."""
        return bool(user.has_perm(self.permission))

    def check(self, params: dict[str, Any]) -> None:  # noqa: B027 - some take any
        """Raises TokenPricingError for terms with which such a job could do nothing."""

    @abstractmethod
    def prepare(self, job: Job, beat: Beat) -> None:
        """Freeze the rows, set `job.total` and `job.preview`. It may be run again from the start.

        It runs outside of a transaction and may commit as it goes. `beat` saves the job's progress and raises Stopped
        when the work is no longer wanted; call it at least every few seconds. Raises TokenPricingError to fail the job.
        """

    def step(self, job: Job) -> bool:
        """Do the next piece in the engine's transaction, and move the job's position and counts; False at the end."""
        return False

    def finish(self, job: Job) -> None:  # noqa: B027 - most have nothing to add
        """What follows from the whole, in the transaction of the last piece."""

    def refusal(self, job: Job) -> str:
        """Why what was prepared cannot be confirmed; empty when it can."""
        return ""

    def facts(self, job: Job) -> dict[str, tuple[Any, Any]]:
        """For the audit event that confirming writes: from what, to what."""
        return {}

    def undo(self, job: Job) -> Undo:
        """What can be taken back of what the job did, asked of one that is over."""
        return Undo(refusal=_("This kind of work cannot be taken back."))


class Chunk:
    """Rows of a job whose numbers are above `after` and up to `upto`. They are read only by whoever looks at them."""

    def __init__(self, job: Job, after: int, upto: int, count: int) -> None:
        self.job = job
        self.after = after
        self.upto = upto
        self.size = count
        self._rows: list[JobRow] | None = None

    @classmethod
    def next(cls, job: Job, after: int, size: int) -> Chunk:
        """The next rows to do, at most `size`; empty at the end of the job."""
        numbers = job.rows.using(job._state.db).filter(number__gt=after, code="").order_by("number")
        upto = numbers.values_list("number", flat=True)[size - 1 : size].first()
        if upto is not None:
            return cls(job, after, upto, size)
        rest = list(numbers.values_list("number", flat=True))
        return cls(job, after, rest[-1] if rest else after, len(rest))

    @property
    def queryset(self) -> QuerySet[JobRow]:
        rows = self.job.rows.using(self.job._state.db)
        return rows.filter(number__gt=self.after, number__lte=self.upto, code="")

    def halves(self) -> tuple[Chunk, Chunk]:
        first = self.size // 2
        numbers = self.queryset.order_by("number").values_list("number", flat=True)
        middle = numbers[first - 1 : first].get()
        job = self.job
        return Chunk(job, self.after, middle, first), Chunk(job, middle, self.upto, self.size - first)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[JobRow]:
        return iter(self._read())

    def _read(self) -> list[JobRow]:
        if self._rows is None:
            self._rows = list(self.queryset.order_by("number"))
        return self._rows


class RowsHandler(Handler):
    """Bulk work on frozen rows. A chunk that fails is halved until the row that is to blame stands alone."""

    # Accounts stay locked for a chunk.
    chunk: ClassVar[int] = 1_000

    @abstractmethod
    def apply(self, job: Job, rows: Chunk) -> Applied:
        """Do these rows, all or none. Raises TokenPricingError where one of them cannot be done."""

    def chunk_size(self, job: Job) -> int:
        return self.chunk

    def step(self, job: Job) -> bool:
        size = self.chunk_size(job)
        if job.most_errors is not None:
            # A deed that goes wrong with all is to be stopped before a whole chunk of it.
            decided = failing(job)[1]
            size = min(size, ENOUGH - decided) if decided < ENOUGH else size
        rows = Chunk.next(job, job.position, size)
        if rows:
            applied = self._apply(job, rows)
            record_problems(job, {number: [error] for number, error in applied.problems.items()} | applied.notes)
            if applied.notes:
                applied.sums["noted"] += len(applied.notes)
            job.position = rows.upto
            job.done += applied.done
            job.skipped += applied.skipped
            job.failed += len(applied.problems)
            for name, value in applied.sums.items():
                job.result[name] = job.result.get(name, 0) + value
        return len(rows) == size

    def _apply(self, job: Job, rows: Chunk) -> Applied:
        try:
            with transaction.atomic(using=job._state.db):
                return self.apply(job, rows)
        except TokenPricingError as error:
            if len(rows) == 1:
                return Applied(problems={rows.upto: error})
        one, other = rows.halves()
        applied = self._apply(job, one)
        applied.add(self._apply(job, other))
        return applied


def failing(job: Job) -> tuple[int, int]:
    """How many rows could not be done, and how many were decided, those not counted that the preview had set aside."""
    set_aside = job.preview.get("set_aside", 0)
    return job.failed - set_aside, job.decided - set_aside


def record_problems(job: Job, problems: dict[int, list[TokenPricingError]]) -> None:
    for step in steps(sorted(problems)):
        rows = list(job.rows.using(job._state.db).filter(number__in=step))
        for row in rows:
            errors = problems[row.number]
            row.code, row.problems = errors[0].code, [described(error) for error in errors]
        JobRow.objects.using(job._state.db).bulk_update(rows, ["code", "problems"], batch_size=STEP)


def described(error: TokenPricingError) -> dict[str, Any]:
    """The error as it can be stored and shown in any language later."""
    with translation.override(None):
        template = str(error.template)
    facts = {
        name: fact if fact is None or isinstance(fact, (bool, int, str)) else str(fact)
        for name, fact in error.facts.items()
    }
    return {"code": error.code, "template": template, "facts": facts}


_handlers: dict[str, Handler] = {}
_selections: dict[str, Callable[[dict[str, Any], Any], QuerySet[Any]]] = {}


def register(handler: type[Handler]) -> type[Handler]:
    _handlers[handler.kind] = handler()
    return handler


def handler_of(job: Job) -> Handler:
    """Raises KeyError for a kind that nobody registered, such as one of an app that was removed."""
    return _handlers[job.kind]


def register_selection(name: str, resolve: Callable[[dict[str, Any], Any], QuerySet[Any]]) -> None:
    """`resolve(params, actor)` gives the rows that `params` choose and that the actor may see."""
    _selections[name] = resolve


def selection(params: dict[str, Any], actor: Any) -> QuerySet[Any]:
    """The rows chosen by {"by": name, …}."""
    return _selections[params["by"]](params, actor)


def freeze(job: Job, rows: QuerySet[Any]) -> int:
    """Make a row of the job for each row chosen, in one statement; their numbers run from 1 by primary key."""
    using = job._state.db or DEFAULT_DB_ALIAS
    job.rows.using(using).all().delete()
    try:
        sql, given = rows.using(using).order_by().values("pk").query.get_compiler(using).as_sql()
    except EmptyResultSet:
        return 0
    quote = connections[using].ops.quote_name
    table = quote(JobRow._meta.db_table)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (job_id, number, target, code)"
            f" SELECT %s, row_number() OVER (ORDER BY x.pk), x.pk, '' FROM ({sql}) AS x",
            [job.pk, *given],
        )
        return int(cursor.rowcount)
