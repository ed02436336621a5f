"""A run of renewal: what is due is frozen as rows of a job, and done chunk by chunk.

The renewal's row is the lock: whoever decides about a subscription holds it until its lots, its periods and its next
moment are written in one transaction. So however many runs look at it at once, one finds it due.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from django.db import IntegrityError, connections, router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import jobs, tokens
from django_token_pricing.automation.renewals import decisions, due
from django_token_pricing.automation.renewals.decisions import Carrying, Deeds, Facts, Standing
from django_token_pricing.choices import JobStatus, PeriodOutcome, Rollover, Source
from django_token_pricing.exceptions import InvalidInput, NotRenewable, TokenPricingError
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import (
    LIVE,
    Job,
    Renewal,
    RenewalLot,
    RenewalPeriod,
    RenewalPolicy,
    SubscriptionMirror,
    TokenAllocation,
    batches,
)
from django_token_pricing.tokens.arguments import Owner

KIND = "automation.renew"
CHOSEN = "automation.renew_chosen"
RUNS = UUID("7a0f7d0c-9a3d-4f0e-8f57-0f2b6a6f8a11")
FACTS = (
    "pk",
    "user_id",
    "tier",
    "plan_code",
    "status",
    "gone_at",
    "cancel_at",
    "period_starts_at",
    "anchor_at",
    "time_zone",
    "quantity",
)
STANDING = (
    "subscription_id",
    "policy_id",
    "state",
    "anchor_at",
    "host_anchor_at",
    "time_zone",
    "quantity",
    "number",
    "period_starts_at",
    "period_ends_at",
    "granted",
    "changes",
    "due_at",
    "tries",
    "problem",
)
FAILING = ("state", "problem", "due_at", "tries")
OF_STANDING = attrgetter(*STANDING)
UNDER_WAY = [JobStatus.PREPARING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED]


def start(*, as_of: datetime, now: bool = False) -> Job | None:
    """Renew what is due at that moment, as a job. None when nothing is.

    Two calls at once make one job, and while one is under way (or paused) no other is made: the answer is that one.
    With `now` the rows are frozen and done before this returns. Raises InvalidInput for a naive moment.
    """
    if timezone.is_naive(as_of):
        raise InvalidInput(detail=_("The moment needs a zone."))
    using = router.db_for_write(Job)
    runs = Job.objects.using(using).filter(kind=KIND)
    latest = runs.order_by("-pk").values_list("pk", flat=True).first()
    under_way = runs.filter(status__in=UNDER_WAY).order_by("pk").first()
    if under_way is not None:
        if now and under_way.status != JobStatus.PAUSED:
            jobs.work(under_way.pk)
            under_way.refresh_from_db()
        return under_way
    if not due.subscriptions(as_of, using).exists():
        return None
    params = {"as_of": as_of.isoformat()}
    # Who asks at the same time has seen the same run before, and so makes the same one.
    return jobs.create(KIND, params=params, actor=None, key=uuid5(RUNS, str(latest)), now=now)


def start_chosen(subscriptions: Sequence[int], *, as_of: datetime, actor: Any, key: UUID, now: bool = False) -> Job:
    """Look at these subscriptions now, those that failed included, and renew what is due of them."""
    params = {"as_of": as_of.isoformat(), "subscriptions": list(subscriptions)}
    return jobs.create(CHOSEN, params=params, actor=actor, key=key, now=now)


@jobs.register
class Renew(jobs.RowsHandler):
    """`params`: as_of, an ISO moment. The rows are subscriptions."""

    kind = KIND
    permission = "django_token_pricing.renew_subscriptions"
    is_confirmed = False
    chunk = 2_000

    def title(self, job: Job) -> str:
        words = ngettext("Renewal of %(count)s subscription", "Renewal of %(count)s subscriptions", job.total)
        return words % {"count": job.total}

    def check(self, params: dict[str, Any]) -> None:
        _moment(params)

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        with transaction.atomic(using=job._state.db):
            beat()
            job.total = jobs.freeze(job, self.rows(job))
        job.done = job.skipped = job.failed = 0
        job.preview = {"as_of": job.params["as_of"]}

    def rows(self, job: Job) -> QuerySet[Any]:
        return due.subscriptions(_moment(job.params), str(job._state.db))

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        named = rows.queryset.values_list("target", "number")
        numbers = {target: number for target, number in named if target is not None}
        as_of = _moment(job.params)
        using = str(job._state.db)
        try:
            with transaction.atomic(using=using):
                return _Chunk(list(numbers), as_of, using).done(numbers)
        except TokenPricingError as error:
            if len(numbers) != 1:
                raise
            (subscription, number), *_none = numbers.items()
            _fail(subscription, error, as_of, using)
            return jobs.Applied(problems={number: error})


@jobs.register
class RenewChosen(Renew):
    """`params`: as_of, and the subscriptions' numbers."""

    kind = CHOSEN

    def rows(self, job: Job) -> QuerySet[Any]:
        rows = SubscriptionMirror.objects.using(job._state.db)
        return rows.filter(pk__in=job.params["subscriptions"])


def _moment(params: dict[str, Any]) -> datetime:
    moment = parse_datetime(params["as_of"])
    if moment is None or timezone.is_naive(moment):
        raise InvalidInput(detail=_("The moment needs a zone."))
    return moment


def _fail(subscription: int, error: TokenPricingError, as_of: datetime, using: str) -> None:
    # A row that was made for it went with the transaction that failed.
    Renewal.objects.using(using).bulk_create([Renewal(subscription_id=subscription)], ignore_conflicts=True)
    row = Renewal.objects.using(using).filter(pk=subscription)
    standing = Standing(*row.values_list(*STANDING).get())
    decisions.failed(standing, error.message, as_of)
    row.update(**{name: getattr(standing, name) for name in FAILING}, changed_at=timezone.now())


class _Lot(NamedTuple):
    pk: int
    period_starts_at: datetime
    expires_at: datetime | None
    times: int


@dataclass(slots=True)
class _Work:
    """One subscription of the chunk: its row, locked, and what is to be done."""

    standing: Standing
    facts: Facts
    deeds: Deeds
    # Of the standing before it was moved on.
    period_starts_at: datetime | None


class _Chunk:
    """Subscriptions that are decided together, in a number of statements that does not depend on how many they are."""

    def __init__(self, subscriptions: Sequence[int], as_of: datetime, using: str) -> None:
        self.subscriptions = sorted(subscriptions)
        self.as_of = as_of
        self.using = using
        self.problems: dict[int, TokenPricingError] = {}
        self.lots: list[tuple[Any, ...]] = []
        self.carried: dict[int, int] = {}

    def done(self, numbers: dict[int, int]) -> jobs.Applied:
        works = self._decided(self._locked())
        busy = [work for work in works if work.deeds]
        self._carry([work for work in busy if work.deeds.carrying])
        self._take([work for work in busy if work.deeds.take_back or work.deeds.is_voided])
        granted = self._grant(busy)
        try:
            with transaction.atomic(using=self.using):
                self._write(works, busy)
        except IntegrityError as error:
            # The table's own last word: that period was decided before.
            detail = _("a period of it was decided before.")
            raise NotRenewable(subscription=self.subscriptions[0], detail=detail) from error
        applied = jobs.Applied(done=len(busy), skipped=len(numbers) - len(busy) - len(self.problems))
        applied.problems = {numbers[pk]: error for pk, error in self.problems.items()}
        applied.sums.update(granted=granted, carried=sum(self.carried.values()))
        applied.sums["periods"] = sum(
            decided.outcome == PeriodOutcome.GRANTED for work in busy for decided in work.deeds.decided
        )
        return applied

    # Reading

    def _locked(self) -> dict[int, tuple[Any, ...]]:
        """The renewals' rows, made where they are missing, in one order for everybody."""
        rows = Renewal.objects.using(self.using)
        known = {pk for step in steps(self.subscriptions) for pk in _keys(rows.filter(pk__in=step))}
        missing = [pk for pk in self.subscriptions if pk not in known]
        rows.bulk_create([Renewal(subscription_id=pk) for pk in missing], ignore_conflicts=True, batch_size=500)
        features = connections[self.using].features
        found: dict[int, tuple[Any, ...]] = {}
        for step in steps(self.subscriptions):
            wanted = rows.filter(pk__in=step).order_by("pk")
            if features.has_select_for_update:
                wanted = wanted.select_for_update(no_key=features.has_select_for_no_key_update)
            found.update((row[0], row) for row in wanted.values_list(*STANDING))
        return found

    def _decided(self, standings: dict[int, tuple[Any, ...]]) -> list[_Work]:
        mirrors = SubscriptionMirror.objects.using(self.using)
        rows = [row for step in steps(self.subscriptions) for row in mirrors.filter(pk__in=step).values(*FACTS)]
        policies = {policy.pk: policy for policy in RenewalPolicy.objects.using(self.using)}
        active = {policy.code: policy for policy in policies.values() if policy.is_active}
        live, site = frozenset(str(status.value) for status in LIVE), timezone.get_default_timezone()
        works = []
        for row in rows:
            facts = decisions.facts_of(row, live)
            standing = Standing(*standings[facts.subscription])
            if standing.policy_id is not None:
                standing.policy = policies[standing.policy_id]
            deeds, period_starts_at = Deeds(), standing.period_starts_at
            try:
                deeds = decisions.decide(standing, facts, active.get(facts.code), self.as_of, site)
            except NotRenewable as error:
                standing = Standing(*standings[facts.subscription])
                decisions.failed(standing, error.message, self.as_of)
                self.problems[facts.subscription] = error
            works.append(_Work(standing, facts, deeds, period_starts_at))
        return works

    @cached_property
    def _theirs(self) -> dict[int, list[_Lot]]:
        """The subscriptions' lots in which something is left, those carried least first."""
        lots: dict[int, list[_Lot]] = {}
        names = ("subscription", "pk", "period_starts_at", "expires_at", "times")
        for step in steps(self.subscriptions):
            rows = RenewalLot.objects.using(self.using).filter(subscription__in=step, allocation__is_open=True)
            for subscription, *row in rows.order_by("times", "pk").values_list(*names):
                lots.setdefault(subscription, []).append(_Lot(*row))
        return lots

    # Tokens

    def _carry(self, works: Sequence[_Work]) -> None:
        if not works:
            return
        carries: list[tokens.Carry] = []
        whose: dict[int, tuple[_Work, Carrying, int]] = {}
        for work in works:
            carrying = work.deeds.carrying
            assert carrying is not None  # noqa: S101 - chosen by it
            most = carrying.policy.rollover_periods
            chosen = [
                lot
                for lot in self._theirs.get(work.facts.subscription, ())
                if lot.period_starts_at == carrying.period_starts_at
                and lot.expires_at == carrying.ended_at
                and (most is None or lot.times + carrying.times <= most)
            ]
            if chosen:
                whose.update((lot.pk, (work, carrying, lot.times)) for lot in chosen)
                carries.append(_carry(carrying, [lot.pk for lot in chosen]))
        result = tokens.rollover_many(carries, reason=_("Renewal"))
        for moved in result.lots:
            work, carrying, times = whose[moved.parent]
            subscription = work.facts.subscription
            self.carried[subscription] = self.carried.get(subscription, 0) + moved.amount
            of = carrying.into.starts_at
            self.lots.append((moved.allocation, subscription, of, carrying.expires_at, times + carrying.times))

    def _take(self, works: Sequence[_Work]) -> None:
        """What a downgrade takes back of the present period's lots, and a cancellation of all."""
        if not works:
            return
        wanted = []
        for work in works:
            lots = self._theirs.get(work.facts.subscription, [])
            if not work.deeds.is_voided:
                lots = [lot for lot in lots if not lot.times and lot.period_starts_at == work.period_starts_at]
            most = None if work.deeds.is_voided else work.deeds.take_back
            wanted.append(tokens.Withdraw(lots=[lot.pk for lot in lots], most=most))
        result = tokens.withdraw_many(wanted, reason=_("Renewal"))
        for work, taken in zip(works, result.taken, strict=True):
            policy = work.standing.policy
            if not work.deeds.is_voided and policy is not None:
                decisions.taken_back(work.standing, policy, work.deeds.take_back, taken)

    def _grant(self, works: Sequence[_Work]) -> int:
        given = {granted.key: (work, granted) for work in works for granted in work.deeds.granted}
        if not given:
            return 0
        rows = (
            tokens.GrantRow(
                Owner(user=work.facts.user),
                granted.tokens,
                key=key,
                priority=granted.priority,
                starts_at=granted.starts_at,
                expires_at=granted.expires_at,
            )
            for key, (work, granted) in given.items()
        )
        result = tokens.grant_many(rows, source=Source.PLAN, reason=_("Renewal"))
        lots = TokenAllocation.objects.using(self.using).filter(event=result.event)
        for key, number in lots.values_list("key", "pk"):
            work, granted = given[key]
            self.lots.append((number, work.facts.subscription, granted.period_starts_at, granted.expires_at, 0))
        return result.tokens

    # Writing

    def _write(self, works: Sequence[_Work], busy: Sequence[_Work]) -> None:
        now = timezone.now()
        for work in busy:
            if work.deeds.cut is not None:
                starts_at, ends_at = work.deeds.cut
                rows = RenewalPeriod.objects.using(self.using).filter(subscription=work.facts.subscription)
                rows.filter(starts_at=starts_at).update(ends_at=ends_at)
        periods = [
            (
                work.facts.subscription,
                decided.policy.pk,
                decided.period.starts_at,
                decided.period.ends_at,
                decided.outcome.value,
                decided.tokens,
                self.carried.get(work.facts.subscription, 0) if decided is work.deeds.decided[-1] else 0,
                now,
            )
            for work in busy
            for decided in work.deeds.decided
        ]
        columns = ["subscription_id", "policy_id", "starts_at", "ends_at", "outcome", "tokens", "carried", "decided_at"]
        batches.insert(RenewalPeriod, columns, periods, self.using)
        columns = ["allocation_id", "subscription_id", "period_starts_at", "expires_at", "times"]
        batches.insert(RenewalLot, columns, self.lots, self.using)
        standings = [(*OF_STANDING(work.standing), now) for work in works]
        batches.update(Renewal, [*STANDING, "changed_at"], standings, self.using)


def _carry(carrying: Carrying, lots: list[int]) -> tokens.Carry:
    policy = carrying.policy
    return tokens.Carry(
        lots=lots,
        ended_at=carrying.ended_at,
        starts_at=carrying.into.starts_at,
        expires_at=carrying.expires_at,
        percent=policy.rollover_percent or 100 if policy.rollover == Rollover.PERCENT else 100,
        times=carrying.times,
        most=policy.rollover_cap,
    )


def _keys(rows: QuerySet[Any]) -> Iterable[int]:
    return rows.values_list("pk", flat=True)
