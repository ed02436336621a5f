"""Trying a limit out: a job lets it judge the usage of the last days, and says who would have been refused and when.

Counters are per account, so accounts are judged one after the other and a chunk of them is a transaction; a pool's
limit counts all of its members, whose uses are judged as one stream. The other rules are those in force when the job
is prepared: a use for which a more specific one counts is counted and not judged. Nothing is changed but the job.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import BooleanField, Exists, F, Min, OuterRef, Q, QuerySet, Value
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import jobs
from django_token_pricing.choices import EntryKind, JobStatus, LimitScope, LimitWindow
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.lib import windows
from django_token_pricing.lib.steps import steps
from django_token_pricing.models import Job, JobRow, LedgerEntry, LimitRule, TokenAccount, TokenUsageLog
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.limits import changes, rules
from django_token_pricing.tokens.limits.simulation import Findings, Refund, Row, Simulation

MOST_DAYS = 366
# Accounts shown with the result; the file has all.
TOP = 50
BLOCK = 2_000
COLUMNS = ("pk", "account", "used_at", "amount", "model", "feature", "tier", "member_of", "is_refunded")


def ask_replay(values: Mapping[str, Any], *, days: int, actor: Any, key: UUID) -> Job:
    """Ask for a trial of these values on the usage of the last days.

    `values` are those of `changes.terms`, and `rule`, the number of the rule that they would change, if there is one.
    The same key gives the same job. Raises InvalidInput, InvalidMoment, UnknownOwner.
    """
    return jobs.create("limits.replay", params={**_exact(values), "days": days}, actor=actor, key=key)


def replay_of(values: Mapping[str, Any], *, max_age: timedelta) -> Job | None:
    """The newest finished trial of exactly these values that is no older."""
    wanted = _exact(values)
    since = timezone.now() - max_age
    done = Job.objects.filter(kind="limits.replay", status=JobStatus.DONE, finished_at__gte=since).order_by("-pk")
    for job in done.iterator(chunk_size=100):
        if {name: value for name, value in job.params.items() if name != "days"} == wanted:
            return job
    return None


def _exact(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a job keeps them, however they were written."""
    return {**changes.terms(rules.draft(**changes.given(values))), "rule": values.get("rule")}


@jobs.register
class ReplayLimit(jobs.RowsHandler):
    """`params`: the values of a rule as `changes.terms` has them; `rule`, the number of the one it would change, or
    None; `days`.

    A row of the job is an account, or the account of the pool; its `data` are what was refused, by account.
    """

    kind = "limits.replay"
    permission = "django_token_pricing.replay_limitrule"
    is_confirmed = False
    writes_file = True
    chunk = 500

    def title(self, job: Job) -> str:
        days = int(job.params["days"])
        words = ngettext(
            "Trial of a limit on the usage of %(count)s day", "Trial of a limit on the usage of %(count)s days", days
        )
        return words % {"count": days}

    def check(self, params: dict[str, Any]) -> None:
        days = params.get("days")
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MOST_DAYS:
            raise InvalidInput(detail=_("A trial goes back from 1 to %(most)s days.") % {"most": MOST_DAYS})
        if params["window"] == LimitWindow.CONCURRENT:
            raise InvalidInput(
                detail=_("Past usage does not say what was held at the same time: such a limit cannot be tried out.")
            )
        rules.draft(**changes.given(params))

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        self.check(job.params)
        until = booking.clock(booking.database())
        trial = Trial(job, until=until)
        job.preview = {
            "until": until.isoformat(),
            "since": trial.since.isoformat(),
            "has_refunds": trial.find_refunds(),
        }
        job.result = {
            **dict.fromkeys(("uses", "governed", "refused", "tokens", "over_uses", "over", "accounts_refused"), 0),
            "first_at": None,
            "last_at": None,
            "days": {},
            "top": [],
        }
        job.done = job.skipped = job.failed = 0
        with transaction.atomic(using=job._state.db):
            beat()
            job.total = jobs.freeze(job, trial.accounts())

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        trial = Trial(job, until=_moment(job.preview["until"]), has_refunds=job.preview["has_refunds"])
        found = trial.judge([row.target for row in rows if row.target is not None])
        _add(job.result, found)
        changed = []
        for row in rows:
            # The row of a pool has what was refused of its members.
            row.data = _lines(found) if trial.is_shared else _lines(found, row.target)
            if row.data:
                changed.append(row)
        for step in steps(changed):
            JobRow.objects.using(job._state.db).bulk_update(step, ["data"])
        return jobs.Applied(done=len(rows))

    def finish(self, job: Job) -> None:
        """All who were refused, as a file. It names accounts by number, not people."""
        job.file_name = "refused.csv"
        with jobs.FileWriter(job) as file, codecs.getwriter("utf-8")(file) as text:
            lines = csv.writer(text)
            lines.writerow(["account", "uses_refused", "tokens_refused", "first_refused_at"])
            rows: QuerySet[Any] = job.rows.using(job._state.db).exclude(data=None).order_by("number")
            for data in rows.values_list("data", flat=True).iterator(chunk_size=BLOCK):
                lines.writerows(data)


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    assert moment is not None  # noqa: S101 - written by prepare
    return moment


def _lines(found: Findings, account: int | None = None) -> list[list[Any]]:
    """Of all accounts, or of one: its number, uses and tokens that were refused, and when first."""
    pks = sorted(found.accounts) if account is None else [account] if account in found.accounts else []
    accounts = [(pk, found.accounts[pk]) for pk in pks]
    return [[pk, of.uses, of.tokens, of.first_at.isoformat()] for pk, of in accounts]


def _add(result: dict[str, Any], found: Findings) -> None:
    for name in ("uses", "governed", "refused", "tokens", "over_uses", "over"):
        result[name] += getattr(found, name)
    result["accounts_refused"] += len(found.accounts)
    for name, choose, moment in (("first_at", min, found.first_at), ("last_at", max, found.last_at)):
        if moment is not None:
            text = moment.isoformat()
            result[name] = text if result[name] is None else choose(result[name], text, key=_moment)
    for day, number in found.days.items():
        result["days"][day] = result["days"].get(day, 0) + number
    if found.accounts:
        ranked = sorted([*result["top"], *_lines(found)], key=lambda line: (-line[1], -line[2], line[0]))
        result["top"] = ranked[:TOP]


class Trial:
    """What a job tries out, and on which uses."""

    def __init__(self, job: Job, *, until: datetime, has_refunds: bool = False) -> None:
        self.using = booking.database()
        self.rule = rules.draft(**changes.given(job.params))
        self.zone = timezone.get_default_timezone()
        self.until = until
        self.since = until - timedelta(days=job.params["days"])
        self.has_refunds = has_refunds
        self.changed = job.params["rule"]

    @property
    def is_shared(self) -> bool:
        """Whether all uses count together."""
        return self.rule.scope == LimitScope.POOL

    @property
    def begins(self) -> datetime:
        """From here on uses are read: what came before `since` in its window counts, too."""
        if not self.rule.period:
            return self.since
        return windows.bounds(self.rule.period, self.since, self.zone)[0]

    # Which accounts, which uses

    def uses(self) -> QuerySet[TokenUsageLog]:
        charged = TokenUsageLog.objects.using(self.using).filter(is_charged=True)
        return charged.filter(used_at__gte=self.begins, used_at__lt=self.until)

    def accounts(self) -> QuerySet[TokenAccount]:
        """Those that the rule is for and that used anything in those days; the account of the pool for its members."""
        accounts = TokenAccount.objects.using(self.using)
        lately = self.uses().filter(used_at__gte=self.since)
        match self.rule.scope:
            case LimitScope.POOL:
                return accounts.filter(pool=self.rule.pool_id)
            case LimitScope.USER:
                accounts = accounts.filter(user=self.rule.user_id)
            case LimitScope.TIER:
                lately = lately.filter(tier=self.rule.tier)
        return accounts.filter(Exists(lately.filter(account=OuterRef("pk")).order_by()))

    def find_refunds(self) -> bool:
        """Whether any use may have been refunded: where none was, no use has to be asked."""
        entries = LedgerEntry.objects.using(self.using).filter(kind=EntryKind.REFUND, booked_at__gte=self.begins)
        return entries.exists()

    # Judging

    def judge(self, accounts: list[int], *, told: Callable[[Row], None] | None = None) -> Findings:
        """What the rule does to the uses of these accounts; `told` hears of each use that is refused."""
        uses = self.uses()
        if self.is_shared:
            uses = uses.filter(Q(account__in=accounts) | Q(member_of__in=accounts))
            blocks = self._by_day(uses)
        else:
            uses = uses.filter(account__in=accounts)
            blocks = self._blocks(uses.order_by("account_id", "used_at", "pk"))
        governs = self._governs(uses)
        simulation = Simulation(
            self.rule, self.zone, since=self.since, governs=governs, refunds=self._refunds, told=told
        )
        return simulation.run(blocks, is_one=self.is_shared)

    def _blocks(self, uses: QuerySet[TokenUsageLog]) -> Iterator[list[tuple[Any, ...]]]:
        flag: Any = Value(False, output_field=BooleanField())
        if self.has_refunds:
            flag = Exists(LedgerEntry.objects.using(self.using).filter(usage=OuterRef("pk"), kind=EntryKind.REFUND))
        rows = uses.annotate(is_refunded=flag).values_list(*COLUMNS).iterator(chunk_size=BLOCK)
        while block := list(islice(rows, BLOCK)):
            yield block

    def _by_day(self, uses: QuerySet[TokenUsageLog]) -> Iterator[list[tuple[Any, ...]]]:
        """Day after day, so that no database has to sort or to keep ready the whole."""
        at = uses.aggregate(first=Min("used_at"))["first"]
        while at is not None and at < self.until:
            end = at + timedelta(days=1)
            yield from self._blocks(uses.filter(used_at__gte=at, used_at__lt=end).order_by("used_at", "pk"))
            at = end

    def _refunds(self, rows: Sequence[Row]) -> dict[int, list[Refund]]:
        found: dict[int, list[Refund]] = {}
        for step in steps([row.id for row in rows]):
            entries = LedgerEntry.objects.using(self.using).filter(usage__in=step, kind=EntryKind.REFUND)
            for usage, at, amount in entries.values_list("usage", "booked_at", "amount"):
                found.setdefault(usage, []).append((at, amount))
        return found

    # Which rule counts

    def _governs(self, uses: QuerySet[TokenUsageLog]) -> Callable[[Row], bool] | None:
        """Whether the rule is the one that counts for a use; None where it always is."""
        rule = self.rule
        tier = rule.tier if rule.scope == LimitScope.TIER else None
        rivals = self._rivals(uses)
        if tier is None and not rule.model and not rule.feature and not rivals:
            return None

        def fits(of: LimitRule, row: Row) -> bool:
            return of.model in ("", row.model) and of.feature in ("", row.feature)

        def governs(row: Row) -> bool:
            if not fits(rule, row) or (tier is not None and row.tier != tier):
                return False
            places = (("account", row.account), ("pool", row.member_of), ("tier", row.tier), ("default", ""))
            return not any(fits(rival, row) for place in places for rival in rivals.get(place, ()))

        return governs

    def _rivals(self, uses: QuerySet[TokenUsageLog]) -> dict[tuple[str, Any], list[LimitRule]]:
        """The more specific rules in force for the same metric and window, by whom they are for.

        Overrides are read for the accounts that are judged, and for none else.
        """
        rows = LimitRule.objects.using(self.using).filter(
            metric=self.rule.metric, window=self.rule.window, retired_at=None
        )
        rows = rows.exclude(pk=self.changed).exclude(slot=self.rule.slot)
        mine = uses.order_by().values("account")
        of_users = rows.filter(scope=LimitScope.USER, user__token_account__in=mine)
        others = rows.exclude(scope=LimitScope.USER)
        found: dict[tuple[str, Any], list[LimitRule]] = {}
        for rule in of_users.annotate(of=F("user__token_account")):
            self._note(found, ("account", rule.of), rule)
        for rule in others.annotate(of=F("pool__account")):
            match rule.scope:
                case LimitScope.POOL:
                    # What a pool uses itself falls under its rules as well.
                    self._note(found, ("pool", rule.of), rule)
                    self._note(found, ("account", rule.of), rule)
                case LimitScope.TIER:
                    self._note(found, ("tier", rule.tier), rule)
                case _:
                    self._note(found, ("default", ""), rule)
        return found

    def _note(self, found: dict[tuple[str, Any], list[LimitRule]], place: tuple[str, Any], rule: LimitRule) -> None:
        if rules.rank(rule) > rules.rank(self.rule) and rules.is_current(rule, self.until):
            found.setdefault(place, []).append(rule)
