"""Notices as a job: who was concerned by a deed is read from its ledger entries, a few users a transaction.

A worker that dies in the middle of a chunk tells these few again: a mail cannot be taken back with a transaction.
"""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Max, Sum
from django.utils.translation import gettext as _

from django_token_pricing import adapters, conf, jobs, tokens
from django_token_pricing.adapters import TokensNotice
from django_token_pricing.exceptions import NoticeFailed
from django_token_pricing.models import Job, LedgerEntry, TokenAccount

logger = logging.getLogger(__name__)


@jobs.register
class TellUsers(jobs.RowsHandler):
    """`params`: the audit event of the deed. Pools have nobody to tell; who has no address is counted as skipped."""

    kind = jobs.ANNOUNCING
    permission = "django_token_pricing.grant_tokens"
    is_confirmed = False
    chunk = 20

    def title(self, job: Job) -> str:
        return _("Notices to customers")

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        concerned = LedgerEntry.objects.filter(event=job.params["event"]).values("account")
        with transaction.atomic(using=job._state.db):
            beat()
            job.total = jobs.freeze(job, TokenAccount.objects.filter(pk__in=concerned, user__isnull=False))

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        adapter = adapters.get_notification_adapter()
        numbers = {row.target: row.number for row in rows}
        applied = jobs.Applied()
        for account, notice in self._notices(job, list(numbers)):
            try:
                told = adapter.notify(notice)
            except Exception as error:  # the host's code, and a mail server, may fail in any way
                logger.warning("Account %s was not told", account, exc_info=True)
                applied.problems[numbers[account]] = NoticeFailed(
                    adapter=conf.current().NOTIFICATION_ADAPTER, detail=str(error) or type(error).__name__
                )
                continue
            applied.done += told
            applied.skipped += not told
        gone = len(numbers) - applied.done - applied.skipped - len(applied.problems)
        applied.skipped += gone
        return applied

    def _notices(self, job: Job, pks: list[Any]) -> list[tuple[int, TokensNotice]]:
        accounts = list(TokenAccount.objects.filter(pk__in=pks, user__isnull=False).order_by("pk"))
        users = get_user_model()._base_manager.in_bulk([account.user_id for account in accounts])
        balances = tokens.balances(accounts)
        moved = LedgerEntry.objects.filter(event=job.params["event"], account__in=pks).order_by().values_list("account")
        sums = {pk: (net, ends) for pk, net, ends in moved.annotate(n=Sum("amount"), e=Max("allocation__expires_at"))}
        return [
            (
                account.pk,
                TokensNotice(
                    user=users[account.user_id],
                    tokens=sums[account.pk][0],
                    available=balances[account].available,
                    expires_at=sums[account.pk][1] if sums[account.pk][0] > 0 else None,
                ),
            )
            for account in accounts
        ]
