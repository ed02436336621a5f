"""A worker that takes one job in chunks of a few rows until it is killed: `python -m tests.jobs.worker JOB CHUNK`."""

from __future__ import annotations

import sys
from typing import Any


def main(job: int, chunk: int) -> None:
    import django

    django.setup()
    from django_token_pricing import jobs
    from django_token_pricing.models import Job

    kind: Any = type(jobs.handler_of(Job.objects.get(pk=job)))
    step = kind.step

    def telling(self: Any, job: Any) -> bool:
        sys.stdout.write(f"{job.position}\n")
        sys.stdout.flush()
        return bool(step(self, job))

    kind.chunk_size = lambda self, job: chunk
    kind.step = telling
    jobs.work(job)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
