"""What each kind of rule finds in the hours of a site, a tier or a model. Whole hours alone are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django_token_pricing.analytics.anomalies.measured import HOUR, Hours, Odd
from django_token_pricing.analytics.periods import zone
from django_token_pricing.choices import AnomalyKind
from django_token_pricing.lib import anomalies as lib
from django_token_pricing.lib.series import median
from django_token_pricing.models import AnomalyRule

WEEK = 7 * 24
# What must be known before silence, a start or a burst is told.
LEAST_WEEKS = 3
LEAST_HISTORY = timedelta(days=14)


def steps_from_middle(rule: AnomalyRule) -> int:
    return rule.sensitivity - 5


def quiet_days(rule: AnomalyRule) -> int:
    """For how many days there was nothing before a start is sudden: 28 at the least sensitive, 3 at the most."""
    return max(3, round(12 * 1.3 ** -steps_from_middle(rule)))


def needed_requests(rule: AnomalyRule) -> float:
    """How many uses must have been expected before their absence is told."""
    return float(30 * 1.4 ** -steps_from_middle(rule))


def small_share(rule: AnomalyRule) -> float:
    """Of the usual tokens of a use, how few make it a small one."""
    return min(0.7, 0.25 * 1.22 ** steps_from_middle(rule))


def many_times(rule: AnomalyRule) -> float:
    """How many times the usual number of uses are a burst."""
    return max(1.5, 4 * 1.2 ** -steps_from_middle(rule))


def seasonal(rule: AnomalyRule, hours: Hours, since: datetime) -> Iterator[Odd]:
    """Tokens that are far from what the hour and the day let expect, above or below."""
    return _unlike(rule, hours, since, hours.tokens, "tokens", (lib.SPIKE, lib.DIP))


def cost_spike(rule: AnomalyRule, hours: Hours, since: datetime) -> Iterator[Odd]:
    """Costs far above what the hour and the day let expect."""
    return _unlike(rule, hours, since, hours.cost, "cost", (lib.SPIKE,))


def _unlike(
    rule: AnomalyRule, hours: Hours, since: datetime, values: list[float], unit: str, sides: tuple[str, ...]
) -> Iterator[Odd]:
    # By the clocks of the zone, so that people's days stay where they are when these are put forward or back.
    real = {start.astimezone(zone()).replace(tzinfo=None): start for start in reversed(hours.starts)}
    walls = [start.astimezone(zone()).replace(tzinfo=None) for start in hours.starts]
    for hit in lib.detect(zip(walls, values, strict=True), sensitivity=rule.sensitivity):
        step = timedelta(seconds=hit.step)
        starts_at, ends_at = real[hit.starts_at], real[hit.ends_at] + step
        if hit.kind not in sides or ends_at <= since:
            continue
        count = step / HOUR
        value, expected = hit.value * count, hit.expected * count
        first, last = hours.place(starts_at), hours.place(ends_at)
        size = abs(value - expected) if unit == "tokens" else sum(hours.tokens[first:last])
        if size < rule.least:
            continue
        facts = {
            "unit": unit,
            "side": hit.kind,
            "hours": count,
            "low": max(0.0, hit.low * count),
            "high": hit.high * count,
            "at": real[hit.at].isoformat(),
        }
        yield Odd(starts_at, ends_at, value, max(0.0, expected), hit.score, facts)


def start(rule: AnomalyRule, hours: Hours, since: datetime) -> Iterator[Odd]:
    """Much use after a time of none. What was never used before is a new model, not a start."""
    quiet = quiet_days(rule) * 24
    last_use: int | None = None
    place = 0
    while place < len(hours.starts):
        if not hours.requests[place]:
            place += 1
            continue
        if last_use is not None and place - last_use > quiet:
            day = slice(place, place + 24)
            tokens = sum(hours.tokens[day])
            used = [at for at in range(place, min(place + 24, len(hours.starts))) if hours.requests[at]]
            ends_at = hours.starts[used[-1]] + HOUR
            if tokens >= rule.least and ends_at > since:
                facts = {"unit": "tokens", "days": (place - last_use) // 24, "requests": sum(hours.requests[day])}
                yield Odd(hours.starts[place], ends_at, tokens, 0.0, None, facts)
        last_use = place
        place += 1


def silence(rule: AnomalyRule, hours: Hours, since: datetime) -> Iterator[Odd]:
    """No use at all where the same hours of the weeks before had many, for two whole hours or more."""
    needed = max(needed_requests(rule), float(rule.least))
    longest = 0.0
    place = 0
    while place < len(hours.starts):
        if hours.requests[place]:
            place += 1
            continue
        begin = place
        while place < len(hours.starts) and not hours.requests[place]:
            place += 1
        expected = sum(usual(hours.requests, at) or 0.0 for at in range(begin, place)) * _level(hours.requests, begin)
        is_told = place - begin >= 2 and expected >= needed and expected > 2 * longest
        if is_told and hours.starts[place - 1] + HOUR > since:
            facts = {"unit": "requests", "hours": place - begin, "is_over": place < len(hours.starts)}
            yield Odd(hours.starts[begin], hours.starts[place - 1] + HOUR, 0.0, expected, None, facts)
        if not is_told:
            # A silence that was told does not make the next one usual.
            longest = max(longest, expected)


def usual(values: list[float], place: int) -> float | None:
    """The middle of the same hour of the same weekday; before there are three, of the same hour of other days."""
    same = values[place - WEEK :: -WEEK][:8] if place >= WEEK else []
    if len(same) < LEAST_WEEKS:
        same = values[place - 24 :: -24][:14] if place >= 24 else []
        if len(same) < 7:
            return None
    return median(same)


def _level(values: list[float], place: int) -> float:
    """How the week before compares with its own weeks before: what fades away expects less and less."""
    came = expected = 0.0
    for at in range(max(0, place - WEEK), place):
        one = usual(values, at)
        if one is not None:
            came += values[at]
            expected += one
    return min(1.0, came / expected) if expected else 1.0


def burst(rule: AnomalyRule, hours: Hours, since: datetime) -> Iterator[Odd]:
    """Hours with many times the usual uses, each of few tokens."""
    first = max(hours.place(since), hours.place(hours.starts[0] + LEAST_HISTORY)) if hours.starts else 0
    share, times = small_share(rule), many_times(rule)
    found: list[int] = []
    for place in range(first, len(hours.starts)):
        requests = hours.requests[place]
        if requests < max(1, rule.least):
            continue
        size = _usual_size(hours, place)
        before = usual(hours.requests, place) or 0.0
        if size is not None and hours.tokens[place] / requests <= share * size and requests >= times * max(before, 1.0):
            found.append(place)
    while found:
        run = [found.pop(0)]
        while found and found[0] - run[-1] <= 3:
            run.append(found.pop(0))
        worst = max(run, key=lambda place: hours.requests[place])
        size = _usual_size(hours, worst) or 0.0
        facts = {
            "unit": "requests",
            "tokens_each": hours.tokens[worst] / hours.requests[worst],
            "usual_each": size,
            "at": hours.starts[worst].isoformat(),
        }
        expected = usual(hours.requests, worst) or 0.0
        yield Odd(hours.starts[run[0]], hours.starts[run[-1]] + HOUR, hours.requests[worst], expected, None, facts)


def _usual_size(hours: Hours, place: int) -> float | None:
    """Tokens of a use in the middle of the four weeks before."""
    begin = max(0, place - 4 * WEEK)
    sizes = [hours.tokens[at] / hours.requests[at] for at in range(begin, place) if hours.requests[at]]
    return median(sizes) if len(sizes) >= 24 else None


KINDS: dict[str, Callable[[AnomalyRule, Hours, datetime], Iterator[Odd]]] = {
    AnomalyKind.SEASONAL: seasonal,
    AnomalyKind.COST_SPIKE: cost_spike,
    AnomalyKind.START: start,
    AnomalyKind.SILENCE: silence,
    AnomalyKind.BURST: burst,
}
