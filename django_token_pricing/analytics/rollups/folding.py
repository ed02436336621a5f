"""Bring the roll-ups up to the rows, exactly once each, whatever order they were committed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import connections
from django.db.models import Q
from django.utils import timezone

from django_token_pricing.analytics.rollups import portable, postgresql, state
from django_token_pricing.analytics.rollups.targets import TARGETS
from django_token_pricing.choices import ChartDimension, FoldKind
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import ChartSlot, FoldQueue, RollupState

# Of the portable path: rows that one transaction takes.
BATCH = 2_000
# The fifth is that of “other”. Later categories have none of their own.
COLOURS = (1, 2, 3, 4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """How many rows of roll-ups were changed."""

    changed: int


def fold() -> Folded:
    """Add the rows of usage and ledger that came since last time.

    On PostgreSQL these are the rows of the transactions before the oldest one that is still under way in this
    database; a long transaction delays what came after it began, and loses nothing.
    Elsewhere every row is queued with itself. Two folds at once do the work once. Raises RollupsElsewhere.
    """
    using = state.database()
    if connections[using].vendor == "postgresql":
        return _fold_transactions(using)
    changed = 0
    while (step := _fold_queue(using)) is not None:
        changed += step
    return Folded(changed=changed)


def _fold_transactions(using: str) -> Folded:
    with state.locked(using) as row, connections[using].cursor() as cursor:
        # Read after the lock: what another fold has taken lies below its horizon.
        high, reached = state.settled_transactions(using)
        changed = 0
        if high > row.horizon:
            postgresql.gather(cursor, postgresql.Span(high=high, low=row.horizon), row.zone)
            changed = sum(postgresql.add(cursor, target) for target in TARGETS)
            colour(lambda dimension: postgresql.names(cursor, dimension), using)
            row.horizon = high
        _reached(row, reached, using)
    return Folded(changed=changed)


def _fold_queue(using: str) -> int | None:
    """One step; None when there was nothing left."""
    with state.locked(using) as row:
        queued = list(FoldQueue.objects.using(using).order_by("pk").values_list("pk", "kind", "row")[:BATCH])
        if not queued:
            _reached(row, timezone.now(), using)
            return None
        gathered = portable.Gathered(using)
        numbers = {kind: [number for _pk, of, number in queued if of == kind] for kind in FoldKind.values}
        for step in steps(numbers[FoldKind.USAGE]):
            gathered.add_uses(portable.uses(using, Q(pk__in=step)))
        for step in steps(numbers[FoldKind.ENTRY]):
            for entry in portable.entries(using, Q(pk__in=step)):
                gathered.add_flow(entry)
                gathered.add_revenue(entry)
        changed = sum(gathered.add(target) for target in TARGETS)
        colour(gathered.names, using)
        for step in steps([pk for pk, _kind, _number in queued]):
            FoldQueue.objects.using(using).filter(pk__in=step).delete()
        return changed


def _reached(row: RollupState, moment: datetime, using: str) -> None:
    row.folded_at = moment
    row.save(using=using, update_fields=["horizon", "folded_at"])


def colour(names: Callable[[str], list[str]], using: str) -> None:
    """Give the categories that are new a colour each, for as long as there are colours."""
    slots = ChartSlot.objects.using(using)
    for dimension in ChartDimension.values:
        found = names(dimension)
        known = set(slots.filter(dimension=dimension, name__in=found).values_list("name", flat=True))
        fresh = [name for name in found if name not in known]
        if fresh:
            given = slots.filter(dimension=dimension, slot__gt=0).count()
            colours = [*COLOURS[given:], *([0] * len(fresh))]
            slots.bulk_create(
                ChartSlot(dimension=dimension, name=name, slot=slot) for name, slot in zip(fresh, colours, strict=False)
            )
