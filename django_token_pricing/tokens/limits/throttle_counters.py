"""Where throttles count: one script in Redis for all counters of a request, or any other cache of Django's.

A calendar window has a counter of its own, which goes when the window is over. A rolling window is estimated from two
fixed ones: what was used in the one that runs, and of the one before the share that the rolling window still covers,

    used = current + ceil(before × time left in the one that runs / length)

the sliding window counter that Cloudflare described in 2017 (“How we built rate limiting capable of scaling to millions
of domains”). It takes the use of the window before to be spread evenly, and needs no list of requests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import timezone as tz
from typing import Any
from weakref import WeakKeyDictionary

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache
from django.utils import timezone

from django_token_pricing.choices import LimitMode
from django_token_pricing.lib import windows
from django_token_pricing.models import LimitRule
from django_token_pricing.tokens.limits.throttle_rules import Counter

SECOND = 1_000_000
# Above it Redis would count in steps of two, as its scripts have doubles.
MOST = 2**53
EPOCH = datetime(1970, 1, 1, tzinfo=tz.utc)
# The script is told the window and asks the server for the time. Where the two do not go together it says so, and is
# called again with the server's window: at the turn of a window, or where the clocks differ.
TRIES = 3

# KEYS are, for each counter, that of its window and, where it is rolling, that of the window before. ARGV[1] has five
# numbers for each: the amount, the most that may be used (below 0: it is only counted), the window's start and end, and
# its length where it is rolling, else 0; in microseconds. One text each way, as the client takes its time over values.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = {string.format('%.0f', now), '1'}
local key, counted = 1, {}
for amount, most, starts, ends, length in string.gmatch(ARGV[1], '(%S+) (%S+) (%S+) (%S+) (%S+)') do
  most, ends, length = tonumber(most), tonumber(ends), tonumber(length)
  if now < tonumber(starts) or now >= ends then return answer[1] .. ' -1' end
  local current, before = redis.call('GET', KEYS[key]) or '0', '0'
  local used = tonumber(current)
  if length > 0 then
    before = redis.call('GET', KEYS[key + 1]) or '0'
    used = used + math.ceil(tonumber(before) * (ends - now) / length)
  end
  if amount ~= '0' then
    if most >= 0 and used + tonumber(amount) > most then answer[2] = '0' end
    counted[#counted + 1] = {KEYS[key], amount, current == '0' and (ends + length) / 1000 + 1000}
  end
  answer[#answer + 1] = current
  answer[#answer + 1] = before
  key = key + (length > 0 and 2 or 1)
end
if answer[2] == '1' then
  for _, one in ipairs(counted) do
    redis.call('INCRBY', one[1], one[2])
    if one[3] then redis.call('PEXPIREAT', one[1], string.format('%.0f', one[3])) end
  end
end
return table.concat(answer, ' ')
"""


@dataclass(frozen=True, slots=True)
class Window:
    """The fixed window of a moment, in microseconds since 1970; `length` is 0 where it is the calendar's."""

    starts: int
    ends: int
    length: int

    @classmethod
    def of(cls, period: str, now: int) -> Window:
        if windows.is_rolling(period):
            length = windows.length_of(period) // timedelta(microseconds=1)
            starts = now - now % length
            return cls(starts, starts + length, length)
        starts_at, ends_at = windows.bounds(period, _moment(now), timezone.get_default_timezone())
        assert ends_at is not None  # noqa: S101 - a limit without windows is not counted in the cache
        return cls(_microseconds(starts_at), _microseconds(ends_at), 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a counter said before the request was counted."""

    counter: Counter
    window: Window
    now: int
    current: int
    before: int
    amount: int

    @property
    def used(self) -> int:
        if not self.window.length:
            return self.current
        return self.current - (-self.before * (self.window.ends - self.now) // self.window.length)

    def passes(self) -> bool:
        rule = self.counter.rule
        return rule is None or not self.amount or self.used + self.amount <= most_of(rule)

    def wait(self) -> int | None:
        """Microseconds after which the same request would pass if nothing else is used; None where none would do."""
        rule, window = self.counter.rule, self.window
        if rule is None or self.passes():
            return 0
        room = most_of(rule) - self.amount
        if room < 0:
            return None
        left = window.ends - self.now
        if not window.length:
            return left
        if self.current <= room:
            return left - (room - self.current) * window.length // self.before
        return left + window.length - room * window.length // self.current

    def resets(self) -> datetime:
        """When nothing that is counted now counts any more."""
        return _moment(self.window.ends + self.window.length)


def most_of(rule: LimitRule) -> int:
    return rule.limit + rule.grace if rule.mode == LimitMode.GRACE else rule.limit


def count(cache: BaseCache, alias: str, counters: Sequence[Counter], amounts: dict[str, int]) -> list[Standing]:
    """Count the request in all counters, or in none where a rule does not let it pass. Raises what the cache raises."""
    if isinstance(cache, RedisCache):
        return _count_in_redis(cache, alias, counters, amounts)
    return _count_anywhere(cache, counters, amounts)


# Redis ----------------------------------------------------------------------------------------------------------------

_scripts: WeakKeyDictionary[RedisCache, Any] = WeakKeyDictionary()
# How far the clock of a cache's server is ahead of ours.
_ahead: dict[str, int] = {}
_windows: dict[str, Window] = {}


def _count_in_redis(
    cache: RedisCache, alias: str, counters: Sequence[Counter], amounts: dict[str, int]
) -> list[Standing]:
    # Redis has a client of its own for each thread, as Django's caches are.
    script = _scripts.get(cache)
    if script is None:
        client: Any = cache._cache  # type: ignore[attr-defined, unused-ignore]
        script = _scripts[cache] = client.get_client(write=True).register_script(SCRIPT)
    now = time.time_ns() // 1_000 + _ahead.get(alias, 0)
    for _try in range(TRIES):
        chosen = []
        keys: list[str] = []
        numbers: list[str] = []
        for counter in counters:
            window = _windows.get(counter.period)
            if window is None or not window.starts <= now < window.ends:
                window = _windows[counter.period] = Window.of(counter.period, now)
            chosen.append(window)
            keys.append(cache.make_key(f"{counter.name}{window.starts}"))
            if window.length:
                keys.append(cache.make_key(f"{counter.name}{window.starts - window.length}"))
            most = -1 if counter.rule is None else most_of(counter.rule)
            numbers.append(f"{amounts[counter.metric]} {most} {window.starts} {window.ends} {window.length}")
        now, decision, *found = map(int, script(keys, [" ".join(numbers)]).split())
        if decision >= 0:
            return [
                Standing(counter, window, now, found[2 * n], found[2 * n + 1], amounts[counter.metric])
                for n, (counter, window) in enumerate(zip(counters, chosen, strict=True))
            ]
        _ahead[alias] = now - time.time_ns() // 1_000
    raise TimeoutError("The clock of the cache's server and its windows do not go together.")


# Any cache ------------------------------------------------------------------------------------------------------------


def _count_anywhere(cache: BaseCache, counters: Sequence[Counter], amounts: dict[str, int]) -> list[Standing]:
    """Each key is exact where the cache's `incr` is atomic, and never lets more pass. A request that is refused by one
    counter was in the others for a moment, in which they may have refused another one.
    """
    now = time.time_ns() // 1_000
    found = []
    counted = []
    for counter in counters:
        window = Window.of(counter.period, now)
        amount = amounts[counter.metric]
        key = f"{counter.name}{window.starts}"
        before = cache.get(f"{counter.name}{window.starts - window.length}", 0) if window.length else 0
        after = _add(cache, key, amount, (window.ends + window.length - now) // SECOND + 2)
        found.append(Standing(counter, window, now, after - amount, before, amount))
        counted.append((key, amount))
    if not all(standing.passes() for standing in found):
        for key, amount in counted:
            if amount:
                cache.decr(key, amount)
    return found


def _add(cache: BaseCache, key: str, amount: int, seconds: int) -> int:
    if not amount:
        return int(cache.get(key, 0))
    cache.add(key, 0, seconds)
    try:
        after = cache.incr(key, amount)
    except ValueError:
        # It was evicted in between, or the cache keeps nothing.
        cache.add(key, 0, seconds)
        after = cache.incr(key, amount)
    if type(cache).incr is BaseCache.incr:
        # That one stores the sum for as long as the cache keeps anything.
        cache.touch(key, seconds)
    return int(after)


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
