"""The one row that says how far the roll-ups have come. Whoever changes or checks them locks it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

from django.db import connections, router, transaction
from django.utils.translation import gettext as _

from django_token_pricing.analytics.periods import zone
from django_token_pricing.exceptions import InvalidPeriod, RollupsElsewhere, RollupsPruned
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.models import LedgerPrune, RollupState, TokenUsageLog


def database() -> str:
    return router.db_for_write(TokenUsageLog)


def rollup_state() -> RollupState | None:
    """How far the roll-ups have come; None before the first fold."""
    return RollupState.objects.using(database()).filter(pk=1).first()


@contextmanager
def locked(using: str, *, anywhere: bool = False) -> Iterator[RollupState]:
    """The state, locked until the transaction ends.

    Raises RollupsElsewhere where the roll-ups are of another zone, or of a database whose transactions were counted
    otherwise, unless `anywhere`.
    """
    RollupState.objects.using(using).get_or_create(pk=1, defaults={"zone": str(zone())})
    with transaction.atomic(using=using):
        if connections[using].vendor == "sqlite":
            # A transaction that read first may find that it can write no more.
            RollupState.objects.using(using).filter(pk=1).update(id=1)
        state = RollupState.objects.using(using).select_for_update().get(pk=1)
        if not anywhere and (detail := elsewhere(state, using)):
            raise RollupsElsewhere(detail=detail)
        yield state


def elsewhere(state: RollupState, using: str) -> str:
    """Why the roll-ups cannot be continued; "" where they can."""
    if state.zone != str(zone()):
        return _("The roll-ups are in the zone %(old)s, and REPORTING_ZONE is %(new)s now.") % {
            "old": state.zone,
            "new": zone(),
        }
    if connections[using].vendor == "postgresql" and state.horizon > next_transaction(using):
        return _("The roll-ups come from a database whose transactions were counted further than this one's.")
    return ""


def next_transaction(using: str) -> int:
    """The first transaction id that was not given away yet."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        found: int = cursor.fetchone()[0]
    return found


# A snapshot counts the transactions of all databases of a cluster. Those of another one, and those of autovacuum, can
# write none of our rows, so they delay nothing: who holds the lock that each transaction has on its own id is told by
# pg_locks, to everybody. An id that is not found there counts as one of ours. So does the one of who asks: what else it
# will write has the same id. With it, since when the oldest of them is under way, as far as this role may see that.
_SETTLED = """
WITH snapshot AS MATERIALIZED (SELECT pg_current_snapshot() AS taken)
SELECT least(coalesce(
    (SELECT min(x::text::bigint) FROM pg_snapshot_xip(snapshot.taken) AS x WHERE NOT EXISTS (
        SELECT 1 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
            AND l.transactionid::text::bigint = x::text::bigint % 4294967296
            AND (a.datid <> (SELECT oid FROM pg_database WHERE datname = current_database())
                OR a.backend_type = 'autovacuum worker'))),
    pg_snapshot_xmax(snapshot.taken)::text::bigint), pg_current_xact_id_if_assigned()::text::bigint),
    least(clock_timestamp(), (
        SELECT min(a.xact_start) FROM pg_stat_activity a
        WHERE a.datname = current_database() AND a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
            AND a.backend_type <> 'autovacuum worker'))
FROM snapshot
"""


def settled_transactions(using: str) -> tuple[int, datetime]:
    """All transactions of this database below it have ended, and what they wrote is seen by every later statement.

    The moment is that up to which nothing can be missing.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_SETTLED)
        found: tuple[int, datetime] = cursor.fetchone()
    return found


def pruned_before(using: str) -> datetime | None:
    return LedgerPrune.objects.using(using).order_by("-before").values_list("before", flat=True).first()


def whole_month(using: str) -> date | None:
    """The first month that was not pruned, not even in part; None where nothing was pruned."""
    before = pruned_before(using)
    if before is None:
        return None
    first = before.astimezone(zone()).date().replace(day=1)
    return first if start_of_day(first, zone()) >= before else next_month(first)


def next_month(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def require_whole(first: date | None, until: date | None, using: str) -> None:
    """Raises InvalidPeriod for what are no months, RollupsPruned for months of which rows are gone."""
    for day in (first, until):
        if day is not None and day.day != 1:
            raise InvalidPeriod(detail=_("Roll-ups are checked and made anew by months. Give their first days."))
    if first is not None and until is not None and until <= first:
        raise InvalidPeriod(detail=_("It ends before it begins. Exchange the two days."))
    least = whole_month(using)
    if least is not None and (first is None or first < least):
        raise RollupsPruned(before=pruned_before(using))
