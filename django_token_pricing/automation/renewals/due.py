"""Which subscriptions need a look: found in SQL, from the mirrors and from how each renewal stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, When

from django_token_pricing.choices import RenewalState, SubscriptionStatus
from django_token_pricing.models import LIVE, RenewalPolicy, SubscriptionMirror

NAMED = Case(When(tier="", then="plan_code"), default="tier")
GIVES = Q(status__in=LIVE, gone_at=None)


def subscriptions(as_of: datetime, using: str) -> QuerySet[Any]:
    """Those with something to decide at that moment: due, new, changed, ended, or live without what renewal needs.

    What failed is due again by its own moment, whatever changed meanwhile.
    """
    policies = RenewalPolicy.objects.using(using).filter(is_active=True, code=OuterRef("named")).values("pk")
    rows = SubscriptionMirror.objects.using(using).annotate(named=NAMED)
    rows = rows.annotate(now_policy=Subquery(policies[:1]))
    is_live = GIVES & (Q(cancel_at=None) | Q(cancel_at__gt=as_of))
    is_due = Q(renewal__due_at__lte=as_of)
    is_new = Q(renewal=None) & is_live & (Q(now_policy__isnull=False) | Q(named=""))
    goes_on = Q(now_policy__isnull=False) & (
        ~Q(renewal__policy=F("now_policy"))
        | ~Q(renewal__quantity=F("quantity"))
        | ~Q(renewal__time_zone=F("time_zone"))
        | Q(anchor_at__isnull=False, renewal__host_anchor_at=None)
        | (Q(anchor_at__isnull=False) & ~Q(renewal__host_anchor_at=F("anchor_at")))
    )
    waits = Q(renewal__state=RenewalState.WAITING)
    is_unpaid = Q(status=SubscriptionStatus.PAST_DUE)
    is_changed = Q(renewal__state=RenewalState.ACTIVE) & is_live & (goes_on | Q(now_policy__isnull=True))
    is_paid = waits & is_live & ~is_unpaid
    is_back = Q(renewal__state=RenewalState.ENDED, now_policy__isnull=False, user__isnull=False) & is_live
    is_over = Q(renewal__state__in=[RenewalState.ACTIVE, RenewalState.WAITING]) & ~is_live
    return rows.filter(is_due | is_new | is_changed | is_paid | is_back | is_over)
