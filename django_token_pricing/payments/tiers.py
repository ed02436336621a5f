"""The account's tier is that of its user's subscription; each use is stamped with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import connections
from django.db.models import F, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce

from django_token_pricing.models import SubscriptionMirror, TokenAccount


def assign(users: Collection[Any], *, using: str) -> None:
    """Give the users' accounts the tier of the newest live subscription, its plan code where it names none.

    Call it in the transaction that writes the mirrors. Accounts that have the right tier are not touched: consumers
    wait for whatever is locked here.
    """
    accounts = TokenAccount.objects.using(using)
    names = SubscriptionMirror.objects.using(using).filter(user=OuterRef("user")).tiers()
    due = Coalesce(Subquery(names[:1]), Value(""))
    found = list(accounts.filter(user__in=users).annotate(due=due).exclude(tier=F("due")).values_list("pk", flat=True))
    if not found:
        return
    changing = accounts.filter(pk__in=found)
    # The ledger locks accounts by primary key; an UPDATE alone locks them as it meets them.
    no_key = connections[using].features.has_select_for_no_key_update
    list(changing.order_by("pk").select_for_update(no_key=no_key).values_list("pk"))
    changing.update(tier=due)
