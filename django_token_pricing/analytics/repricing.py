"""Bringing rolled-up costs to the price list of today: a dry run by model, then whole months made anew.

The dry run adds up the uses of each month between two moments at which any price begins: within such a stretch a model
has one price, so sums are enough. Applying is `rebuild`, a month a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.utils import formats
from django.utils.translation import gettext as _

from django_token_pricing import jobs
from django_token_pricing.analytics.periods import today, zone
from django_token_pricing.analytics.rollups import fold, rebuild, state
from django_token_pricing.analytics.rollups.state import next_month
from django_token_pricing.exceptions import InvalidPeriod
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.lib.provider_usage import Counts
from django_token_pricing.models import Job, ModelPrice, RollupState, TokenUsageLog, UsageDay
from django_token_pricing.tokens import prices

KIND = "analytics.reprice"
MOST_MONTHS = 60
# Models that the result names; the sums are of all.
MOST_LINES = 300
NOTHING = Decimal(0)
LEAST = Decimal("0.000001")
COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Repriced:
    """What a model's uses cost as they are rolled up, and at the price list of now; of how many that is unknown."""

    model: str
    before: Decimal = NOTHING
    after: Decimal = NOTHING
    unpriced_before: int = 0
    unpriced_after: int = 0

    def add(self, other: Repriced) -> None:
        self.before += other.before
        self.after += other.after
        self.unpriced_before += other.unpriced_before
        self.unpriced_after += other.unpriced_after

    @property
    def is_changed(self) -> bool:
        # SQLite adds up in floats.
        is_dearer = abs(self.after - self.before) >= LEAST
        return is_dearer or self.unpriced_before != self.unpriced_after

    def stored(self) -> list[Any]:
        return [self.model, str(self.before), str(self.after), self.unpriced_before, self.unpriced_after]

    @classmethod
    def of(cls, stored: list[Any]) -> Repriced:
        model, before, after, unpriced_before, unpriced_after = stored
        return cls(model, Decimal(before), Decimal(after), unpriced_before, unpriced_after)


def ask_repricing(first: date, until: date, *, actor: Any, key: UUID) -> Job:
    """Ask for a dry run of the months from `first` up to and without `until`, first days both.

    The same key gives the same job; confirming it applies it. Raises InvalidPeriod, RollupsPruned.
    """
    params = {"first": first.isoformat(), "until": until.isoformat()}
    return jobs.create(KIND, params=params, actor=actor, key=key)


def months_to_reprice() -> tuple[date, date]:
    """From the month in which prices changed, or else this one, to the end of this one; none that was pruned."""
    using = state.database()
    row = state.rollup_state()
    this_month = today().replace(day=1)
    first = this_month
    if row is not None and row.prices_changed_from is not None:
        first = min(first, row.prices_changed_from.astimezone(zone()).date().replace(day=1))
    least = state.whole_month(using)
    oldest = _months_before(this_month, MOST_MONTHS - 1)
    return max(first, oldest, least or oldest), next_month(this_month)


def repriceable_months() -> list[date]:
    """The months that can be worked out anew, from the oldest that has all its rows to this one."""
    this_month = today().replace(day=1)
    oldest = _months_before(this_month, MOST_MONTHS - 1)
    least = state.whole_month(state.database()) or oldest
    return months(max(oldest, least), next_month(this_month))


def _months_before(month: date, count: int) -> date:
    number = month.year * 12 + month.month - 1 - count
    return date(number // 12, number % 12 + 1, 1)


def months(first: date, until: date) -> list[date]:
    found = []
    while first < until:
        found.append(first)
        first = next_month(first)
    return found


# The dry run ---------------------------------------------------------------------------------------------------------


def repriced(month: date) -> dict[str, Repriced]:
    """A month by model: its costs as rolled up, and at the prices of now."""
    using = state.database()
    until = next_month(month)
    found: dict[str, Repriced] = {}

    def line(model: str) -> Repriced:
        return found.setdefault(model, Repriced(model))

    days = UsageDay.objects.using(using).filter(day__gte=month, day__lt=until).values("model")
    for shown in days.annotate(paid=Sum("cost"), unknown=Sum("unpriced")).order_by():
        line(shown["model"]).before += shown["paid"]
        line(shown["model"]).unpriced_before += shown["unknown"]
    for starts_at, ends_at in _stretches(month, until, using):
        uses = TokenUsageLog.objects.using(using).filter(used_at__gte=starts_at, used_at__lt=ends_at)
        for row in _sums(uses):
            price = prices.price_of(row["provider"], row["model"], starts_at)
            counts = Counts(
                input=row["sum_input_tokens"],
                output=row["sum_output_tokens"],
                cached_read=row["sum_cached_tokens"],
                cached_write=row["sum_cache_write_tokens"],
                reasoning=row["sum_reasoning_tokens"],
            )
            cost = prices.cost_of(counts, price)
            line(row["model"]).after += row["given"] + (cost or NOTHING)
            line(row["model"]).unpriced_after += row["open"] if cost is None else row["open"] - row["counted"]
    return found


def _stretches(month: date, until: date, using: str) -> Iterator[tuple[datetime, datetime]]:
    """The month, cut where any price begins."""
    first, last = (start_of_day(day, zone()) for day in (month, until))
    begun = ModelPrice.objects.using(using).filter(starts_at__gt=first, starts_at__lt=last)
    cuts = [first, *begun.order_by("starts_at").values_list("starts_at", flat=True).distinct(), last]
    yield from pairwise(cuts)


def _sums(uses: QuerySet[TokenUsageLog]) -> Any:
    """Of uses with a cost of their own that, of the others with counts the sums of these."""
    is_open = Q(cost__isnull=True)
    is_counted = is_open & (Q(input_tokens__isnull=False) | Q(output_tokens__isnull=False))
    sums = {f"sum_{name}": Sum(name, filter=is_counted, default=0) for name in COUNTS}
    return (
        uses.order_by()
        .values("provider", "model")
        .annotate(
            given=Sum("cost", default=NOTHING),
            open=Count("pk", filter=is_open),
            counted=Count("pk", filter=is_counted),
            **sums,
        )
    )


# The job -------------------------------------------------------------------------------------------------------------


@jobs.register
class RepriceCosts(jobs.Handler):
    """`params`: `first` and `until`, first days of months. A step is a month; the preview is the dry run."""

    kind = KIND
    permission = "django_token_pricing.change_modelprice"

    def title(self, job: Job) -> str:
        first, until = _range(job.params)
        words = _("Costs from %(first)s to %(last)s at the price list of now")
        facts = {"first": first, "last": until - timedelta(days=1)}
        return words % {name: formats.date_format(day, "F Y") for name, day in facts.items()}

    def check(self, params: dict[str, Any]) -> None:
        first, until = _range(params)
        state.require_whole(first, until, state.database())
        if len(months(first, until)) > MOST_MONTHS:
            raise InvalidPeriod(detail=_("These are more than %(most)s months. Choose fewer.") % {"most": MOST_MONTHS})

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        self.check(job.params)
        fold()
        version = _version()
        prices.forget()
        found: dict[str, Repriced] = {}
        wanted = months(*_range(job.params))
        for month in wanted:
            beat()
            for model, line in repriced(month).items():
                found.setdefault(model, Repriced(model)).add(line)
        whole = Repriced("")
        for line in found.values():
            whole.add(line)
        changed = [line for line in found.values() if line.is_changed]
        changed.sort(key=lambda line: (-abs(line.after - line.before), -line.unpriced_before, line.model))
        job.total = len(wanted)
        job.preview = {
            "whole": whole.stored(),
            "lines": [line.stored() for line in changed[:MOST_LINES]],
            "changed": len(changed),
            "models": len(found),
            "version": version,
        }

    def refusal(self, job: Job) -> str:
        if job.preview["version"] != _version():
            return _("Prices were changed since. Drop this, and look at what they come to now.")
        return ""

    def facts(self, job: Job) -> dict[str, tuple[Any, Any]]:
        whole = Repriced.of(job.preview["whole"])
        return {"cost": (whole.before, whole.after), "months": (None, job.total)}

    def step(self, job: Job) -> bool:
        wanted = months(*_range(job.params))
        if job.position < len(wanted):
            month = wanted[job.position]
            if job.position == 0:
                job.result = {**job.result, "version": _version()}
            made = rebuild(month, next_month(month))
            job.result["rows"] = job.result.get("rows", 0) + made.rows
            job.position += 1
            job.done += 1
        return job.position < len(wanted)

    def finish(self, job: Job) -> None:
        """Prices that were changed while it ran leave their note where it is."""
        using = state.database()
        first, until = _range(job.params)
        with transaction.atomic(using=using), state.locked(using) as row:
            since = row.prices_changed_from
            if since is None or job.result.get("version") != _version():
                return
            least = state.whole_month(using)
            if since < start_of_day(first, zone()) and first != least:
                return
            _set_reached(row, until, using)


def _set_reached(row: RollupState, until: date, using: str) -> None:
    rest = start_of_day(until, zone())
    is_all = until > today()
    row.prices_changed_from = None if is_all else max(rest, row.prices_changed_from or rest)
    row.save(using=using, update_fields=["prices_changed_from"])


def _range(params: dict[str, Any]) -> tuple[date, date]:
    try:
        return date.fromisoformat(params["first"]), date.fromisoformat(params["until"])
    except (KeyError, TypeError, ValueError):
        raise InvalidPeriod(detail=_("Give the first days of two months.")) from None


def _version() -> int:
    """Of the price list: the number of its last change."""
    versions: Any = ModelPrice.history
    found: int | None = (
        versions.using(state.database()).order_by("-history_id").values_list("history_id", flat=True).first()
    )
    return found or 0
