"""The mirrors' sync: events from the host's adapter are stored as they come, and each mirror's row is the newest one.

Facts are complete, so the fold is a choice: of all stored events of a reference, the one with the greatest
(occurred_at, id) is its row. The row is the same in whatever order events come and however often, so reading one again
costs nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import connections, router, transaction
from django.db.models import F, Max, QuerySet, Window
from django.db.models.functions import RowNumber
from django.dispatch import Signal
from django.utils.timezone import now
from django.utils.translation import gettext as _

from django_token_pricing import adapters, models, signals
from django_token_pricing.exceptions import AdapterError, AdapterFailed, InvalidInput
from django_token_pricing.payments import facts, tiers

BATCH = 1_000
# A host stamps an event before its transaction commits, so one can turn up behind others that were read already. What
# commits later after its stamp than this is found by a full resync.
OVERLAP = timedelta(minutes=10)
# For clocks that disagree. An event from far ahead would outlive all that happens until then.
AHEAD = timedelta(minutes=5)
PROBLEMS_KEPT = 1_000
BEGINNING = datetime.min.replace(tzinfo=timezone.utc)
END = datetime.max.replace(tzinfo=timezone.utc)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync read and did.

    `refused` events could not be stored and will be read again; `problems` says why, and which users are unknown. Of
    very many problems it holds the first thousand.
    """

    read: int
    new_events: int
    changed: int
    gone: int
    refused: int
    problems: tuple[AdapterError, ...]


def sync_subscriptions(*, full: bool = False, as_of: datetime | None = None) -> SyncResult:
    """Bring the subscription mirrors up to what the host tells, and the tiers of the accounts with them.

    Each batch commits on its own, and syncs may run side by side. An event that cannot be stored stops nothing: the
    result names it, and every sync reads it again until the host has mended it. `full` reads all there is, and marks
    as gone what the host no longer has. `as_of` stands in for the clock.

    Raises AdapterError where the adapter raises. What was stored by then stays; the next sync goes on from there.
    """
    return _Sync(_SUBSCRIPTIONS, full=full, as_of=as_of).run()


def sync_payments(*, full: bool = False, as_of: datetime | None = None) -> SyncResult:
    """Bring the payment mirrors up to what the host tells, as `sync_subscriptions` does."""
    return _Sync(_PAYMENTS, full=full, as_of=as_of).run()


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    adapter: Callable[[], adapters.SubscriptionAdapter | adapters.PaymentAdapter]
    told: type[adapters.SubscriptionEvent | adapters.PaymentEvent]
    facts: type[adapters.SubscriptionFacts | adapters.PaymentFacts]
    event: type[models.SubscriptionEvent | models.PaymentEvent]
    mirror: type[models.SubscriptionMirror | models.PaymentMirror]
    synced: Signal


_SUBSCRIPTIONS = _Kind(
    "subscriptions",
    adapters.get_subscription_adapter,
    adapters.SubscriptionEvent,
    adapters.SubscriptionFacts,
    models.SubscriptionEvent,
    models.SubscriptionMirror,
    signals.subscriptions_synced,
)
_PAYMENTS = _Kind(
    "payments",
    adapters.get_payment_adapter,
    adapters.PaymentEvent,
    adapters.PaymentFacts,
    models.PaymentEvent,
    models.PaymentMirror,
    signals.payments_synced,
)


class _Reach:
    """How far a run lets the cursor go: never past an event that was refused or may not have been read yet.

    While events come oldest first, each batch moves the cursor; after the first that does not, only the end does.

    Another run may move the cursor meanwhile. Whoever notices stops raising it, for the other may hold it back for an
    event that this run never saw; lowering it is always safe.
    """

    def __init__(self, start: datetime | None) -> None:
        self.start = self.newest = self.written = start or BEGINNING
        self.last = BEGINNING
        self.limit = END
        self.is_ordered = self.is_alone = True

    def saw(self, moment: datetime) -> None:
        self.is_ordered = self.is_ordered and moment >= self.last
        self.last = moment
        self.newest = max(self.newest, moment)

    def refused(self, moment: datetime | None) -> None:
        self.limit = min(self.limit, moment or self.start)

    def move(self, cursor: models.SyncCursor, *, is_complete: bool = False) -> None:
        goal = min(self.newest if self.is_ordered or is_complete else self.start, self.limit)
        found = cursor.read_until or BEGINNING
        self.is_alone = self.is_alone and found == self.written
        self.written = goal if self.is_alone else min(goal, found)
        cursor.read_until = None if self.written == BEGINNING else self.written


class _Sync:
    """One run."""

    def __init__(self, kind: _Kind, *, full: bool, as_of: datetime | None) -> None:
        self.kind = kind
        self.full = full
        self.as_of = as_of and facts.moment("as_of", as_of)
        self.db = router.db_for_write(kind.mirror)
        self.adapter = kind.adapter()
        self.read = self.new_events = self.changed = self.gone = self.refused = 0
        self.problems: list[AdapterError] = []

    def run(self) -> SyncResult:
        cursor, _created = models.SyncCursor.objects.using(self.db).get_or_create(name=self.kind.name)
        self.reach = _Reach(cursor.read_until)
        since = None if self.full or cursor.read_until is None else cursor.read_until - OVERLAP
        told = self.ask(partial(self.adapter.events, since=since))
        while batch := list(islice(told, BATCH)):
            self.take(batch)
        if self.full:
            self.compare()
        with self.locked() as cursor:
            self.reach.move(cursor, is_complete=True)
            cursor.synced_at = self.now()
            cursor.full_at = cursor.synced_at if self.full else cursor.full_at
            cursor.save()
        return SyncResult(self.read, self.new_events, self.changed, self.gone, self.refused, tuple(self.problems))

    def now(self) -> datetime:
        """The clock, asked for each batch: a run can last, and events of its own time are not from the future."""
        return self.as_of or now()

    def ask(self, question: Callable[[], Iterator[T]]) -> Iterator[T]:
        try:
            yield from question()
        except Exception as error:
            raise AdapterFailed(adapter=self.name, ref="", detail=repr(error)) from error

    @contextmanager
    def locked(self) -> Iterator[models.SyncCursor]:
        """A transaction that no other sync of this kind is in."""
        cursors = models.SyncCursor.objects.using(self.db).filter(pk=self.kind.name)
        with transaction.atomic(using=self.db):
            # A write locks the row on every database. SQLite has no other lock, and a transaction that read before
            # it writes fails there when somebody wrote in between.
            cursors.update(read_until=F("read_until"))
            yield cursors.get()

    # Events

    def take(self, batch: Sequence[object]) -> None:
        self.read += len(batch)
        latest = self.now() + AHEAD
        events = [event for told in batch if (event := self.checked(told, latest)) is not None]
        with self.locked() as cursor:
            if events:
                self.fold(events)
            self.reach.move(cursor)
            cursor.save()

    def checked(self, told: Any, latest: datetime) -> models.SubscriptionEvent | models.PaymentEvent | None:
        """The event as it is stored, or None for one that cannot be."""
        ref, occurred_at = "", None
        try:
            if not isinstance(told, self.kind.told) or not isinstance(told.facts, self.kind.facts):
                raise InvalidInput(detail=_("%(told)s is no event with facts.") % {"told": ascii(told)[:80]})
            ref = told.facts.ref
            occurred_at = facts.moment("occurred_at", told.occurred_at)
            if occurred_at > latest:
                raise InvalidInput(detail=_("%(moment)s is in the future.") % {"moment": occurred_at})
            stored = facts.canonical(told.facts)
        except InvalidInput as error:
            self.refused += 1
            self.reach.refused(occurred_at)
            self.problem(ref, error.detail)
            return None
        self.reach.saw(occurred_at)
        return self.kind.event(
            external_ref=stored["ref"], occurred_at=occurred_at, digest=facts.digest(stored), facts=stored
        )

    def fold(self, events: Sequence[Any]) -> None:
        """Store the events, and write the mirrors' rows that are now different."""
        mirrors = self.kind.mirror.objects.using(self.db)
        refs = {event.external_ref for event in events}
        before = self.store(events)
        mirrored = mirrors.in_bulk(refs, field_name="external_ref")
        newest = self.newest(refs, since=min(event.occurred_at for event in events))
        told = {event.external_ref: facts.columns(event.facts, self.kind.mirror) for event in newest}
        users = self.existing(row["user_id"] for row in told.values())
        changed = []
        for event in newest:
            row, values = mirrored.get(event.external_ref), told[event.external_ref]
            if values["user_id"] not in users:
                # Told once: later on, it is a user whom the host has deleted.
                if row is None and values["user_id"] is not None:
                    self.problem(event.external_ref, _("There is no user %(user)s.") % {"user": values["user_id"]})
                values["user_id"] = None
            values["occurred_at"] = event.occurred_at
            # History that is told again brings nothing back.
            values["gone_at"] = row.gone_at if row is not None and event.pk <= before else None
            if row is None or any(getattr(row, name) != value for name, value in values.items()):
                changed.append(self.kind.mirror(external_ref=event.external_ref, synced_at=self.now(), **values))
        self.write(changed)
        self.retier(row.user_id for row in [*mirrored.values(), *changed])
        self.changed += len(changed)
        self.tell([row.external_ref for row in changed])

    def store(self, events: Sequence[Any]) -> int:
        """Insert those that are new, which get ids above the returned one: nobody else inserts under the lock."""
        stored = self.kind.event.objects.using(self.db)
        before: int = stored.aggregate(last=Max("pk"))["last"] or 0
        stored.bulk_create(events, ignore_conflicts=True)
        self.new_events += stored.filter(pk__gt=before).count()
        return before

    def newest(self, refs: Collection[str], *, since: datetime) -> list[Any]:
        """Of each reference the event that is its row. It is not older than `since`: that much was just stored."""
        stored: QuerySet[Any] = self.kind.event.objects.using(self.db)
        latest_first = Window(RowNumber(), partition_by="external_ref", order_by=["-occurred_at", "-pk"])
        ranked = stored.filter(external_ref__in=refs, occurred_at__gte=since).annotate(rank=latest_first)
        return list(stored.filter(pk__in=ranked.filter(rank=1).values("pk")))

    def existing(self, users: Iterable[Any]) -> set[Any]:
        named = {user for user in users if user is not None}
        found = get_user_model()._base_manager.using(self.db).filter(pk__in=named)
        return {None, *found.values_list("pk", flat=True)}

    def write(self, rows: Sequence[Any]) -> None:
        fields = [field.name for field in self.kind.mirror._meta.concrete_fields]
        has_target = connections[self.db].features.supports_update_conflicts_with_target
        self.kind.mirror.objects.using(self.db).bulk_create(
            rows,
            update_conflicts=True,
            update_fields=[name for name in fields if name not in ("id", "external_ref")],
            unique_fields=["external_ref"] if has_target else None,
        )

    # What is gone

    def compare(self) -> None:
        """Mark as gone what the host no longer has, and take the mark off what it has again.

        Our side is read first: a row that comes while the host is listing its references is then no candidate. It is
        held as two sets of texts, some 150 MB for a million.
        """
        present, gone, back = set[str](), set[str](), set[str]()
        for ref, gone_at in self.kind.mirror.objects.using(self.db).values_list("external_ref", "gone_at").iterator():
            (present if gone_at is None else gone).add(ref)
        for ref in self.ask(self.adapter.current_refs):
            if not isinstance(ref, str):  # which would be found nowhere, and everything would be gone
                raise self.error(ascii(ref), _("A reference is a text."))
            present.discard(ref)
            if ref in gone:
                back.add(ref)
        self.gone += self.mark(present, gone_at=self.now())
        self.changed += self.mark(back, gone_at=None)

    def mark(self, refs: set[str], *, gone_at: datetime | None) -> int:
        marked = 0
        waiting = iter(sorted(refs))
        while batch := list(islice(waiting, BATCH)):
            with self.locked():
                rows = self.kind.mirror.objects.using(self.db).filter(
                    external_ref__in=batch, gone_at__isnull=gone_at is not None
                )
                found = dict(rows.values_list("external_ref", "user_id"))
                rows.update(gone_at=gone_at, synced_at=self.now())
                self.retier(found.values())
                self.tell(list(found))
                marked += len(found)
        return marked

    def retier(self, users: Iterable[Any]) -> None:
        if self.kind is _SUBSCRIPTIONS:
            tiers.assign({user for user in users if user is not None}, using=self.db)

    # News

    def tell(self, refs: list[str]) -> None:
        if refs:
            signal = partial(self.kind.synced.send_robust, sender=self.kind.mirror, refs=refs)
            transaction.on_commit(signal, using=self.db)

    def problem(self, ref: object, detail: str) -> None:
        if len(self.problems) < PROBLEMS_KEPT:
            shown = ref if isinstance(ref, str) and ref.isprintable() else ascii(ref)
            self.problems.append(self.error(shown[:150], detail))

    def error(self, ref: str, detail: str) -> AdapterError:
        return AdapterError(adapter=self.name, ref=ref, detail=detail)

    @property
    def name(self) -> str:
        adapter = type(self.adapter)
        return f"{adapter.__module__}.{adapter.__qualname__}"
