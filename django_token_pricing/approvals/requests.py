"""A request's life: asked, then approved, refused, withdrawn or expired. Its row is the lock."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing import audit
from django_token_pricing.approvals.handlers import Deed, deed_of, deeds
from django_token_pricing.choices import ApprovalStatus
from django_token_pricing.exceptions import (
    ApprovalChanged,
    ApprovalNeeded,
    IdempotencyConflict,
    InvalidInput,
    SamePerson,
)
from django_token_pricing.models import Approval, ApprovalRule

LASTS = timedelta(hours=72)
DECIDE = "django_token_pricing.decide_approval"


def limit_of(kind: str) -> int | None:
    """The size above which this kind of deed needs a second person; None where it never does."""
    rule = ApprovalRule.objects.filter(kind=kind).first()
    return deed_of(kind).default_above if rule is None else rule.above


def is_needed(kind: str, size: int) -> bool:
    above = limit_of(kind)
    return above is not None and size > above


def require(kind: str, size: int) -> None:
    """Raises ApprovalNeeded for a deed of this size that nobody has approved."""
    above = limit_of(kind)
    if above is not None and size > above:
        raise ApprovalNeeded(kind=kind, size=size, above=above)


def ask(
    kind: str,
    *,
    params: dict[str, Any],
    size: int,
    actor: Any,
    reason: str,
    key: UUID,
    target: models.Model | None = None,
) -> Approval:
    """Ask a second person. The same key for the same gives the request that is there.

    Raises InvalidInput without a reason, and IdempotencyConflict for a key under which something else was asked.
    """
    _require_reason(reason)
    deed_of(kind)
    # As they are read again from the row.
    params = json.loads(json.dumps(params))
    using = router.db_for_write(Approval)
    rule = ApprovalRule.objects.using(using).filter(kind=kind).first()
    lasts = LASTS if rule is None else timedelta(hours=rule.lasts_hours)
    with transaction.atomic(using=using):
        # A transaction of SQLite that has read may find that it can write no more.
        Approval.objects.using(using).filter(key=key).update(key=key)
        approval, is_new = Approval.objects.using(using).get_or_create(
            key=key,
            defaults={
                "kind": kind,
                "params": params,
                "size": size,
                "target_type": "" if target is None else target._meta.label_lower,
                "target_id": "" if target is None else str(target.pk),
                "target_label": "" if target is None else str(target)[:255],
                "asked_by_id": actor.pk,
                "asked_label": audit.label(actor),
                "reason": reason,
                "expires_at": timezone.now() + lasts,
            },
        )
        if is_new:
            changes = {"what": (None, kind), "size": (None, size)}
            audit.record("approvals.ask", target=approval, actor=actor, reason=reason, changes=changes, using=using)
        elif (approval.kind, approval.params, approval.asked_by_id) != (kind, params, actor.pk):
            raise IdempotencyConflict(key=str(key), detail=str(approval))
    return approval


def approve(approval: Approval, *, actor: Any, note: str = "") -> Approval:
    """Agree, and do it in the name of who asked.

    Raises SamePerson, ApprovalChanged, InvalidInput where who asked is gone or may not do it any more, and what the
    deed raises; then nothing has changed and the request waits on.
    """
    using = router.db_for_write(Approval)
    with transaction.atomic(using=using):
        found = _decided(approval, ApprovalStatus.APPROVED, actor, note, using)
        deed = _known_deed(found)
        if found.asked_by is None or not found.asked_by.has_perm(deed.permission):
            raise InvalidInput(detail=_("Who asked for this may not do it any more: somebody has to ask anew."))
        deed.carry_out(found, found.asked_by)
    return found


def refuse(approval: Approval, *, actor: Any, note: str) -> Approval:
    """Decide against it; the note tells who asked why. Raises ApprovalChanged, InvalidInput without a note."""
    _require_reason(note)
    using = router.db_for_write(Approval)
    with transaction.atomic(using=using):
        return _decided(approval, ApprovalStatus.REFUSED, actor, note, using)


def withdraw(approval: Approval, *, actor: Any) -> Approval:
    """Take back what one asked oneself. Raises ApprovalChanged, InvalidInput for what another asked."""
    if approval.asked_by_id != actor.pk:
        raise InvalidInput(detail=_("Only who asked can withdraw it; refuse it instead."))
    using = router.db_for_write(Approval)
    with transaction.atomic(using=using):
        return _decided(approval, ApprovalStatus.WITHDRAWN, actor, "", using)


def may_decide(approval: Approval, actor: Any) -> bool:
    """Whether this person may approve and refuse such a request of another: the right to decide, and to do it.

    What it takes to do a deed of a kind that is gone nobody knows; such a request can only be refused.
    """
    try:
        permission = deed_of(approval.kind).permission
    except KeyError:
        permission = DECIDE
    return bool(actor.has_perm(DECIDE) and actor.has_perm(permission))


def waiting_for(actor: Any, *, as_of: datetime) -> models.QuerySet[Approval]:
    """The requests that this person can decide at that moment: those of others, of kinds that they may do."""
    if not actor.has_perm(DECIDE):
        return Approval.objects.none()
    kinds = [deed.kind for deed in deeds() if actor.has_perm(deed.permission)]
    waiting = Approval.objects.filter(status=ApprovalStatus.WAITING, expires_at__gt=as_of, kind__in=kinds)
    return waiting.filter(~models.Q(asked_by=actor.pk) | models.Q(asked_by=None))


def expire(*, as_of: datetime) -> int:
    """Close the requests whose time was over at that moment; answers how many. They could not be approved any more."""
    using = router.db_for_write(Approval)
    waiting = Approval.objects.using(using).filter(status=ApprovalStatus.WAITING, expires_at__lte=as_of)
    return waiting.update(status=ApprovalStatus.EXPIRED, decided_at=as_of)


def _decided(approval: Approval, status: ApprovalStatus, actor: Any, note: str, using: str) -> Approval:
    """The request in its new state, locked by the write. Of two who decide at once the second finds it decided."""
    now = timezone.now()
    waiting = Approval.objects.using(using).filter(pk=approval.pk, status=ApprovalStatus.WAITING, expires_at__gt=now)
    # Who approves stays out of the row until it is known to be somebody else: a constraint would break the transaction.
    if not waiting.update(status=status, decided_at=now, note=note):
        found = Approval.objects.using(using).filter(pk=approval.pk).first()
        raise ApprovalChanged(approval=approval.pk, status=_status(found))
    found = Approval.objects.using(using).select_related("asked_by").get(pk=approval.pk)
    if status == ApprovalStatus.APPROVED and found.asked_by_id == actor.pk:
        raise SamePerson(approval=found.pk)
    found.decided_by_id, found.decided_label = actor.pk, audit.label(actor)
    found.event = audit.record(
        f"approvals.{status.value}",
        target=found,
        actor=actor,
        reason=note,
        changes={"status": (ApprovalStatus.WAITING.value, status.value)},
        using=using,
    )
    found.save(using=using, update_fields=["decided_by", "decided_label", "event"])
    return found


def _known_deed(approval: Approval) -> Deed:
    try:
        return deed_of(approval.kind)
    except KeyError:
        words = _("This site does not know “%(kind)s” any more: refuse it.")
        raise InvalidInput(detail=words % {"kind": approval.kind}) from None


def _status(found: Approval | None) -> str:
    if found is None:
        return _("gone")
    if found.status == ApprovalStatus.WAITING:
        return str(ApprovalStatus.EXPIRED.label)
    return str(found.get_status_display())


def _require_reason(text: str) -> None:
    if not text.strip():
        raise InvalidInput(detail=_("A reason is needed: it is what the audit trail will say."))
