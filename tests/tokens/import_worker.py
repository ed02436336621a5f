"""A worker on an import that is killed: `python -m tests.tokens.import_worker JOB DEED COUNT AT_ONCE`.

It stages and grants in small chunks, says so before each transaction ends, and at the last of those asked for it waits,
with the transaction open, for whoever kills it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

STAGED = 7


def killed(job: int, deed: str, count: int, *, at_once: bool, environment: dict[str, str]) -> None:
    """Let a process work on the job and kill it in the middle of that chunk of the deed."""
    if at_once and deed == "grant":
        count = 1
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tokens.import_worker", str(job), deed, str(count), str(int(at_once))],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline() != "waiting\n":
        raise AssertionError(process.stderr.read())
    process.kill()
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == -9


def main(job: str, deed: str, count: str, at_once: str) -> None:
    import django

    django.setup()
    from django_token_pricing import jobs
    from django_token_pricing.tokens import allocation_import, allocation_staging

    allocation_staging.STAGED = allocation_import.CHUNK = STAGED
    if at_once == "0":
        allocation_import.MOST_AT_ONCE = 0
    owner: Any = {"stage": allocation_staging.Staging, "grant": allocation_import.ImportAllocations}[deed]
    name = {"stage": "_write", "grant": "apply"}[deed]
    whole = getattr(owner, name)
    left = int(count)

    def waiting(*given: Any) -> Any:
        nonlocal left
        left -= 1
        answer = whole(*given)
        if not left:
            sys.stdout.write("waiting\n")
            sys.stdout.flush()
            time.sleep(600)
        return answer

    setattr(owner, name, waiting)
    jobs.work(int(job))


if __name__ == "__main__":
    main(*sys.argv[1:])
