"""Small markup for columns of lists. Its templates are those of the tags, so that it is the same on every page."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString


def link(url: str, text: str) -> SafeString | str:
    """The text alone where there is nowhere to go."""
    return format_html('<a href="{}">{}</a>', url, text) if url else text


def badge(state: str, text: str, symbol: str = "") -> SafeString:
    """A state as icon, word and colour: ok, info, warn, bad or idle."""
    context = {"state": state, "text": text, "symbol": symbol or state}
    return render_to_string("django_token_pricing/admin/includes/badge.html", context)
