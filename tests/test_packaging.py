"""What is shipped: the package and nothing else, and it works alone in an empty environment and a new project."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import dev
import django_token_pricing

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "django_token_pricing"

if os.environ.get("TP_DATABASE", "sqlite") != "sqlite":
    pytest.skip("the same on every database; runs with SQLite", allow_module_level=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built by the hatchling that is installed, so without the network."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def metadata(wheel: Path, wheel_names: set[str]) -> Message:
    (name,) = (name for name in wheel_names if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(name))


def test_the_wheel_holds_every_file_of_the_package(wheel_names: set[str]) -> None:
    files = (path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert {path.relative_to(ROOT).as_posix() for path in files} <= wheel_names
    assert f"{PACKAGE}/py.typed" in wheel_names


def test_the_wheel_holds_nothing_else(wheel_names: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {PACKAGE}
    assert [name for name in wheel_names if name.endswith((".pyc", ".orig", ".sqlite3"))] == []


def test_the_wheel_says_what_it_is(metadata: Message) -> None:
    assert metadata["Name"] == "django-token-pricing"
    assert metadata["Version"] == django_token_pricing.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.10"
    assert "Framework :: Django :: 6.1" in metadata.get_all("Classifier", [])


def test_optional_libraries_are_extras(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"api", "charts", "forecast", "pdf", "postgres", "prices", "spelling"} <= extras
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in required if line.startswith(("psycopg", "djangorestframework", "reportlab"))]


def test_the_sdist_holds_the_project_and_nothing_private(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "tests/conftest.py"} <= names
    expected = {PACKAGE, ".ci", "benchmarks", "docs", "example_project", "tests"}
    assert {name.split("/")[0] for name in names if "/" in name} <= expected
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".sqlite3", ".env"))] == []


def test_importing_the_package_touches_no_model() -> None:
    script = f"import sys, {PACKAGE}; sys.exit('django.db' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> dev.Environment:
    """The wheel and what it requires, alone: no extra, no source tree."""
    environment = dev.Environment(tmp_path_factory.mktemp("alone") / "venv")
    environment.create()
    environment.install(str(wheel))
    return environment


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


IMPORT_EVERYTHING = f"""
import importlib, pkgutil, sys
import django
django.setup()
import {PACKAGE}
assert "site-packages" in {PACKAGE}.__file__, {PACKAGE}.__file__
for module in pkgutil.walk_packages({PACKAGE}.__path__, "{PACKAGE}."):
    importlib.import_module(module.name)
"""


@pytest.mark.slow
def test_a_new_project_takes_the_wheel_alone(empty_environment: dev.Environment, outside: Path) -> None:
    def django(*arguments: str) -> str:
        return answer("-m", "django", *arguments)

    def answer(*arguments: str, **variables: str) -> str:
        finished = subprocess.run(
            [empty_environment.python, *arguments],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    django("startproject", "site_of_ours", str(outside))
    settings = outside / "site_of_ours" / "settings.py"
    text = settings.read_text().replace(
        "INSTALLED_APPS = [", f'INSTALLED_APPS = [\n    "{PACKAGE}",\n    "import_export",'
    )
    settings.write_text(text)

    answer("manage.py", "check")
    assert "No changes detected" in answer("manage.py", "makemigrations", "--check", "--dry-run")
    assert f"Applying {PACKAGE}." in answer("manage.py", "migrate")
    answer("manage.py", "migrate", PACKAGE, "zero")
    answer("-c", IMPORT_EVERYTHING, DJANGO_SETTINGS_MODULE="site_of_ours.settings")
