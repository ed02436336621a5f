"""How many accounts of each tier used how much of what they had this month, as their summaries say."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.db.models import Case, CharField, Count, DecimalField, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Greatest

from django_token_pricing.choices import UsedShare
from django_token_pricing.models import AccountSummary, PoolMember

_WHOLE = DecimalField(max_digits=30, decimal_places=0)


def used_shares(using: str) -> dict[str, dict[str, int]]:
    """By tier and `UsedShare`. Pools and their members are left out: these draw on what is not theirs.

    What an account had is what it was granted this month or, if that is more, what it used and has: a lot of a year
    is not granted this month.
    """
    had = Greatest(F("granted"), F("used") + F("available"), output_field=_WHOLE)
    share = Case(
        When(had__lte=0, then=Value(UsedShare.NOTHING.value)),
        When(Q(available__lte=0, nine_tenths__gte=0), then=Value(UsedShare.DRY.value)),
        When(tenth__lt=0, then=Value(UsedShare.TENTH.value)),
        When(half__lt=0, then=Value(UsedShare.HALF.value)),
        When(nine_tenths__lt=0, then=Value(UsedShare.MOST.value)),
        default=Value(UsedShare.ALL.value),
        output_field=CharField(),
    )
    members = PoolMember.objects.using(using).filter(user=OuterRef("account__user"))
    rows: Any = (
        AccountSummary.objects.using(using)
        .filter(~Exists(members), account__user__isnull=False)
        .annotate(had=had)
        .annotate(
            tenth=_above(10, 1),
            half=_above(2, 1),
            nine_tenths=_above(10, 9),
        )
        .annotate(share=share)
        .order_by()
        .values_list("tier", "share")
        .annotate(n=Count("pk"))
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for tier, name, count in rows:
        found[tier][name] = count
    return dict(found)


def _above(whole: int, part: int) -> Any:
    """Below 0 where less was used than `part` of `whole` parts, without a division that would round."""
    return F("used") * Value(whole, output_field=_WHOLE) - F("had") * Value(part, output_field=_WHOLE)
