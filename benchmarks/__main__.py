"""All benchmarks, one after the other, each in a process and on a database of its own."""

import subprocess
import sys
from pathlib import Path

NAMES = (
    "consume",
    "hot_account",
    "keys",
    "holds",
    "limits",
    "balances",
    "grants",
    "jobs",
    "imports",
    "recording",
    "renewals",
    "expiry",
    "warnings",
    "throttle",
    "replay",
    "reports",
    "rollups",
    "changelists",
)


def main() -> int:
    failed = []
    for name in NAMES:
        print(f"\n== {name} ==", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        if subprocess.run(command, cwd=Path(__file__).parent.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nDid not run through: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
