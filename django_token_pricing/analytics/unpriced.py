"""Models in use, and those of them whose cost is not known: they are listed, never silently free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from django.db.models import Max, Min, Sum

from django_token_pricing.analytics.periods import zone
from django_token_pricing.analytics.rollups.state import database
from django_token_pricing.models import ModelPrice, UsageDay

MOST_MODELS = 500


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """A model with uses whose cost is not known. "" is what was used without a model.

    `priced_from` is the day on which its first price begins: these uses came before, or without counts of tokens, or
    they name a provider that has no price of its own. None where there is no price at all.
    """

    model: str
    uses: int
    tokens: int
    first: date
    last: date
    priced_from: date | None


def models_without_price(since: date) -> list[UnpricedModel]:
    """Those with uses of unknown cost on that day or later, most uses first. `tokens` are of all their uses."""
    using = database()
    days = UsageDay.objects.using(using).filter(day__gte=since, unpriced__gt=0)
    rows = list(
        days.values("model")
        .annotate(uses=Sum("unpriced"), spent=Sum("tokens"), first=Min("day"), last=Max("day"))
        .order_by("-uses", "model")[:MOST_MODELS]
    )
    priced = _priced([row["model"] for row in rows], using)
    return [
        UnpricedModel(row["model"], row["uses"], row["spent"], row["first"], row["last"], priced.get(row["model"]))
        for row in rows
    ]


def models_in_use(since: date) -> list[str]:
    """The models used on that day or later, most tokens first."""
    days = UsageDay.objects.using(database()).filter(day__gte=since).exclude(model="")
    used = days.values("model").annotate(spent=Sum("tokens")).order_by("-spent", "model")
    return list(used.values_list("model", flat=True)[:MOST_MODELS])


def _priced(models: Iterable[str], using: str) -> dict[str, date]:
    known = ModelPrice.objects.using(using).filter(model__in=list(models), input__isnull=False)
    first = known.values("model").annotate(at=Min("starts_at")).order_by()
    return {model: at.astimezone(zone()).date() for model, at in first.values_list("model", "at")}
