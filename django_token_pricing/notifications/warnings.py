"""The scan: asks each kind of rule who is concerned, batch by batch, and writes down what fires.

Each batch commits by itself. So the scan may be stopped, killed, run again and run twice at once: what has fired is
there, the rest is found by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.choices import WarningKind
from django_token_pricing.exceptions import InvalidMoment
from django_token_pricing.models import WarningRule, WarningState
from django_token_pricing.notifications import expiry, limits, low
from django_token_pricing.notifications.firing import Due, database, fire

logger = logging.getLogger(__name__)

# States of periods that are over, deleted by one scan at most.
MOST_DELETED = 20_000
STEP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """How many warnings fired, and how many notifications were written for them."""

    warnings: int
    notifications: int


def warn(*, as_of: datetime | None = None) -> Warned:
    """Fire what is due at that moment, by default now, and write down who is told; mails go out by `deliver`.

    Each warning fires once a period for an account: a low balance once a calendar month of the site's zone and once
    more after each grant that lifted it above the threshold; tokens that expire or have expired once for all that
    account's tokens that end on a day; a limit once a window. Raises InvalidMoment.
    """
    if as_of is not None and timezone.is_naive(as_of):
        raise InvalidMoment(name="as_of", value=as_of, detail=_("it has no time zone."))
    using = database()
    at = as_of or timezone.now()
    warnings = notifications = 0
    for batch in _due(at, as_of, using):
        try:
            fired = fire(batch, at, using)
        except IntegrityError:
            # A user or an account went away between reading and writing. The next scan finds the others again.
            logger.warning("A batch of %s warnings was left for the next scan", len(batch), exc_info=True)
            continue
        warnings += fired.warnings
        notifications += len(fired.notifications)
    _forget(at, using)
    return Warned(warnings=warnings, notifications=notifications)


def _due(at: datetime, as_of: datetime | None, using: str) -> Iterator[Sequence[Due]]:
    active = list(WarningRule.objects.using(using).filter(is_active=True).order_by("pk"))
    of_kind = {kind: [rule for rule in active if rule.kind == kind] for kind in WarningKind}
    yield from low.due([*of_kind[WarningKind.LOW_PERCENT], *of_kind[WarningKind.LOW_TOKENS]], at, as_of, using)
    for rule in of_kind[WarningKind.EXPIRING]:
        yield from expiry.expiring(rule, at, using)
    for rule in of_kind[WarningKind.EXPIRED]:
        yield from expiry.expired(rule, at, using)
    for rule in of_kind[WarningKind.LIMIT]:
        yield from limits.due(rule, at, using)


def _forget(at: datetime, using: str) -> None:
    """Delete states whose period is over: nothing can fire in it any more, not even in a scan that has begun before."""
    states = WarningState.objects.using(using)
    for _step in range(MOST_DELETED // STEP):
        over = list(
            states.filter(ends_at__lt=at - timedelta(days=1)).order_by("ends_at").values_list("pk", flat=True)[:STEP]
        )
        states.filter(pk__in=over)._raw_delete(using)
        if len(over) < STEP:
            return
