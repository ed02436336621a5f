"""Sphinx: `python3 dev.py check` builds these pages with warnings as errors."""

import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import django
from django.conf import settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from django_token_pricing import __version__

# The reference reads docstrings of modules that import models, so Django has to be set up; no database is asked.
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_token_pricing"], USE_TZ=True
)
django.setup()

project = "django-token-pricing"
author = "django-token-pricing contributors"
copyright = f"{date.today().year}, {author}"  # noqa: A001, DTZ011 - Sphinx reads this name; a year needs no zone
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
# Types of Python and Django in signatures: their documentation is on the network, which a build does not need.
nitpick_ignore_regex = [("py:.*", ".*")]

# Docstrings write code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"


def separate_plurals(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """`GrantRow`s: reStructuredText wants code to end before a space or a mark."""
    lines[:] = [re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", separate_plurals)
