"""Every Python example of the README and of the documentation runs as it stands, page by page.

A page is read from top to bottom and shares its names. `user`, `other_user` and `admin` are given. A block whose first
line is a comment with a path (`# billing/token_pricing.py`) becomes that module, so that later blocks can import it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps

from tests.world import new_users

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+)\.py\n")
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in page.parts and BLOCK.search(page.read_text(encoding="utf-8"))
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other_user, admin = new_users(3)
    names: dict[str, Any] = {"user": user, "other_user": other_user, "admin": admin}
    text = document.read_text(encoding="utf-8")
    if "django.contrib.admin import" in text and not apps.is_installed("django.contrib.admin"):
        pytest.skip("has a part about the admin, which this host does not have")
    for block in BLOCK.finditer(text):
        source = dedent(block[2])
        # A traceback then names the page and its line.
        code = compile("\n" * text.count("\n", 0, block.start(2)) + source, str(document), "exec")
        if file := FILE.match(source):
            exec(code, new_module(file[1], monkeypatch).__dict__)  # noqa: S102 - our own pages
        else:
            exec(code, names)  # noqa: S102


def new_module(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package, _, name = path.replace("/", ".").rpartition(".")
    parent, module = ModuleType(package), ModuleType(f"{package}.{name}")
    setattr(parent, name, module)
    for each in (parent, module):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return module


def test_there_are_examples() -> None:
    assert ROOT / "README.md" in PAGES
    assert len(PAGES) > 5
