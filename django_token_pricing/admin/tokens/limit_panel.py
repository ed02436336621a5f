"""The limits on an account's page: which rules count for it, what is left of each, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin import AdminSite
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing import tokens
from django_token_pricing.admin.base.mixins import object_url
from django_token_pricing.admin.base.wording import NOTHING, clock, number
from django_token_pricing.admin.tokens import limit_words
from django_token_pricing.choices import LimitScope, LimitWindow
from django_token_pricing.models import LimitRule, TokenAccount
from django_token_pricing.tokens import LimitState

# From this share of the limit on a row is marked.
NEARLY = 0.8


@dataclass(frozen=True, slots=True)
class LimitRow:
    name: str
    uses: str
    url: str
    limit: str
    used: str
    held: str
    left: str
    bar: SafeString | str
    state: str
    word: str
    resets: str
    at_limit: str
    origin: str


def rows(account: TokenAccount, as_of: datetime, site: AdminSite) -> list[LimitRow]:
    return [] if account.is_closed else [_row(state, as_of, site) for state in tokens.limits(account)]


def _row(state: LimitState, as_of: datetime, site: AdminSite) -> LimitRow:
    rule = state.rule
    is_counted = state.window != LimitWindow.REQUEST
    mark, word = _mark(state) if is_counted else ("", "")
    return LimitRow(
        name=_("%(metric)s, %(window)s") % {"metric": rule.get_metric_display(), "window": _lower(rule)},
        uses=limit_words.uses(rule),
        url=object_url(site, LimitRule, rule.pk),
        limit=number(state.limit),
        used=number(state.used) if is_counted else NOTHING,
        held=number(state.held) if is_counted and state.held else NOTHING,
        left=number(state.left) if is_counted else NOTHING,
        bar=_bar(state) if is_counted else "",
        state=mark,
        word=word,
        resets=_resets(state, as_of),
        at_limit=limit_words.at_limit(rule),
        origin=_origin(rule),
    )


def _lower(rule: LimitRule) -> str:
    """In the middle of a phrase."""
    text = limit_words.window(rule)
    return text[:1].lower() + text[1:]


def _mark(state: LimitState) -> tuple[str, str]:
    taken = state.used + state.held
    if taken >= state.limit:
        return "bad", _("Reached")
    return ("warn", _("Nearly reached")) if taken >= state.limit * NEARLY else ("", "")


def _resets(state: LimitState, as_of: datetime) -> str:
    if state.resets_at is not None:
        return clock(state.resets_at, as_of)
    return _("bit by bit") if state.starts_at is not None and state.window != LimitWindow.TOTAL else NOTHING


def _origin(rule: LimitRule) -> str:
    match rule.scope:
        case LimitScope.USER:
            return _("Override for this user")
        case LimitScope.POOL:
            return _("Pool")
        case LimitScope.TIER:
            return _("Tier %(tier)s") % {"tier": rule.tier}
    return str(LimitScope.DEFAULT.label)


def _bar(state: LimitState) -> SafeString:
    """Decoration: the numbers beside it say the same."""
    most = max(state.limit, 1)
    used = min(state.used / most * 100, 100)
    held = min(state.held / most * 100, 100 - used)
    return format_html(
        '<svg class="tp-limit-bar" aria-hidden="true" width="100%" height="8">'
        '<rect class="tp-track" width="100%" height="8" rx="2"/>'
        '<rect class="{}" width="{}%" height="8" rx="2"/><rect class="tp-c5" x="{}%" width="{}%" height="8"/></svg>',
        "tp-fill-bad" if state.used + state.held >= state.limit else "tp-c1",
        f"{used:.1f}",
        f"{used:.1f}",
        f"{held:.1f}",
    )
