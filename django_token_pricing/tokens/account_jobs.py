"""Deeds on many accounts as jobs: grant, subtract, set, let expire; frozen, previewed, then done by the bulk verbs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from django.db import connections, transaction
from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import jobs
from django_token_pricing.choices import EntryKind, Verb
from django_token_pricing.exceptions import AccountClosed
from django_token_pricing.lib.periods import start_of_day
from django_token_pricing.models import Job, LedgerEntry, TokenAccount
from django_token_pricing.tokens import arguments, bulk, corrections_many, undoing
from django_token_pricing.tokens.grants import Terms
from django_token_pricing.tokens.summaries import free_tokens

CLOSED = Q(user=None, pool=None)
SAMPLED = 6


class AccountsJob(jobs.RowsHandler):
    """`params`: the selection, and the terms of the deed, checked by whoever asks for it and again when it is done."""

    verb: ClassVar[Verb]
    # What this deed writes in the books when it was done earlier today.
    entries_kind: ClassVar[EntryKind]
    stops_at_errors = True

    # Preparing

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        self.check(job.params)
        job.done = job.skipped = job.failed = 0
        with transaction.atomic(using=job._state.db):
            beat()  # and so no worker that was taken over freezes anew what is previewed by now
            job.total = jobs.freeze(job, jobs.selection(job.params["selection"], job.actor))
            closed = self._set_closed_aside(job)
        job.failed = closed
        now = timezone.now()
        sums = self.accounts(job, now).aggregate(**self.sums(job))
        repeated = self._repeated(job, now)
        job.preview = {
            "as_of": now.isoformat(),
            "closed": closed,
            "repeated": repeated.order_by().values("account").distinct().count(),
            **{name: int(value or 0) for name, value in sums.items()},
        }
        beat()
        job.preview["sample"] = list(self._sample(job, now, repeated))

    def check(self, params: dict[str, Any]) -> None:
        arguments.amount(params["amount"])

    def accounts(self, job: Job, at: datetime) -> QuerySet[Any]:
        """The job's accounts that have an owner, with what is free in them."""
        targets = job.rows.filter(code="").values("target")
        free = free_tokens(at, source=job.params.get("of_source"))
        return TokenAccount.objects.using(job._state.db).filter(pk__in=targets).annotate(free=free)

    def sums(self, job: Job) -> dict[str, Any]:
        return {"accounts": Count("pk"), "before": Sum("free")}

    @abstractmethod
    def after(self, job: Job, free: int) -> int | None:
        """What an account would have afterwards; None where nothing would be done."""

    def _set_closed_aside(self, job: Job) -> int:
        closed = TokenAccount.objects.using(job._state.db).filter(CLOSED)
        rows = job.rows.filter(target__in=closed.values("pk"))
        error = AccountClosed()
        return rows.update(code=error.code, problems=[jobs.described(error)])

    def _repeated(self, job: Job, now: datetime) -> QuerySet[LedgerEntry]:
        """What the same deed booked today on these accounts."""
        zone = timezone.get_default_timezone()
        today = start_of_day(now.astimezone(zone).date(), zone)
        targets = job.rows.filter(code="").values("target")
        entries = LedgerEntry.objects.using(job._state.db).filter(booked_at__gte=today, kind=self.entries_kind)
        return entries.filter(account__in=targets, event__isnull=False)

    def _sample(self, job: Job, now: datetime, repeated: QuerySet[LedgerEntry]) -> Iterator[dict[str, Any]]:
        """Rows that show each case: usual ones, the fullest and the emptiest of the first, repeated, short, closed."""
        first = list(job.rows.filter(code="").order_by("number").values_list("target", flat=True)[:500])
        free = dict(self.accounts(job, now).filter(pk__in=first).values_list("pk", "free"))
        chosen: dict[int | None, str] = dict.fromkeys(first[:2], "")
        if free:
            chosen[max(free, key=lambda pk: free[pk])] = "most"
            chosen[min(free, key=lambda pk: free[pk])] = "least"
        chosen.update((pk, "repeated") for pk in repeated.order_by().values_list("account", flat=True)[:1])
        chosen.update((pk, "special") for pk in self.special(job, now).values_list("pk", flat=True)[:1])
        found = dict(self.accounts(job, now).filter(pk__in=list(chosen)).values_list("pk", "free"))
        for pk, note in list(chosen.items())[:SAMPLED]:
            now_free = int(found.get(pk, 0))
            yield {"account": pk, "now": now_free, "after": self.after(job, now_free), "note": note}
        for pk in job.rows.filter(code=AccountClosed.code).order_by("number").values_list("target", flat=True)[:1]:
            yield {"account": pk, "now": None, "after": None, "note": "closed"}

    def special(self, job: Job, now: datetime) -> QuerySet[Any]:
        """Accounts with which this deed has difficulties."""
        return TokenAccount.objects.none()

    def facts(self, job: Job) -> dict[str, tuple[Any, Any]]:
        given = job.params.items()
        terms = {name: (None, value) for name, value in given if name != "selection" and value not in (None, False)}
        planned = {name: (None, job.preview[name]) for name in ("granted", "taken") if job.preview.get(name)}
        return {**terms, **planned}

    def refusal(self, job: Job) -> str:
        return "" if job.total > job.failed else _("No account is left to do anything to.")

    # Doing

    def finish(self, job: Job) -> None:
        if job.params.get("notify") and job.event is not None:
            jobs.announce(job.event, actor=job.actor)

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        assert job.event is not None  # noqa: S101 - written when the job was confirmed
        params = job.params
        numbers = {row.target: row.number for row in rows if row.target is not None}
        done = corrections_many.correct_for(
            job.event,
            self.verb,
            list(numbers),
            params.get("amount"),
            at_most=params.get("at_most", False),
            source=params.get("of_source"),
        )
        applied = jobs.Applied(done=done.changed, skipped=done.unchanged)
        applied.sums.update(granted=done.granted, taken=done.taken)
        applied.problems = {numbers[pk]: error for pk, error in done.problems.items()}
        return applied


jobs.register_selection("accounts", lambda chosen, actor: TokenAccount.objects.filter(pk__in=chosen["pks"]))


@jobs.register
class GrantToAccounts(AccountsJob):
    """`params`: amount, source, priority, starts_on and expires_on as ISO days or None."""

    kind = "tokens.grant"
    undo_kind = undoing.KIND
    permission = "django_token_pricing.grant_tokens"
    verb = Verb.GRANT
    entries_kind = EntryKind.GRANT

    def title(self, job: Job) -> str:
        words = ngettext(
            "Grant of %(tokens)s tokens to %(count)s account",
            "Grant of %(tokens)s tokens to %(count)s accounts",
            job.total,
        )
        return words % {"tokens": counted(job.params["amount"]), "count": counted(job.total)}

    def undo(self, job: Job) -> jobs.Undo:
        return undoing.how(job)

    def chunk_size(self, job: Job) -> int:
        return 10_000 if connections[job._state.db or "default"].vendor == "postgresql" else 500

    def check(self, params: dict[str, Any]) -> None:
        terms = Terms.of(params["amount"], **self._terms(params))
        terms.lot(TokenAccount(), timezone.now())

    def sums(self, job: Job) -> dict[str, Any]:
        return {**super().sums(job), "granted": Count("pk") * job.params["amount"]}

    def after(self, job: Job, free: int) -> int | None:
        starts = job.params.get("starts_on")
        waits = starts is not None and starts > timezone.localdate(timezone=timezone.get_default_timezone()).isoformat()
        return free if waits else free + int(job.params["amount"])

    def _repeated(self, job: Job, now: datetime) -> QuerySet[LedgerEntry]:
        same = super()._repeated(job, now)
        return same.filter(amount=job.params["amount"], allocation__source=job.params["source"])

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        assert job.event is not None  # noqa: S101 - written when the job was confirmed
        targets = rows.queryset.values("target")
        accounts = TokenAccount.objects.using(job._state.db).filter(pk__in=targets)
        done = bulk.grant_for(job.event, accounts, job.params["amount"], **self._terms(job.params))
        applied = jobs.Applied(done=done.granted)
        applied.sums.update(granted=done.tokens)
        if done.granted < len(rows):
            # Closed since the preview; an account is never deleted.
            gone = set(accounts.filter(CLOSED).values_list("pk", flat=True))
            applied.problems = {row.number: AccountClosed() for row in rows if row.target in gone}
        return applied

    def _terms(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "source": params["source"],
            "priority": params["priority"],
            "starts_at": _day(params.get("starts_on")),
            "expires_at": _day(params.get("expires_on")),
        }


@jobs.register
class SubtractFromAccounts(AccountsJob):
    """`params`: amount, at_most."""

    kind = "tokens.subtract"
    permission = "django_token_pricing.subtract_tokens"
    verb = Verb.SUBTRACT
    entries_kind = EntryKind.SUBTRACT

    def title(self, job: Job) -> str:
        words = ngettext(
            "Subtraction of %(tokens)s tokens from %(count)s account",
            "Subtraction of %(tokens)s tokens from %(count)s accounts",
            job.total,
        )
        return words % {"tokens": counted(job.params["amount"]), "count": counted(job.total)}

    def sums(self, job: Job) -> dict[str, Any]:
        amount = job.params["amount"]
        short = Q(free__lt=amount)
        return {
            **super().sums(job),
            "short": Count("pk", filter=short),
            "short_free": Sum("free", filter=short),
            "enough": Count("pk", filter=~short),
        }

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        super().prepare(job, beat)
        found = job.preview
        taken = found["enough"] * job.params["amount"]
        found["taken"] = taken + (found["short_free"] if job.params.get("at_most") else 0)

    def undo(self, job: Job) -> jobs.Undo:
        return jobs.Undo(
            refusal=_("What was subtracted came out of lots of different dates. Grant it again, as new lots.")
        )

    def after(self, job: Job, free: int) -> int | None:
        amount = int(job.params["amount"])
        if free < amount and not job.params.get("at_most"):
            return None
        return free - min(amount, free)

    def special(self, job: Job, now: datetime) -> QuerySet[Any]:
        return self.accounts(job, now).filter(free__lt=job.params["amount"])


@jobs.register
class SetAccounts(AccountsJob):
    """`params`: amount."""

    kind = "tokens.set"
    undo_kind = undoing.KIND
    permission = "django_token_pricing.set_balance"
    verb = Verb.SET_BALANCE
    entries_kind = EntryKind.SUBTRACT

    def check(self, params: dict[str, Any]) -> None:
        arguments.amount(params["amount"], least=0)

    def title(self, job: Job) -> str:
        words = ngettext(
            "Balance of %(count)s account set to %(tokens)s",
            "Balance of %(count)s accounts set to %(tokens)s",
            job.total,
        )
        return words % {"tokens": counted(job.params["amount"]), "count": counted(job.total)}

    def sums(self, job: Job) -> dict[str, Any]:
        amount = job.params["amount"]
        more, less = Q(free__lt=amount), Q(free__gt=amount)
        return {
            **super().sums(job),
            "more": Count("pk", filter=more),
            "less": Count("pk", filter=less),
            "granted": Sum(amount - F("free"), filter=more),
            "taken": Sum(F("free") - amount, filter=less),
        }

    def undo(self, job: Job) -> jobs.Undo:
        """What it granted is taken back; what it subtracted stays so, as the preview says."""
        return undoing.how(job)

    def after(self, job: Job, free: int) -> int | None:
        return int(job.params["amount"])


@jobs.register
class ExpireAccounts(AccountsJob):
    """`params`: of_source, the source of the lots or None for all."""

    kind = "tokens.expire"
    permission = "django_token_pricing.expire_tokens"
    verb = Verb.EXPIRE
    entries_kind = EntryKind.EXPIRE

    def title(self, job: Job) -> str:
        words = ngettext(
            "Expiry of the tokens of %(count)s account", "Expiry of the tokens of %(count)s accounts", job.total
        )
        return words % {"count": counted(job.total)}

    def check(self, params: dict[str, Any]) -> None:
        if params.get("of_source") is not None:
            arguments.source(params["of_source"])

    def sums(self, job: Job) -> dict[str, Any]:
        return {**super().sums(job), "taken": Sum("free"), "none": Count("pk", filter=Q(free=0))}

    def undo(self, job: Job) -> jobs.Undo:
        return jobs.Undo(refusal=_("What expired came out of lots of different dates. Grant it again, as new lots."))

    def after(self, job: Job, free: int) -> int | None:
        return 0


def _day(text: str | None) -> Any:
    return None if text is None else datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day


def counted(number: int) -> str:
    return formats.number_format(number, use_l10n=True, force_grouping=True)
