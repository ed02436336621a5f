"""Limits in words, as lists, pages and the panel of an account say them."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing.admin.base.wording import number
from django_token_pricing.choices import LimitAlignment, LimitMetric, LimitMode
from django_token_pricing.models import LimitRule


def uses(rule: LimitRule) -> str:
    """Which uses it counts."""
    if rule.model and rule.feature:
        return _("%(model)s for %(feature)s") % {"model": rule.model, "feature": rule.feature}
    return rule.model or rule.feature or _("All uses")


def amount(rule: LimitRule) -> str:
    words = {
        LimitMetric.TOKENS: ngettext("%(count)s token", "%(count)s tokens", rule.limit),
        LimitMetric.REQUESTS: ngettext("%(count)s request", "%(count)s requests", rule.limit),
    }
    return words[LimitMetric(rule.metric)] % {"count": number(rule.limit)}


def window(rule: LimitRule) -> str:
    name = rule.get_window_display()
    if rule.alignment == LimitAlignment.ROLLING:
        return _("%(window)s, rolling") % {"window": name}
    if rule.time_zone:
        return _("%(window)s in %(zone)s") % {"window": name, "zone": rule.time_zone}
    return name


def at_limit(rule: LimitRule) -> str:
    if rule.mode == LimitMode.GRACE:
        return _("Allow %(grace)s more, then refuse") % {"grace": number(rule.grace)}
    return rule.get_mode_display()


def state(rule: LimitRule, as_of: datetime) -> tuple[str, str]:
    """State and word of its badge."""
    if rule.retired_at is not None:
        return "idle", _("Retired")
    if rule.ends_at is not None and rule.ends_at <= as_of:
        return "idle", _("Ended")
    if rule.starts_at is not None and rule.starts_at > as_of:
        return "info", _("Scheduled")
    return "ok", _("In force")
