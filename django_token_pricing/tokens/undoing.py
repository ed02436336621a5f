"""Taking back what bulk work granted: what is left of each lot, under its account's lock; the rest is reported.

Only grants are taken back so. What a subtraction or an expiry took came out of lots whose dates and prices stay with
them; given back it would be other tokens, so that is a grant which somebody decides on.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import jobs
from django_token_pricing.choices import EntryKind
from django_token_pricing.models import AuditEvent, Job, LedgerEntry, TokenAllocation, TokenHoldLot
from django_token_pricing.tokens import booking, corrections_many

KIND = "tokens.undo"
# Of so many lots the job's page counts at once what is left; of more the preview does.
COUNTED = 10_000
SAMPLED = 2


def how(job: Job) -> jobs.Undo:
    """For handlers of deeds that grant: what their lots still have."""
    if job.event is None:
        return jobs.Undo(refusal=_("It granted nothing."))
    if job.done > COUNTED:
        return jobs.Undo()
    now = timezone.now()
    lots = lots_of(job)
    found = lots.aggregate(
        lots=Count("pk"),
        whole=Sum("amount"),
        alive=Sum("remaining", filter=alive(now)),
        endless=Count("pk", filter=Q(expires_at=None)),
        ends=Max("expires_at"),
    )
    if not found["lots"]:
        return jobs.Undo(refusal=_("It granted nothing."))
    held = held_of(lots, now).aggregate(n=Sum("amount"))["n"] if found["alive"] else 0
    left = (found["alive"] or 0) - (held or 0)
    until = None if found["endless"] else found["ends"]
    if not left:
        return jobs.Undo(refusal=_("Nothing of what it granted is left."), until=until, left=0, whole=found["whole"])
    return jobs.Undo(until=until, left=left, whole=found["whole"])


def lots_of(job: Job) -> QuerySet[TokenAllocation]:
    """What a job granted: by its audit event, or by those that rows with reasons of their own have beneath it."""
    beneath = AuditEvent.objects.filter(target_type=AuditEvent._meta.label_lower, target_id=str(job.event_id))
    return TokenAllocation.objects.using(job._state.db).filter(
        Q(event=job.event_id) | Q(event__in=beneath.values("pk"))
    )


def alive(at: datetime) -> Q:
    return Q(expires_at=None) | Q(expires_at__gt=at)


def held_of(lots: QuerySet[TokenAllocation], at: datetime) -> QuerySet[TokenHoldLot]:
    """What open holds reserve of these lots."""
    rows = TokenHoldLot.objects.using(lots.db).filter(closed_at=None, expires_at__gt=at)
    living = lots.filter(alive(at), is_open=True).order_by()
    return rows.filter(account__in=living.values("account"), allocation__in=living.values("pk"))


@jobs.register
class UndoGrants(jobs.RowsHandler):
    """`params`: undoes, the number of the job whose lots are taken back. A row is a lot."""

    kind = KIND
    permission = "django_token_pricing.change_lots"
    chunk = 1_000

    def title(self, job: Job) -> str:
        return _("Undo of job %(number)s") % {"number": job.params["undoes"]}

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        undone = Job.objects.using(job._state.db).select_related("event").get(pk=job.params["undoes"])
        with transaction.atomic(using=job._state.db):
            beat()
            job.total = jobs.freeze(job, lots_of(undone))
        now = timezone.now()
        lots = self.lots(job)
        found = lots.aggregate(
            granted=Sum("amount"),
            left=Sum("remaining"),
            alive=Sum("remaining", filter=alive(now)),
            accounts=Count("account", distinct=True),
        )
        sums = {name: int(value or 0) for name, value in found.items()}
        beat()
        held = int(held_of(lots, now).aggregate(n=Sum("amount"))["n"] or 0)
        used = lots.filter(remaining__lt=F("amount")).order_by()
        entries = LedgerEntry.objects.using(job._state.db).filter(allocation__in=used.values("pk"))
        booked = entries.aggregate(
            lapsed=Sum("amount", filter=Q(kind=EntryKind.EXPIRE)),
            moved=Sum("amount", filter=Q(kind__in=corrections_many.MOVED)),
        )
        lapsed, moved = (-int(booked[name] or 0) for name in ("lapsed", "moved"))
        job.preview = {
            "as_of": now.isoformat(),
            "accounts": sums["accounts"],
            "granted": sums["granted"],
            "taken": sums["alive"] - held,
            "held": held,
            "expired": lapsed + sums["left"] - sums["alive"],
            "moved": moved,
            "spent": sums["granted"] - sums["left"] - lapsed - moved,
        }
        beat()
        job.preview["sample"] = list(self._sample(job, now))

    def lots(self, job: Job) -> QuerySet[TokenAllocation]:
        lots = TokenAllocation.objects.using(job._state.db)
        return lots.filter(pk__in=job.rows.values("target"))

    def _sample(self, job: Job, now: datetime) -> Iterator[dict[str, Any]]:
        """Lots that show each case: whole, partly used, used up, held and expired."""
        lots = self.lots(job)
        first = job.rows.order_by("number").values_list("target", flat=True)[:SAMPLED]
        living = lots.filter(alive(now))
        held_lots = held_of(lots, now).order_by("allocation").values("allocation")
        cases = [
            living.filter(remaining=F("amount")).exclude(pk__in=held_lots),
            living.filter(remaining__lt=F("amount"), is_open=True),
            lots.filter(is_open=False),
            lots.filter(pk__in=held_lots),
            lots.filter(expires_at__lte=now),
        ]
        chosen = [*first, *(pk for case in cases for pk in case.order_by("pk").values_list("pk", flat=True)[:1])]
        rows = lots.in_bulk(list(dict.fromkeys(chosen)))
        held = booking.held_by_lot([row.account_id for row in rows.values()], now, job._state.db or "default")
        for pk, row in rows.items():
            is_over = row.expires_at is not None and row.expires_at <= now
            kept = 0 if is_over else min(held.get(pk, 0), row.remaining)
            yield {
                "account": row.account_id,
                "granted": row.amount,
                "taken": 0 if is_over else row.remaining - kept,
                "held": kept,
                "is_expired": is_over,
            }

    def refusal(self, job: Job) -> str:
        return "" if job.preview.get("taken") else _("Nothing of what was granted is left to take back.")

    def facts(self, job: Job) -> dict[str, tuple[Any, Any]]:
        undone = Job.objects.using(job._state.db).get(pk=job.params["undoes"])
        found = job.preview
        return {
            "job": (None, undone.pk),
            "event": (None, undone.event_id),
            "granted": (None, found["granted"]),
            "taken": (None, found["taken"]),
        }

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        assert job.event is not None  # noqa: S101 - written when the job was confirmed
        numbers = {row.target: row.number for row in rows if row.target is not None}
        voided = corrections_many.void_for(job.event, list(numbers))
        applied = jobs.Applied(done=voided.changed, skipped=voided.unchanged)
        applied.sums["taken"] = voided.tokens
        applied.notes = {numbers[lot]: told for lot, told in voided.rests.items()}
        return applied
