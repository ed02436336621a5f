#!/usr/bin/env python3
"""The project's one command: `python3 dev.py demo`, `python3 dev.py test` or `python3 dev.py check`.

It needs Python 3.10 or newer and nothing else. It makes its own virtual environments (.venv for the demo, .venv-test
for tests and checks), with uv where there is one and with venv and pip otherwise, and installs again only when
pyproject.toml or the interpreter has changed.

    python3 dev.py demo [ARGUMENTS]     install what the example project needs, then run it: manage.py demo ARGUMENTS
    python3 dev.py test [ARGUMENTS]     run pytest ARGUMENTS on SQLite, PostgreSQL and, where one runs, MariaDB;
                                        TP_DATABASE=sqlite|postgres|mariadb runs it on that one alone; without
                                        ARGUMENTS the tests are spread over the cores
    python3 dev.py check                lint, import contracts, types, missing migrations, documentation
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 10)
# From this version on pip can install into an environment that has no pip of its own.
OLDEST_REMOTE_PIP = (22, 3)
CLOSING_LINE = re.compile(r"^=* ?((?:\d+ \w+(?:, )?)+|no tests ran) in ([\d.]+)s")
# The tests that differ with the type of the user's key; the rest ran on the same database already.
INTEGER_KEYS = ["--ds=tests.settings.intuser", "-m", "not slow and not concurrency"]
SPREAD = ["-n", str(max(1, min(4, os.cpu_count() or 1)))]


class Environment:
    """A virtual environment of ours: made, filled and kept up to date by `prepare`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.tool("python")
        self.stamp = folder / "installed-by-dev-py"

    def prepare(self, extra: str) -> None:
        state = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + f"{sys.version} {extra}".encode()).hexdigest()
        if Path(self.python).exists() and self.stamp.exists() and self.stamp.read_text() == state:
            return
        print(f"Installing into {self.folder.name} …", flush=True)
        if not self.usable():
            self.create()
        self.install("--editable", f"{ROOT}[{extra}]")
        self.stamp.write_text(state)

    def usable(self) -> bool:
        """Whether the folder holds an environment of this very Python version."""
        if not Path(self.python).exists():
            return False
        asked = [self.python, "-c", "import sys; print(sys.version_info[:2])"]
        return run(asked, stdout=subprocess.PIPE).stdout.strip() == str(sys.version_info[:2])

    def create(self) -> None:
        self.clear()
        if uv := find_uv():
            must([uv, "venv", "--quiet", "--python", sys.executable, str(self.folder)])
            return
        if works([sys.executable, "-m", "venv", str(self.folder)]):
            return
        # Debian keeps ensurepip in a package of its own, and refuses plain pip outside of an environment. An
        # environment without pip is always possible, and a new enough system pip installs into it from outside.
        self.clear()
        if system_pip() < OLDEST_REMOTE_PIP or not works(
            [sys.executable, "-m", "venv", "--without-pip", str(self.folder)]
        ):
            self.clear()
            major, minor = sys.version_info[:2]
            sys.exit(
                "This Python can make no virtual environment with pip in it. Install what it lacks, then repeat:\n"
                f"    apt-get install python3-venv     (Debian, Ubuntu; perhaps python{major}.{minor}-venv)\n"
                "or install uv, which needs nothing of the system's Python."
            )

    def clear(self) -> None:
        # tox leaves a file named .venv, which points to an environment of its own.
        if self.folder.is_file() or self.folder.is_symlink():
            self.folder.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def install(self, *requirements: str) -> None:
        if uv := find_uv():
            must([uv, "pip", "install", "--quiet", "--python", self.python, *requirements])
        elif works([self.python, "-m", "pip", "--version"]):
            must([self.python, "-m", "pip", "install", "--quiet", *requirements])
        else:
            must([sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", *requirements])

    def tool(self, name: str) -> str:
        return str(self.scripts / (f"{name}.exe" if os.name == "nt" else name))


def find_uv() -> str | None:
    uv = shutil.which("uv")
    return uv if uv and works([uv, "--version"]) else None


def system_pip() -> tuple[int, ...]:
    answer = run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    found = re.match(r"pip (\d+)\.(\d+)", answer or "")
    return tuple(map(int, found.groups())) if found else (0,)


def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, text=True, **options)  # type: ignore[call-overload, no-any-return]


def works(command: Sequence[str]) -> bool:
    return run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def must(command: Sequence[str]) -> None:
    if code := run(command).returncode:
        sys.exit(f"Failed with code {code}: {' '.join(command)}")


def surroundings(**added: str) -> dict[str, str]:
    """The environment variables for tests and checks: a host's own settings must not leak into ours."""
    inherited = {
        name: text for name, text in os.environ.items() if name not in {"DJANGO_SETTINGS_MODULE", "PYTHONPATH"}
    }
    return {**inherited, **added}


def demo(arguments: list[str]) -> int:
    environment = Environment(ROOT / ".venv")
    environment.prepare("demo")
    command = [environment.python, str(ROOT / "example_project" / "manage.py"), "demo", *arguments]
    if os.name == "posix":
        # Taking this process's place, so that a signal to stop reaches the demo.
        os.execve(command[0], command, surroundings())
    return run(command, env=surroundings()).returncode


def test(arguments: list[str]) -> int:
    rounds: list[tuple[str, str, list[str]]] = [
        ("SQLite", "sqlite", []),
        ("PostgreSQL", "postgres", []),
        ("MariaDB", "mariadb", []),
    ]
    wanted = os.environ.get("TP_DATABASE")
    if wanted:
        rounds = [each for each in rounds if each[1] == wanted]
        if not rounds:
            sys.exit(f"TP_DATABASE is {wanted!r}; it must be sqlite, postgres or mariadb.")
    elif not arguments:
        rounds.append(("PostgreSQL, integer user keys", "postgres", INTEGER_KEYS))
    environment = Environment(ROOT / ".venv-test")
    environment.prepare("dev")
    failed = False
    summary = []
    for title, vendor, added in rounds:
        if vendor == "mariadb" and (reason := without_mariadb(environment)):
            failed = failed or wanted == vendor
            summary.append((title, f"not run. {reason}"))
            continue
        print(f"\n=== {title} ===", flush=True)
        code, closing = pytest(environment, [*added, *(arguments or SPREAD)], TP_DATABASE=vendor)
        failed = failed or code != 0
        summary.append((title, closing if code == 0 else f"FAILED ({closing})"))
    print()
    for title, outcome in summary:
        print(f"{title + ':':<31} {outcome}")
    return int(failed)


def without_mariadb(environment: Environment) -> str:
    """Why there is no MariaDB to test on; empty where there is one."""
    asked = [environment.python, "-m", "tests.databases", "mariadb"]
    answer = run(asked, cwd=ROOT, env=surroundings(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return answer.stderr.strip() if answer.returncode else ""


def pytest(environment: Environment, arguments: list[str], **variables: str) -> tuple[int, str]:
    """Run pytest, showing its output as it comes; its exit code and the counts of its closing line."""
    color = ["--color=yes"] if sys.stdout.isatty() else []
    command = [environment.python, "-m", "pytest", *color, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=surroundings(**variables), stdout=subprocess.PIPE)
    assert process.stdout  # noqa: S101 - for the type checker
    tail = b""
    try:
        while piece := os.read(process.stdout.fileno(), 65536):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            tail = (tail + piece)[-4096:]
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    lines = re.sub(r"\x1b\[[\d;]*m", "", tail.decode(errors="replace")).splitlines()
    closing = next(filter(None, map(CLOSING_LINE.match, reversed(lines))), None)
    return code, f"{closing[1]} in {float(closing[2]):.0f} s" if closing else f"exit code {code}"


def check(arguments: list[str]) -> int:
    if arguments:
        sys.exit("dev.py check takes no arguments.")
    environment = Environment(ROOT / ".venv-test")
    environment.prepare("dev")
    tool, python = environment.tool, environment.python
    django = [python, "-m", "django", "makemigrations", "--check", "--dry-run", "--settings=tests.settings.base"]
    sphinx = [tool("sphinx-build"), "--fail-on-warning", "--keep-going", "--fresh-env", "--quiet"]
    checks: list[tuple[str, list[str]]] = [
        ("ruff check", [tool("ruff"), "check", "--quiet", "."]),
        ("ruff format", [tool("ruff"), "format", "--check", "--quiet", "."]),
        ("import contracts", [tool("lint-imports")]),
        ("types", [tool("mypy")]),
        ("missing migrations", django),
        ("documentation", [*sphinx, "docs", "docs/_build/html"]),
    ]
    variables = surroundings(TP_DATABASE="sqlite", PYTHONPATH=str(ROOT))
    summary = []
    for title, command in checks:
        if not Path(command[0]).exists():
            summary.append((title, "not run; it needs a newer Python"))
            continue
        print(f"\n=== {title} ===", flush=True)
        code = run(command, cwd=ROOT, env=variables).returncode
        summary.append((title, "passed" if code == 0 else "FAILED"))
    print()
    for title, outcome in summary:
        print(f"{title + ':':<20} {outcome}")
    return int(any(outcome == "FAILED" for _title, outcome in summary))


COMMANDS: dict[str, Callable[[list[str]], int]] = {"demo": demo, "test": test, "check": check}


def main(arguments: list[str]) -> int:
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed; this is {sys.version.split()[0]}.")
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 2
    started = time.monotonic()
    try:
        code = COMMANDS[arguments[0]](arguments[1:])
    except KeyboardInterrupt:
        return 130
    print(f"\n{arguments[0]}: {'passed' if code == 0 else 'FAILED'} after {time.monotonic() - started:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
