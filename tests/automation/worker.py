"""A worker that renews what is due at a moment until it is killed: `python -m tests.automation.worker MOMENT CHUNK`.

The ledger's clock is that of the connection, which the parent can set; what is due is said by the moment.
"""

from __future__ import annotations

import sys
from typing import Any


def main(moment: str, chunk: str) -> None:
    import django

    django.setup()
    from django.utils.dateparse import parse_datetime

    from django_token_pricing import jobs
    from django_token_pricing.automation import renewals
    from django_token_pricing.automation.renewals.runs import Renew

    step = Renew.step

    def telling(self: Any, job: Any) -> bool:
        sys.stdout.write(f"{job.position}\n")
        sys.stdout.flush()
        return step(self, job)

    Renew.chunk_size = lambda self, job: int(chunk)  # type: ignore[method-assign]
    Renew.step = telling  # type: ignore[method-assign]
    as_of = parse_datetime(moment)
    assert as_of is not None
    job = renewals.start(as_of=as_of, now=True)
    if job is not None:
        jobs.work(job.pk)


if __name__ == "__main__":
    main(*sys.argv[1:])
