"""Why an alert was raised, with its numbers, in the language of whoever reads it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from django_token_pricing import conf
from django_token_pricing.analytics.anomalies.detecting import length, written
from django_token_pricing.analytics.periods import zone
from django_token_pricing.choices import AnomalyKind, AnomalyScope
from django_token_pricing.models import Anomaly


def reason(anomaly: Anomaly, *, with_costs: bool = True) -> str:
    """What was odd and how odd, in a sentence. Without costs it says how many times the usual they were."""
    match anomaly.kind:
        case AnomalyKind.SEASONAL:
            return _unlike(anomaly)
        case AnomalyKind.COST_SPIKE:
            return _spike(anomaly, with_costs=with_costs)
        case AnomalyKind.START:
            days = int(anomaly.facts.get("days", 0))
            words = ngettext(
                "%(value)s tokens after %(days)s day without any use.",
                "%(value)s tokens after %(days)s days without any use.",
                days,
            )
            return words % {"value": measured(anomaly), "days": written(days)}
        case AnomalyKind.SILENCE:
            hours = (anomaly.ends_at - anomaly.starts_at).total_seconds() / 3600
            words = _("Nothing came in %(hours)s, where about %(expected)s uses were expected by the weeks before.")
            return words % {"hours": length(hours * 3600), "expected": usual(anomaly)}
        case AnomalyKind.NEW_MODEL:
            words = _("It was never used before; since then %(value)s tokens in %(requests)s uses.")
            return words % {"value": measured(anomaly), "requests": written(float(anomaly.facts.get("requests", 0)))}
        case AnomalyKind.BURST:
            return _burst(anomaly)
    return ""


def _unlike(anomaly: Anomaly) -> str:
    facts = anomaly.facts
    terms = {
        "value": measured(anomaly),
        "expected": usual(anomaly),
        "length": length(3600 * float(facts.get("hours", 1))),
        "low": written(float(facts.get("low", 0))),
        "high": written(float(facts.get("high", 0))),
        "score": written(float(anomaly.score or 0), places=1),
    }
    if anomaly.scope == AnomalyScope.ACCOUNT:
        words = _(
            "%(value)s tokens in a day, where about %(expected)s are usual and %(high)s was the most of four weeks."
        )
    elif facts.get("side") == "dip":
        words = _(
            "%(value)s tokens in %(length)s, where about %(expected)s were expected and no less than %(low)s are usual:"
            " %(score)s times the usual deviation below."
        )
    else:
        words = _(
            "%(value)s tokens in %(length)s, where about %(expected)s were expected and up to %(high)s are usual:"
            " %(score)s times the usual deviation above."
        )
    return words % terms


def _spike(anomaly: Anomaly, *, with_costs: bool) -> str:
    hours = length(3600 * float(anomaly.facts.get("hours", 1)))
    if with_costs:
        words = _("It cost %(value)s in %(length)s, where about %(expected)s was expected and up to %(high)s is usual.")
        high = money(float(anomaly.facts.get("high", 0)))
        return words % {"value": measured(anomaly), "length": hours, "expected": usual(anomaly), "high": high}
    if anomaly.expected:
        words = _("It cost %(times)s times as much in %(length)s as was expected.")
        return words % {"times": written(float(anomaly.value / anomaly.expected), places=1), "length": hours}
    return _("It cost far more in %(length)s than was expected.") % {"length": hours}


def _burst(anomaly: Anomaly) -> str:
    of = _("an hour") if anomaly.scope != AnomalyScope.ACCOUNT else _("a day")
    words = _(
        "%(value)s uses in %(of)s with %(each)s tokens each, where about %(expected)s uses with %(usual)s tokens each"
        " are usual."
    )
    return words % {
        "value": measured(anomaly),
        "of": of,
        "each": written(float(anomaly.facts.get("tokens_each", 0)), places=1),
        "expected": usual(anomaly),
        "usual": written(float(anomaly.facts.get("usual_each", 0)), places=1),
    }


def measured(anomaly: Anomaly) -> str:
    """The measured number as people read it: tokens, uses or money."""
    return _shown(anomaly, anomaly.value)


def usual(anomaly: Anomaly) -> str:
    """The number that was expected; "" where there is none."""
    return "" if anomaly.expected is None else _shown(anomaly, anomaly.expected)


def unit(anomaly: Anomaly) -> str:
    """What the numbers count."""
    units: dict[Any, str] = {"cost": conf.current().DEFAULT_CURRENCY, "requests": _("uses")}
    return units.get(anomaly.facts.get("unit"), _("tokens"))


def _shown(anomaly: Anomaly, value: Decimal) -> str:
    if anomaly.kind == AnomalyKind.COST_SPIKE:
        return money(float(value))
    number = float(value)
    return written(float(round(number)) if number >= 10 else number)


def money(value: float) -> str:
    places = 2 if value >= 1 or value == 0 else 4
    text = formats.number_format(round(value, places), decimal_pos=places, use_l10n=True, force_grouping=True)
    return pgettext("money", "%(currency)s %(amount)s") % {"currency": conf.current().DEFAULT_CURRENCY, "amount": text}


def when(anomaly: Anomaly) -> str:
    """From when until when, in the reporting zone."""
    first, last = (_moment(moment) for moment in (anomaly.starts_at, anomaly.ends_at))
    return _("%(first)s to %(last)s") % {"first": first, "last": last}


def _moment(moment: datetime) -> str:
    return formats.date_format(moment.astimezone(zone()), pgettext("date format", "j M Y, H:i"))
