"""A trial of a limit says exactly what the limit does to the same uses, whatever they were."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone as django_timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput, LimitExceeded
from django_token_pricing.models import Job, LimitRule, TokenAccount, TokenUsageLog
from django_token_pricing.tokens.limits import changes, replay, rules
from django_token_pricing.tokens.limits.replay import Trial
from django_token_pricing.tokens.limits.simulation import Row
from tests import world
from tests.tokens.clock import Clock

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["", "Europe/Berlin", "America/New_York", "UTC"]
DAYS = 300
TIERS = ["", "pro", "pro"]


@dataclass(frozen=True, slots=True)
class Deed:
    """A use of one of the users, or a refund of an earlier use."""

    at: datetime
    user: int
    amount: int
    model: str = ""
    feature: str = ""
    tier: str = ""
    of: int | None = None


@dataclass(slots=True)
class World:
    """The same cast each time: two users of a pool, and one of another."""

    users: list[Any] = field(default_factory=lambda: world.new_users(3))
    pools: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pools = [world.new_pool(*self.users[:2]), world.new_pool(self.users[2])]
        owners = [*self.users, *self.pools]
        tokens.grant_many([tokens.GrantRow(owner, 10**9) for owner in owners], source="plan")

    def accounts(self) -> list[int]:
        found = dict(TokenAccount.objects.filter(user__in=self.users).values_list("user", "pk"))
        return [found[user.pk] for user in self.users]

    def do(self, deeds: list[Deed], clock: Clock, numbers: Iterator[int]) -> set[int]:
        """Do these; says which uses were refused. What was refused is not refunded."""
        refused = set()
        for number, deed in zip(numbers, deeds, strict=False):
            clock.at(deed.at)
            key = f"{self.users[0].pk}:{number}"
            user = self.users[deed.user]
            if deed.of is not None:
                if TokenUsageLog.objects.filter(key=f"{self.users[0].pk}:{deed.of}").exists():
                    tokens.refund(f"{self.users[0].pk}:{deed.of}", deed.amount, key=key, reason="Goodwill")
                continue
            TokenAccount.objects.filter(user=user).update(tier=deed.tier)
            try:
                tokens.consume(user, deed.amount, key=key, model=deed.model, feature=deed.feature, used_at=deed.at)
            except LimitExceeded:
                refused.add(number)
        return refused


def turning(now: datetime) -> datetime:
    """The latest moment within the last year at which Berlin changed its clocks."""
    at = now.replace(minute=0, second=0, microsecond=0)
    while at.astimezone(BERLIN).utcoffset() == (at - timedelta(hours=1)).astimezone(BERLIN).utcoffset():
        at -= timedelta(hours=1)
    return at


def history(chance: random.Random, now: datetime, window: str) -> list[Deed]:
    """Uses around the change of clocks and up to now, so near to each other that windows matter; and some refunds."""
    spread = {"minute": 60, "hour": 3_600, "day": 90_000}.get(window, 1_500_000)
    middles = [turning(now), now - timedelta(seconds=spread + 60)]
    moments = sorted(
        min(chance.choice(middles) + timedelta(seconds=chance.randint(-spread, spread)), now - timedelta(seconds=60))
        for _ in range(24)
    )
    # Several at the same moment, and some exactly a window apart.
    moments[5] = moments[4]
    moments = sorted([*moments, moments[10] + timedelta(days=1), moments[11] + timedelta(hours=1)])
    moments = [moment for moment in moments if moment < now - timedelta(seconds=30)]
    deeds: list[Deed] = []
    for at in moments:
        uses = [number for number, deed in enumerate(deeds) if deed.of is None and deed.amount > 1]
        if uses and chance.random() < 0.15:
            of = chance.choice(uses[-6:])
            if not any(deed.of == of for deed in deeds):
                back = chance.choice([deeds[of].amount, chance.randint(1, deeds[of].amount)])
                deeds.append(Deed(at, deeds[of].user, back, of=of))
                continue
        names = {name: chance.choice(["", "a", "b"]) for name in ("model", "feature")}
        amount = chance.choice([0, 1, chance.randint(1, 60)])
        deeds.append(Deed(at, chance.choice([0, 0, 1, 2]), amount, tier=chance.choice(TIERS), **names))
    return deeds


def some_rule(chance: random.Random) -> dict[str, Any]:
    """The terms of a rule, with the places of a user and of a pool in the world."""
    window = chance.choice(["minute", "hour", "day", "day", "week", "month", "month", "total", "request"])
    metric = "tokens" if window == "request" else chance.choice(["tokens", "tokens", "requests"])
    is_plain = window in ("total", "request")
    is_rolling = not is_plain and chance.random() < 0.5
    mode = chance.choice(["hard", "grace", "hard" if is_plain else "throttle"])
    return {
        "scope": chance.choice(["user", "pool", "tier", "default"]),
        "window": window,
        "metric": metric,
        "alignment": "rolling" if is_rolling else "calendar",
        "time_zone": "" if is_plain or is_rolling else chance.choice(ZONES),
        "limit": chance.randint(0, 3) if metric == "requests" else chance.randint(0, 60),
        "mode": mode,
        "grace": chance.randint(1, 10) if mode == "grace" else 0,
        "model": chance.choice(["", "", "a"]),
        "feature": chance.choice(["", "", "b"]),
    }


def whom(terms: dict[str, Any], cast: World) -> dict[str, Any]:
    of = {"user": {"user": cast.users[0]}, "pool": {"pool": cast.pools[0]}, "tier": {"tier": "pro"}, "default": {}}
    return {**terms, **of[terms["scope"]]}


def rivals(chance: random.Random, terms: dict[str, Any]) -> list[dict[str, Any]]:
    """Rules for the same metric and window that refuse nothing: the more specific ones take uses away."""
    found = []
    for scope in chance.sample(["user", "pool", "tier", "default"], chance.randint(0, 2)):
        rival = {"scope": scope, "limit": 10**9, "model": chance.choice(["", "b"]), "feature": chance.choice(["", "a"])}
        places = [(rule["scope"], rule["model"], rule["feature"]) for rule in [terms, *found]]
        if (scope, rival["model"], rival["feature"]) not in places:
            found.append({**rival, "metric": terms["metric"], "window": terms["window"]})
    return found


def set_limit(terms: dict[str, Any]) -> LimitRule:
    return rules.set_limit(**terms, reason="Fair use", actor=None)


def tried(terms: dict[str, Any], *, days: int = DAYS, rule: LimitRule | None = None) -> Job:
    values = {**changes.terms(rules.draft(**terms)), "rule": rule and rule.pk}
    job = tokens.ask_replay(values, days=days, actor=None, key=uuid4())
    jobs.work(job.pk)
    job.refresh_from_db()
    assert job.status == JobStatus.DONE, job.problem
    return job


def refused_by(job: Job, keys: dict[str, int]) -> set[int]:
    """The numbers of the uses that the trial refuses, asked of what the job runs."""
    until = datetime.fromisoformat(job.preview["until"])
    trial = Trial(job, until=until, has_refunds=job.preview["has_refunds"])
    told: list[Row] = []
    trial.judge(list(job.rows.values_list("target", flat=True)), told=told.append)
    known = dict(TokenUsageLog.objects.filter(pk__in=[row.id for row in told]).values_list("pk", "key"))
    return {keys[known[row.id]] for row in told if known[row.id] in keys}


def oracle(terms: dict[str, Any], deeds: list[Deed], others: list[dict[str, Any]], since: datetime) -> set[int]:
    """What the rule refuses, by going through all that came before each use."""
    refused: set[int] = set()
    if terms["mode"] == "soft":
        return refused
    for number, deed in enumerate(deeds):
        if deed.of is not None or deed.at < since or not governs(terms, others, deed):
            continue
        used = 0
        for before, other in enumerate(deeds[:number]):
            if other.of is not None or before in refused or not counts(terms, deed, other):
                continue
            back = sum(one.amount for one in deeds[:number] if one.of == before)
            is_whole = 0 < other.amount <= back
            used += other.amount - back if terms["metric"] == "tokens" else int(not is_whole)
        asked = deed.amount if terms["metric"] == "tokens" else 1
        if asked > max(terms["limit"] + terms["grace"] - used, 0):
            refused.add(number)
    return refused


RANKS = {"user": 3, "pool": 2, "tier": 1, "default": 0}


def rank(terms: dict[str, Any]) -> tuple[int, int]:
    return RANKS[terms["scope"]], 2 * bool(terms["model"]) + bool(terms["feature"])


def governs(terms: dict[str, Any], others: list[dict[str, Any]], deed: Deed) -> bool:
    def fits(one: dict[str, Any]) -> bool:
        targets = {"user": deed.user == 0, "pool": deed.user in (0, 1), "tier": deed.tier == "pro", "default": True}
        return targets[one["scope"]] and one["model"] in ("", deed.model) and one["feature"] in ("", deed.feature)

    return fits(terms) and not any(fits(other) and rank(other) > rank(terms) for other in others)


def counts(terms: dict[str, Any], deed: Deed, other: Deed) -> bool:
    """Whether the other use is in the same counter and window."""
    if not (deed.user == other.user or (terms["scope"] == "pool" and other.user in (0, 1))):
        return False
    if terms["window"] in ("request", "total"):
        return terms["window"] == "total"
    if terms["alignment"] == "rolling":
        days = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 30}[terms["window"]]
        return deed.at - other.at <= timedelta(days=days)
    zone = ZoneInfo(terms["time_zone"]) if terms["time_zone"] else django_timezone.get_default_timezone()
    return part(terms["window"], deed.at, zone) == part(terms["window"], other.at, zone)


def part(window: str, at: datetime, zone: Any) -> Any:
    local = at.astimezone(zone)
    if window in ("minute", "hour"):
        return int(at.timestamp()) // (60 if window == "minute" else 3_600)
    return {"day": local.date(), "week": local.isocalendar()[:2], "month": (local.year, local.month)}[window]


def a_case(chance: random.Random, now: datetime) -> tuple[dict[str, Any], list[Deed], list[dict[str, Any]]]:
    """A rule that refuses some uses and lets most pass, the uses, and rules beside it."""
    while True:
        terms = some_rule(chance)
        deeds = history(chance, now, terms["window"])
        others = rivals(chance, terms)
        if 3 <= len(oracle(terms, deeds, others, now - timedelta(days=DAYS))) <= 15:
            return terms, deeds, others


@pytest.mark.parametrize("seed", range(6))
def test_a_trial_says_what_the_limit_then_does_to_the_same_uses(clock: Clock, seed: int) -> None:
    chance = random.Random(f"replay:{seed}")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    terms, deeds, others = a_case(chance, now)
    as_it_was = World()
    clock.at(deeds[0].at - timedelta(days=2))
    as_it_was.do(deeds, clock, iter(range(len(deeds))))
    clock.at(now)
    for other in others:
        set_limit(whom(other, as_it_was))
    job = tried(whom(terms, as_it_was))
    since = datetime.fromisoformat(job.preview["since"])
    keys = {f"{as_it_was.users[0].pk}:{number}": number for number in range(len(deeds))}
    said = refused_by(job, keys)
    assert said == oracle(terms, deeds, others, since)
    assert job.result["refused"] == len(said)
    assert job.result["tokens"] == sum(deeds[number].amount for number in said)
    LimitRule.objects.all().delete()

    again = World()
    place = next(number for number, deed in enumerate(deeds) if deed.at >= since)
    numbers = iter(range(len(deeds)))
    again.do(deeds[:place], clock, iter(range(place)))
    for rule in [*others, terms]:
        set_limit(whom(rule, again))
    numbers = iter(range(place, len(deeds)))
    assert again.do(deeds[place:], clock, numbers) == said


@pytest.fixture
def now(clock: Clock) -> datetime:
    return clock.at(datetime.now(timezone.utc).replace(microsecond=0))


def use(user: Any, amount: int, at: datetime, **facts: Any) -> None:
    tokens.consume(user, amount, key=None, used_at=at, **facts)


@pytest.fixture
def rich(user: Any, now: datetime) -> Any:
    tokens.grant(user, 10**6, source="plan")
    return user


def test_a_limit_that_lets_pass_refuses_nothing_and_says_what_went_beyond(rich: Any, now: datetime) -> None:
    for hours in (3, 2, 1):
        use(rich, 10, now - timedelta(hours=hours))
    terms = {"scope": "default", "window": "total", "mode": "soft", "limit": 15}
    found = tried(terms, days=2).result
    assert (found["uses"], found["refused"], found["over_uses"], found["over"]) == (3, 0, 2, 15)


def test_what_was_used_before_those_days_counts_and_is_not_judged(rich: Any, now: datetime) -> None:
    use(rich, 10, now - timedelta(days=1, hours=2))
    use(rich, 10, now - timedelta(hours=21))
    terms = {"scope": "user", "user": rich, "window": "day", "alignment": "rolling", "limit": 15}
    found = tried(terms, days=1).result
    assert (found["uses"], found["refused"]) == (1, 1)
    assert found["first_at"] == found["last_at"] == (now - timedelta(hours=21)).isoformat()


def test_usage_that_was_only_recorded_is_left_out(rich: Any, now: datetime) -> None:
    tokens.record_many([tokens.Use(rich, 100, used_at=now - timedelta(hours=1))])
    assert tried({"scope": "default", "window": "day", "limit": 1}, days=2).result["uses"] == 0


def test_the_result_has_the_days_and_who_was_refused_most_and_the_file_has_all(
    rich: Any, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "TOP", 2)
    monkeypatch.setattr(replay.ReplayLimit, "chunk", 2)
    users = [rich, *world.new_users(4)]
    tokens.grant_many([tokens.GrantRow(user, 1_000) for user in users[1:]], source="plan")
    for place, user in enumerate(users):
        for number in range(place + 1):
            use(user, 5, now - timedelta(hours=30 * number + 1))
    job = tried({"scope": "default", "window": "request", "limit": 4}, days=10)
    accounts = {user.pk: TokenAccount.objects.get(user=user).pk for user in users}
    assert (job.total, job.done, job.result["refused"], job.result["accounts_refused"]) == (5, 5, 15, 5)
    assert [line[:3] for line in job.result["top"]] == [
        [accounts[users[4].pk], 5, 25],
        [accounts[users[3].pk], 4, 20],
    ]
    days = [(now - timedelta(hours=30 * number + 1)).astimezone(BERLIN).date() for number in range(5)]
    assert job.result["days"] == {day.isoformat(): 5 - number for number, day in enumerate(days)}
    lines = list(csv.DictReader(io.StringIO(b"".join(jobs.pieces(job)).decode())))
    assert {int(line["account"]): int(line["uses_refused"]) for line in lines} == {
        accounts[user.pk]: place + 1 for place, user in enumerate(users)
    }


def test_a_rule_that_would_be_changed_is_not_in_its_own_way(rich: Any, now: datetime) -> None:
    use(rich, 10, now - timedelta(hours=1))
    rule = set_limit({"scope": "user", "user": rich, "window": "day", "limit": 100})
    wider = {"scope": "default", "window": "day", "limit": 1}
    assert tried(wider, days=2).result["refused"] == 0
    assert tried(wider, days=2, rule=rule).result["refused"] == 1
    assert tried({"scope": "user", "user": rich, "window": "day", "limit": 1}, days=2).result["refused"] == 1


def test_a_result_is_found_for_exactly_these_values(rich: Any, now: datetime) -> None:
    terms = {"scope": "user", "user": rich, "window": "day", "limit": 1}
    values = changes.terms(rules.draft(**terms))
    age = timedelta(hours=1)
    assert tokens.replay_of(values, max_age=age) is None
    job = tried(terms, days=2)
    assert tokens.replay_of(values, max_age=age) == job
    assert tokens.replay_of({**values, "limit": 2}, max_age=age) is None
    assert tokens.replay_of({**values, "rule": 7}, max_age=age) is None
    Job.objects.update(finished_at=django_timezone.now() - timedelta(hours=2))
    assert tokens.replay_of(values, max_age=age) is None


@pytest.mark.parametrize(
    ("terms", "days"),
    [
        ({"scope": "default", "window": "concurrent", "limit": 1}, 2),
        ({"scope": "default", "window": "day", "limit": 1}, 0),
        ({"scope": "default", "window": "day", "limit": 1}, 367),
    ],
)
def test_what_cannot_be_tried_out_is_refused_at_once(now: datetime, terms: dict[str, Any], days: int) -> None:
    with pytest.raises(InvalidInput):
        tokens.ask_replay(changes.terms(rules.draft(**terms)), days=days, actor=None, key=uuid4())
    assert not Job.objects.exists()


def test_where_nobody_used_anything_there_is_a_result_all_the_same(now: datetime) -> None:
    job = tried({"scope": "tier", "tier": "pro", "window": "day", "limit": 1}, days=30)
    assert (job.total, job.result["uses"], job.result["refused"]) == (0, 0, 0)
