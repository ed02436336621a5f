"""Allocations in from a file: every line is read, checked and kept; what was previewed is what is granted.

Every line has a key, its own or one made from what it says and its ordinal among lines that say the same. So the same
file grants once, however often, in whatever encoding and order it comes; and of a mended one only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import jobs
from django_token_pricing.choices import Source
from django_token_pricing.exceptions import InvalidInput, TokenPricingError
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.models import DEFAULT_PRIORITY, Job
from django_token_pricing.tokens import bulk, undoing
from django_token_pricing.tokens.allocation_lines import described
from django_token_pricing.tokens.allocation_staging import Staging
from django_token_pricing.tokens.arguments import Owner
from django_token_pricing.tokens.bulk import GrantRow
from django_token_pricing.tokens.staging import Stage

# Up to here all is granted in one transaction.
MOST_AT_ONCE = 100_000
CHUNK = 10_000


@jobs.register
class ImportAllocations(jobs.RowsHandler):
    """`params`: mark, the decimal mark, and order, "dmy" or "mdy", each None where the file is to show it."""

    kind = "tokens.import"
    undo_kind = undoing.KIND
    permission = "django_token_pricing.import_tokenallocation"

    def title(self, job: Job) -> str:
        return _("Import of allocations from %(file)s") % {"file": job.file_name or _("a file")}

    def prepare(self, job: Job, beat: jobs.Beat) -> None:
        staging = Staging(job, beat)
        try:
            staging.run()
        except SheetError as error:
            staging.remove()
            # The code and the facts stay with the job, for those who read another language than the site's.
            refused = {"refused": described("", None, error)}
            Job.objects.using(job._state.db).filter(pk=job.pk).update(preview=refused)
            raise InvalidInput(detail=_(error.template) % error.facts) from error

    def refusal(self, job: Job) -> str:
        bad, new = job.preview.get("bad", 0), job.preview.get("new", 0)
        if bad:
            words = ngettext(
                "%(count)s line is wrong. Mend it in the file and upload the file again: what was granted before is"
                " not granted twice.",
                "%(count)s lines are wrong. Mend them in the file and upload the file again: what was granted before"
                " is not granted twice.",
                bad,
            )
            return words % {"count": bad}
        return "" if new else _("All lines were granted before: there is nothing to grant.")

    def facts(self, job: Job) -> dict[str, tuple[Any, Any]]:
        return {"granted": (0, job.preview.get("tokens", 0)), "file": (None, job.file_name)}

    def undo(self, job: Job) -> jobs.Undo:
        return undoing.how(job)

    def chunk_size(self, job: Job) -> int:
        return MOST_AT_ONCE if job.total <= MOST_AT_ONCE else CHUNK

    def _apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        """Of a file that is granted at once, a line that cannot be granted any more leaves the whole of it undone."""
        if job.total > MOST_AT_ONCE:
            return super()._apply(job, rows)
        try:
            return self.apply(job, rows)
        except TokenPricingError as error:
            words = _(
                "Nothing was granted. Something has changed since the preview: %(problem)s Upload the file again."
            )
            raise InvalidInput(detail=words % {"problem": error.message}) from error

    def apply(self, job: Job, rows: jobs.Chunk) -> jobs.Applied:
        assert job.event is not None  # noqa: S101 - written when the job was confirmed
        done = bulk.grant_for(job.event, _Kept(rows), source=Source.IMPORT)
        applied = jobs.Applied(done=done.granted, skipped=done.replayed)
        applied.sums["granted"] = done.tokens
        return applied


class _Kept(bulk.CheckedRows):
    """What was checked and previewed, as it is granted."""

    def __init__(self, rows: jobs.Chunk) -> None:
        self.rows = rows

    def fill(self, stage: Stage) -> None:
        """An account that was closed meanwhile is not its user's any more, and one that is missing may be there now."""
        stage.cursor.execute(
            f"""
            INSERT INTO tp_stage (user_id, pool_id, account_id, amount, source, priority, starts_at, expires_at,
                paid_amount, paid_currency, key, digest, reason)
            SELECT d.user, d.pool, a.id, d.amount, d.source, coalesce(d.priority, %s), d.starts_at, d.expires_at,
                (d.paid ->> 0)::numeric, coalesce(d.paid ->> 1, ''), d.key, {bulk.DIGEST.format("d.key")}, d.reason
            FROM django_token_pricing_jobrow r
            CROSS JOIN jsonb_to_record(r.data) AS d ("user" {stage.user_type}, pool bigint, amount bigint, source text,
                priority smallint, starts_at timestamptz, expires_at timestamptz, paid jsonb, key text, reason text)
            LEFT JOIN django_token_pricing_tokenaccount a ON a.id = r.target
                AND (a.user_id, a.pool_id) IS NOT DISTINCT FROM (d.user, d.pool)
            WHERE r.job_id = %s AND r.number > %s AND r.number <= %s AND r.code = ''
            ORDER BY r.number
            """,
            [DEFAULT_PRIORITY, self.rows.job.pk, self.rows.after, self.rows.upto],
        )

    def __iter__(self) -> Iterator[GrantRow]:
        key_of = get_user_model()._meta.pk.to_python
        moment = datetime.fromisoformat
        for row in self.rows.queryset.order_by("number").values_list("data", flat=True).iterator(chunk_size=2_000):
            assert row is not None  # noqa: S101 - every row was written with what it says
            owner = Owner(pool=row["pool"]) if "pool" in row else Owner(user=key_of(row["user"]))
            starts, ends, paid = row.get("starts_at"), row.get("expires_at"), row.get("paid")
            yield GrantRow(
                owner,
                row["amount"],
                key=row["key"],
                source=row["source"],
                priority=row.get("priority"),
                starts_at=starts and moment(starts),
                expires_at=ends and moment(ends),
                paid=paid and (Decimal(paid[0]), paid[1]),
                reason=row.get("reason"),
            )
