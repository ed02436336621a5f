"""Privacy and retention: the two ways past the append-only rule, both audited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections, models, transaction
from django.utils.translation import gettext as _

from django_token_pricing import audit
from django_token_pricing.exceptions import InvalidMoment, UnknownOwner
from django_token_pricing.models import (
    Approval,
    AuditEvent,
    FoldQueue,
    IdempotencyKey,
    JobRow,
    LedgerEntry,
    LedgerPrune,
    LimitRule,
    Notification,
    NotificationPreference,
    PoolMember,
    Purchase,
    RenewalLot,
    RollupState,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenHoldLot,
    TokenUsageLog,
    WarningState,
)
from django_token_pricing.tokens import arguments, booking

BATCH = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """How many rows of each kind lost their personal data."""

    uses: int
    holds: int
    lots: int
    purchases: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """How many rows of each kind were deleted."""

    uses: int
    entries: int
    lots: int


@contextmanager
def _maintenance(using: str) -> Iterator[None]:
    """A transaction in which the append-only triggers let us pass."""
    with transaction.atomic(using=using):
        booking.start_writing(using)
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute("SELECT set_config('token_pricing.maintenance', 'on', true)")
        yield
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute("SELECT set_config('token_pricing.maintenance', 'off', true)")


def erase(owner: Any, *, reason: str = "", actor: models.Model | None = None) -> Erasure:
    """Remove what is personal from an owner's rows: metadata and keys of uses and holds, keys of lots, references of
    payments, names in the audit trail, reasons in the history of memberships and of limits for this user, requests for
    such limits, lines of imported files. Amounts, moments, models and the digests of keys stay, so the books still
    balance and no key can be used twice. The owner may be a user, or the account of one who was deleted. Raises
    UnknownOwner.
    """
    using = booking.database()
    account = _account(owner, using)
    with _maintenance(using):
        booking.lock_accounts([account.pk], using)
        uses: models.QuerySet[Any] = models.QuerySet(TokenUsageLog, using=using).filter(account=account)
        lots = TokenAllocation.objects.using(using).filter(account=account)
        holds = TokenHold.objects.using(using).filter(account=account)
        erased = Erasure(
            uses=uses.update(metadata={}, key=""),
            holds=holds.update(metadata={}, key=""),
            lots=lots.update(key=""),
            purchases=Purchase.objects.using(using).filter(account=account).update(payment_ref=""),
        )
        events: models.QuerySet[Any] = models.QuerySet(AuditEvent, using=using).filter(
            target_type=account._meta.label_lower, target_id=str(account.pk)
        )
        events.update(target_label=str(account), reason="")
        # What was done to the account's lots and uses. A batch on many accounts says nothing of one of them.
        entries = LedgerEntry.objects.using(using).filter(account=account, event__count=1)
        theirs = set(entries.values_list("event", flat=True))
        models.QuerySet(AuditEvent, using=using).filter(pk__in=theirs).update(reason="")
        if account.user_id is not None:
            versions = PoolMember.history.model.objects.using(using).filter(user_id=account.user_id)
            versions.update(history_change_reason="")
            # Why there are limits for this user alone.
            limits = LimitRule.history.model.objects.using(using).filter(user_id=account.user_id)
            of_limits = [str(pk) for pk in set(limits.values_list("id", flat=True))]
            limits.update(history_change_reason="")
            of_rules: models.QuerySet[Any] = models.QuerySet(AuditEvent, using=using).filter(
                target_type=LimitRule._meta.label_lower, target_id__in=of_limits
            )
            of_rules.update(reason="")
            _forget_requests(account.user_id, using)
        # What a file said of the owner; a job that is not over still needs it.
        lines = JobRow.objects.using(using).filter(target=account.pk, data__isnull=False)
        lines.filter(job__finished_at__isnull=False).update(data=None)
        # What the owner was told, and what operators were told of the owner alone.
        Notification.objects.using(using).filter(account=account).delete()
        WarningState.objects.using(using).filter(account=account).delete()
        if account.user_id is not None:
            Notification.objects.using(using).filter(user=account.user_id).delete()
            NotificationPreference.objects.using(using).filter(user=account.user_id).delete()
        audit.record("tokens.erase", target=account, actor=actor, reason=reason, count=erased.uses, using=using)
    return erased


def _forget_requests(user: Any, using: str) -> None:
    """Why changes of limits of this user alone were asked for, and the name that requests keep."""
    events: models.QuerySet[Any] = models.QuerySet(AuditEvent, using=using)
    requests = Approval.objects.using(using).filter(
        models.Q(params__after__user=str(user)) | models.Q(params__before__user=str(user)), kind="limits.change"
    )
    for request in requests:
        asked = {"target_type": Approval._meta.label_lower, "target_id": str(request.pk)}
        events.filter(**asked).update(reason="")
        request.params, request.reason, request.note = {**request.params, "whom": ""}, "", ""
        request.save(using=using, update_fields=["params", "reason", "note"])


def _account(owner: Any, using: str) -> TokenAccount:
    if isinstance(owner, TokenAccount) and owner.pk is not None:
        return owner
    account = TokenAccount.objects.using(using).filter(**arguments.owner(owner).lookup).first()
    if account is None:
        raise UnknownOwner(owner=_("%(owner)s, who has no account,") % {"owner": owner})
    return account


def prune(before: datetime, *, reason: str = "", actor: models.Model | None = None) -> Pruning:
    """Delete what ended before a moment: lots that were empty by then with all their entries, and recorded uses.

    A lot goes when it is closed and its last entry is older; a use goes when it is older and no entry that stays
    points to it, and its key goes with it. Balances do not change. `balance(as_of)` refuses earlier moments from then
    on. Rows that the roll-ups, where there are any, do not hold yet stay. Each batch commits by itself. Raises
    InvalidMoment.
    """
    arguments.moment("before", before)
    using = booking.database()
    if before > booking.clock(using):
        raise InvalidMoment(name="before", value=before, detail=_("it lies in the future."))
    with transaction.atomic(using=using):
        event = audit.record(
            "tokens.prune", actor=actor, reason=reason, changes={"kept_since": (None, before)}, using=using
        )
        LedgerPrune.objects.using(using).create(before=before, event=event)
    entries = lots = uses = 0
    last = 0
    while batch := _finished(before, last, using):
        last = batch[-1][0]
        with _maintenance(using):
            booking.lock_accounts({account for _lot, account in batch}, using)
            pks = _still_finished([lot for lot, _account in batch], before, using)
            entries += _delete(LedgerEntry, using, allocation__in=pks)
            holds = set(TokenHoldLot.objects.using(using).filter(allocation__in=pks).values_list("hold", flat=True))
            _delete(TokenHoldLot, using, allocation__in=pks)
            _forget_holds(holds, using)
            # What was bought, and for how much, stays.
            Purchase.objects.using(using).filter(allocation__in=pks).update(allocation=None)
            _delete(RenewalLot, using, allocation__in=pks)
            lots += _delete(TokenAllocation, using, pk__in=pks)
    last = 0
    while found := _old_uses(before, last, using):
        last = found[-1]
        with _maintenance(using):
            kept: models.QuerySet[Any] = models.QuerySet(LedgerEntry, using=using).filter(usage=models.OuterRef("pk"))
            held: models.QuerySet[Any] = models.QuerySet(TokenHold, using=using).filter(usage=models.OuterRef("pk"))
            gone = list(
                models.QuerySet(TokenUsageLog, using=using)
                .filter(~models.Exists(kept), ~models.Exists(held), pk__in=found)
                .values_list("pk", flat=True)
            )
            _delete(IdempotencyKey, using, usage__in=gone)
            uses += _delete(TokenUsageLog, using, pk__in=gone)
    return Pruning(uses=uses, entries=entries, lots=lots)


def _finished(before: datetime, last: int, using: str) -> list[tuple[int, int]]:
    lots = TokenAllocation.objects.using(using).filter(is_open=False, booked_at__lt=before, pk__gt=last)
    return list(lots.order_by("pk").values_list("pk", "account")[:1_000])


def _still_finished(lots: list[int], before: datetime, using: str) -> list[int]:
    later = LedgerEntry.objects.using(using).filter(allocation=models.OuterRef("pk"), booked_at__gte=before)
    lines = TokenHoldLot.objects.using(using).filter(allocation=models.OuterRef("pk"))
    held = lines.filter(models.Q(closed_at=None) | models.Q(closed_at__gte=before))
    children = TokenAllocation.objects.using(using).filter(parent=models.OuterRef("pk"))
    entries = LedgerEntry.objects.using(using).filter(allocation=models.OuterRef("pk"))
    rows = (
        TokenAllocation.objects.using(using)
        .filter(~models.Exists(later), ~models.Exists(held), ~models.Exists(children), pk__in=lots, is_open=False)
        .exclude(models.Exists(_unfolded(entries, using)))
    )
    return list(rows.values_list("pk", flat=True))


def _forget_holds(holds: set[int], using: str) -> None:
    """Delete the holds that reserve nothing any more, with their keys; a use may still be there."""
    rest = TokenHoldLot.objects.using(using).filter(hold=models.OuterRef("pk"))
    gone = list(TokenHold.objects.using(using).filter(~models.Exists(rest), pk__in=holds).values_list("pk", flat=True))
    _delete(IdempotencyKey, using, hold__in=gone)
    _delete(TokenHold, using, pk__in=gone)


def _old_uses(before: datetime, last: int, using: str) -> list[int]:
    old = TokenUsageLog.objects.using(using).filter(used_at__lt=before, booked_at__lt=before, pk__gt=last)
    waiting = _unfolded(TokenUsageLog.objects.using(using).filter(pk=models.OuterRef("pk")), using)
    return list(old.exclude(models.Exists(waiting)).order_by("pk").values_list("pk", flat=True)[:BATCH])


def _unfolded(rows: models.QuerySet[Any], using: str) -> models.QuerySet[Any]:
    """Those that the roll-ups do not hold yet; none where there are no roll-ups."""
    state = RollupState.objects.using(using).filter(pk=1).first()
    if state is None:
        return rows.none()
    if connections[using].vendor == "postgresql":
        return rows.filter(xid__gte=state.horizon)
    queued = FoldQueue.objects.using(using).filter(kind=rows.model.fold_kind, row=models.OuterRef("pk"))
    return rows.filter(models.Exists(queued))


def _delete(model: type[models.Model], using: str, **where: Any) -> int:
    """Plain deletion: nothing cascades from these rows, and the append-only querysets would refuse."""
    rows: models.QuerySet[Any] = models.QuerySet(model, using=using).filter(**where)
    return rows._raw_delete(using) or 0
