"""Finding: what the active rules see in the last hours becomes alerts, each once; one that goes on is extended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import router, transaction
from django.db.models import Count, F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from django_token_pricing.analytics.anomalies import accounts, measured
from django_token_pricing.analytics.anomalies.kinds import KINDS
from django_token_pricing.analytics.anomalies.measured import HISTORY, Hours, Odd
from django_token_pricing.analytics.periods import zone
from django_token_pricing.choices import AnomalyKind, AnomalyScope, AnomalyState
from django_token_pricing.exceptions import InvalidInput, InvalidMoment
from django_token_pricing.models import Anomaly, AnomalyRule

# Usage comes late, and a task may have stood still for a while.
LOOK_BACK = timedelta(hours=48)
# What begins so soon after the last of the same is the same.
GAP = timedelta(hours=6)
# A model is new for that long, on a site that knew others before.
NEW_FOR = timedelta(days=2)
KNOWN_FOR = timedelta(days=7)
# What each kind can be looked for in.
SCOPES: dict[str, tuple[str, ...]] = {
    AnomalyKind.SEASONAL: (AnomalyScope.SITE, AnomalyScope.TIER, AnomalyScope.MODEL, AnomalyScope.ACCOUNT),
    AnomalyKind.START: (AnomalyScope.TIER, AnomalyScope.MODEL, AnomalyScope.ACCOUNT),
    AnomalyKind.SILENCE: (AnomalyScope.SITE, AnomalyScope.TIER, AnomalyScope.MODEL),
    AnomalyKind.COST_SPIKE: (AnomalyScope.SITE, AnomalyScope.TIER, AnomalyScope.MODEL),
    AnomalyKind.NEW_MODEL: (AnomalyScope.MODEL,),
    AnomalyKind.BURST: (AnomalyScope.SITE, AnomalyScope.TIER, AnomalyScope.MODEL, AnomalyScope.ACCOUNT),
}
_MOST = Decimal(10) ** 25
_MOST_SCORE = Decimal(10) ** 9


@dataclass(slots=True)
class Found:
    """What a run came to: alerts that are new, and how many were extended."""

    new: list[Anomaly] = field(default_factory=list)
    extended: int = 0


def database() -> str:
    return router.db_for_write(Anomaly)


def require_possible(kind: str, scope: str) -> None:
    """Raises InvalidInput for what cannot be looked for there."""
    if scope not in SCOPES.get(kind, ()):
        facts = {"kind": AnomalyKind(kind).label, "scope": AnomalyScope(scope).label}
        raise InvalidInput(detail=_("“%(kind)s” cannot be looked for in “%(scope)s”.") % facts)


def find_anomalies(
    *,
    as_of: datetime | None = None,
    since: datetime | None = None,
    told: Callable[[list[Anomaly]], None] | None = None,
) -> Found:
    """Look with all active rules at the hours and days before that moment, by default now, and write down what is odd.

    An alert is there once for its rule, target and beginning, however often this runs; one that goes on is extended,
    and nothing is written while one of the same rule and target is muted. What was over before `since`, by default two
    days ago, is left alone. `told` gets the new ones of a rule in the transaction that writes them. Raises
    InvalidMoment.
    """
    for name, value in (("as_of", as_of), ("since", since)):
        if value is not None and timezone.is_naive(value):
            raise InvalidMoment(name=name, value=value, detail=_("it has no time zone."))
    now = as_of or timezone.now()
    since = now - LOOK_BACK if since is None else since
    found = Found()
    sight = Sight(now, HISTORY + max(now - since, LOOK_BACK))
    for rule in AnomalyRule.objects.using(database()).filter(is_active=True).order_by("pk"):
        odds = list(sight.odds(rule, since))
        _write(rule, odds, now, found, told)
    return found


class Sight:
    """What rules see up to a moment. The hours of a scope are read once, however many rules look at them."""

    def __init__(self, until: datetime, history: timedelta) -> None:
        self.now = until
        self.until = measured.whole_hours_until(until)
        self.history = history
        self._hours: dict[str, dict[str, Hours]] = {}

    def hours(self, scope: str) -> dict[str, Hours]:
        if scope not in self._hours and self.until is not None:
            self._hours[scope] = measured.hours(scope, self.until - self.history, self.until)
        return self._hours.get(scope, {})

    def odds(self, rule: AnomalyRule, since: datetime, beat: Callable[[], None] | None = None) -> Iterator[Odd]:
        """What the rule finds that lasted beyond `since`, target by target."""
        if rule.scope == AnomalyScope.ACCOUNT:
            yield from self._of_accounts(rule, since, beat)
        elif rule.kind == AnomalyKind.NEW_MODEL:
            yield from self._new_models(rule, since)
        elif rule.kind in KINDS:
            for target, hours in self.hours(rule.scope).items():
                if beat is not None:
                    beat()
                for odd in KINDS[rule.kind](rule, hours, since):
                    yield Odd(odd.starts_at, odd.ends_at, odd.value, odd.expected, odd.score, odd.facts, target)

    def _of_accounts(self, rule: AnomalyRule, since: datetime, beat: Callable[[], None] | None) -> Iterator[Odd]:
        day, last = (moment.astimezone(zone()).date() for moment in (since, self.now))
        while day <= last:
            if beat is not None:
                beat()
            yield from accounts.on_day(rule, day, self.now)
            day += timedelta(days=1)

    def _new_models(self, rule: AnomalyRule, since: datetime) -> Iterator[Odd]:
        days = measured.first_days()
        first = since.astimezone(zone()).date()
        if not days or first - min(days.values()) < KNOWN_FOR:
            first = min(days.values(), default=first) + KNOWN_FOR
        for model, hours in self.hours(AnomalyScope.MODEL).items():
            if model not in days or days[model] < first:
                continue
            end = hours.starts[0] + NEW_FOR
            place = hours.place(end)
            tokens, requests = sum(hours.tokens[:place]), sum(hours.requests[:place])
            if tokens >= rule.least and requests:
                used = max(at for at in range(place) if hours.requests[at])
                facts = {"unit": "tokens", "requests": requests, "cost": sum(hours.cost[:place])}
                yield Odd(hours.starts[0], hours.starts[used] + measured.HOUR, tokens, 0.0, None, facts, model)


# Writing down ---------------------------------------------------------------------------------------------------------


def _write(
    rule: AnomalyRule, odds: Sequence[Odd], now: datetime, found: Found, told: Callable[[list[Anomaly]], None] | None
) -> None:
    if not odds:
        return
    using = database()
    with transaction.atomic(using=using):
        # The rule's row is the lock: of two workers the second finds what the first has written.
        rules = AnomalyRule.objects.using(using).filter(pk=rule.pk, is_active=True)
        if not rules.update(is_active=F("is_active")):
            return
        new: list[Anomaly] = []
        known = _known(rule, odds, using)
        for odd in sorted(odds, key=lambda odd: (odd.target, odd.starts_at)):
            same = known.setdefault(odd.target, [])
            running = next((one for one in same if _is_same(one, odd)), None)
            if running is not None:
                found.extended += _extend(running, odd, using)
            elif not any(_is_muted(one, odd, now) for one in same):
                row = _row(rule, odd, now)
                row.save(using=using, force_insert=True)
                same.append(row)
                new.append(row)
        if new and told is not None:
            told(new)
    found.new += new


def _known(rule: AnomalyRule, odds: Sequence[Odd], using: str) -> dict[str, list[Anomaly]]:
    """What there is of the same targets, near in time or muted."""
    since = min(odd.starts_at for odd in odds) - GAP
    rows = Anomaly.objects.using(using).filter(rule=rule)
    found: dict[str, list[Anomaly]] = {}
    for row in (rows.filter(ends_at__gte=since) | rows.filter(state=AnomalyState.MUTED)).order_by("starts_at"):
        found.setdefault(row.target, []).append(row)
    return found


def _is_same(row: Anomaly, odd: Odd) -> bool:
    return odd.starts_at <= row.ends_at + GAP and odd.ends_at >= row.starts_at - GAP


def _is_muted(row: Anomaly, odd: Odd, now: datetime) -> bool:
    return row.state == AnomalyState.MUTED and (row.muted_until is None or row.muted_until > now)


def _extend(row: Anomaly, odd: Odd, using: str) -> int:
    """Let it last longer, and say the numbers of the worst of it."""
    is_longer, score = odd.ends_at > row.ends_at, _decimal(odd.score, _MOST_SCORE)
    is_worse = (score or 0, abs(odd.value)) > (row.score or 0, abs(row.value))
    if not is_longer and not is_worse:
        return 0
    row.ends_at = max(row.ends_at, odd.ends_at)
    if is_worse or row.kind == AnomalyKind.SILENCE:
        row.value, row.expected, row.score = _number(odd.value), _decimal(odd.expected), score
        row.facts = odd.facts
    row.save(using=using, update_fields=["ends_at", "value", "expected", "score", "facts"])
    return 1


def _row(rule: AnomalyRule, odd: Odd, now: datetime) -> Anomaly:
    return Anomaly(
        rule=rule,
        kind=rule.kind,
        scope=rule.scope,
        target=odd.target,
        account_id=odd.account,
        starts_at=odd.starts_at,
        ends_at=odd.ends_at,
        value=_number(odd.value),
        expected=_decimal(odd.expected),
        score=_decimal(odd.score, _MOST_SCORE),
        facts=odd.facts,
        found_at=now,
    )


def _number(value: float) -> Decimal:
    return _decimal(value) or Decimal(0)


def _decimal(value: float | None, most: Decimal = _MOST) -> Decimal | None:
    if value is None or not math.isfinite(value):
        return None
    return max(-most, min(most, Decimal(repr(value)))).quantize(
        Decimal("0.01") if most is _MOST_SCORE else Decimal("0.0001")
    )


# Rules to begin with --------------------------------------------------------------------------------------------------


def default_rules() -> list[AnomalyRule]:
    """A set to begin with, not saved: what hardly any site would not want to hear of."""
    kinds: Iterable[tuple[Any, str, str, int, int]] = (
        (_("Usage of the site unlike its hours and days"), AnomalyKind.SEASONAL, AnomalyScope.SITE, 5, 10_000),
        (_("Usage of a model unlike its hours and days"), AnomalyKind.SEASONAL, AnomalyScope.MODEL, 4, 10_000),
        (_("An account that uses far more than before"), AnomalyKind.SEASONAL, AnomalyScope.ACCOUNT, 5, 50_000),
        (_("The site has fallen silent"), AnomalyKind.SILENCE, AnomalyScope.SITE, 5, 20),
        (_("Cost spike"), AnomalyKind.COST_SPIKE, AnomalyScope.SITE, 5, 10_000),
        (_("A model that was never used before"), AnomalyKind.NEW_MODEL, AnomalyScope.MODEL, 5, 1_000),
        (_("Burst of small requests of an account"), AnomalyKind.BURST, AnomalyScope.ACCOUNT, 5, 200),
    )
    return [
        AnomalyRule(name=name, kind=kind, scope=scope, sensitivity=sensitivity, least=least)
        for name, kind, scope, sensitivity, least in kinds
    ]


def precision(rules: QuerySet[AnomalyRule] | Sequence[AnomalyRule]) -> dict[int, tuple[int, int]]:
    """By rule, how many of its alerts people said were worth telling, and how many were not."""
    rows = Anomaly.objects.using(database()).filter(rule__in=rules, is_real__isnull=False).order_by()
    found: dict[int, tuple[int, int]] = {}
    for rule, is_real, count in rows.values_list("rule", "is_real").annotate(count=Count("pk")):
        real, not_real = found.get(rule, (0, 0))
        found[rule] = (real + count, not_real) if is_real else (real, not_real + count)
    return found


def open_alerts(rules: QuerySet[AnomalyRule] | Sequence[AnomalyRule]) -> dict[int, int]:
    """By rule, how many alerts nobody has decided on."""
    rows = Anomaly.objects.using(database()).filter(rule__in=rules, state=AnomalyState.OPEN).order_by()
    return dict(rows.values_list("rule").annotate(count=Count("pk")))
