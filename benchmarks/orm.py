"""A correct debit as one would write it with the ORM, on the yardstick's lean tables: no key, no foreign key."""

from __future__ import annotations

import random
from collections.abc import Callable

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now


class Grant(models.Model):  # noqa: DJ008
    user_id = models.BigIntegerField()
    priority = models.IntegerField(default=0)
    expires_at = models.DateTimeField(null=True)
    remaining = models.BigIntegerField()

    class Meta:
        app_label = "benchmarks"
        managed = False
        db_table = 'yard"."grants'


class Use(models.Model):  # noqa: DJ008
    user_id = models.BigIntegerField()
    tokens = models.BigIntegerField()

    class Meta:
        app_label = "benchmarks"
        managed = False
        db_table = 'yard"."usage'


class Entry(models.Model):  # noqa: DJ008
    usage = models.ForeignKey(Use, models.DO_NOTHING)
    grant = models.ForeignKey(Grant, models.DO_NOTHING)
    delta = models.BigIntegerField()

    class Meta:
        app_label = "benchmarks"
        managed = False
        db_table = 'yard"."ledger'


def consume(user: int, tokens: int) -> Use | None:
    with transaction.atomic():
        live = Grant.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), user_id=user, remaining__gt=0)
        lots = list(live.order_by("priority", F("expires_at").asc(nulls_last=True), "pk").select_for_update())
        takes = []
        short = tokens
        for lot in lots:
            if take := min(lot.remaining, short):
                takes.append((lot, take))
                short -= take
        if short:
            return None
        for lot, take in takes:
            Grant.objects.filter(pk=lot.pk).update(remaining=F("remaining") - take)
        use = Use.objects.create(user_id=user, tokens=tokens)
        Entry.objects.bulk_create([Entry(usage=use, grant=lot, delta=-take) for lot, take in takes])
    return use


def consuming(place: int, accounts: int) -> Callable[[], Use | None]:
    pick = random.Random(place).randint
    return lambda: consume(pick(1, accounts), 7)
