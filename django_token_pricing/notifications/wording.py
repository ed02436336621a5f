"""What a notification says, made from its facts in the language of whoever reads it, when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from django_token_pricing.choices import LimitMetric, LimitWindow, NotificationKind, WarningKind
from django_token_pricing.models import Notification, TokenAccount, WarningRule
from django_token_pricing.notifications.anomalies import anomaly_words


@dataclass(frozen=True, slots=True)
class Words:
    """A line that says it, and what else there is to know."""

    title: str
    text: str


def words(notification: Notification) -> Words:
    """The notification in the active language. Loaded by `with_names` it asks nothing more."""
    facts = notification.facts
    if notification.kind == NotificationKind.ANOMALY:
        account = notification.account
        return Words(*anomaly_words(facts, "" if account is None else name_of(account)))
    if "count" in facts:
        return _for_operators(notification.kind, facts, notification.account)
    match notification.kind:
        case NotificationKind.LOW:
            return _low(facts)
        case NotificationKind.EXPIRING:
            return _expiring(facts)
        case NotificationKind.EXPIRED:
            return _expired(facts)
        case NotificationKind.LIMIT:
            return _limit(facts)
    return Words(str(notification.get_kind_display()), "")


def with_names(rows: QuerySet[Notification]) -> QuerySet[Notification]:
    """With what names accounts, and no more of their users: password hashes and all else of the host's stay away."""
    own = [field.name for field in Notification._meta.concrete_fields]
    login = f"account__user__{get_user_model().USERNAME_FIELD}"
    named = rows.select_related("account__user", "account__pool")
    return named.only(*own, "account__user", "account__pool", login, "account__pool__name")


def described(rule: WarningRule) -> str:
    """When the rule fires, in a few words."""
    return _condition(
        {"kind": rule.kind, "percent": rule.percent, "tokens_left": rule.tokens, "days": rule.days, "tier": rule.tier}
    )


def name_of(account: TokenAccount) -> str:
    """For an account loaded with its user and pool."""
    if account.pool is not None:
        return account.pool.name
    if account.user is not None:
        return str(account.user.get_username())
    return str(account)


def _number(value: int) -> str:
    return formats.number_format(value, use_l10n=True, force_grouping=True)


def _share(value: int) -> str:
    return pgettext("share", "%(number)s%%") % {"number": formats.number_format(value, use_l10n=True)}


def _day(text: str) -> str:
    return formats.date_format(date.fromisoformat(text), pgettext("date format", "j M Y"))


def _moment(text: str) -> str:
    """In the site's zone, by which days end as well."""
    local = datetime.fromisoformat(text).astimezone(timezone.get_default_timezone())
    return formats.date_format(local, pgettext("date format", "j M Y, H:i e"))


def _low(facts: dict[str, Any]) -> Words:
    left, granted = facts["available"], facts["granted"]
    terms = {"left": _number(left), "granted": _number(granted)}
    if left == 0:
        text = _("Nothing is left of the %(granted)s tokens that you were granted.") % terms if granted else ""
        return Words(_("Your tokens are used up"), text)
    title = ngettext("You have %(left)s token left", "You have %(left)s tokens left", left) % terms
    if not granted:
        return Words(title, "")
    terms["share"] = _share(left * 100 // granted)
    return Words(title, _("That is %(share)s of the %(granted)s that you were granted.") % terms)


def _expiring(facts: dict[str, Any]) -> Words:
    count = facts["tokens"]
    title = ngettext("%(tokens)s token expires soon", "%(tokens)s tokens expire soon", count)
    terms = {"tokens": _number(count), "day": _day(facts["day"])}
    if facts["ends_at"] is None:
        text = _("They can be used until the end of %(day)s.") % terms
    else:
        text = _("The first of them can be used until %(when)s.") % {"when": _moment(facts["ends_at"])}
    return Words(title % terms, text)


def _expired(facts: dict[str, Any]) -> Words:
    count = facts["tokens"]
    title = ngettext("%(tokens)s token has expired unused", "%(tokens)s tokens have expired unused", count)
    terms = {"tokens": _number(count), "day": _day(facts["day"])}
    return Words(title % terms, _("They could be used until %(day)s.") % terms)


def _limit(facts: dict[str, Any]) -> Words:
    limit, used = facts["limit"], facts["used"]
    terms = {"used": _number(used), "limit": _number(limit), "share": _share(used * 100 // limit)}
    title = _("You have reached a limit") if used >= limit else _("%(share)s of a limit is used") % terms
    if facts["metric"] == LimitMetric.TOKENS:
        text = ngettext("%(used)s of %(limit)s token is used.", "%(used)s of %(limit)s tokens are used.", limit)
    else:
        text = ngettext("%(used)s of %(limit)s request is used.", "%(used)s of %(limit)s requests are used.", limit)
    parts = [text % terms]
    if anew_at := facts.get("anew_at"):
        parts.append(_("It counts anew from %(when)s.") % {"when": _moment(anew_at)})
    elif facts["window"] in LimitWindow.values:
        parts.append(f"{LimitWindow(facts['window']).label}.")
    of = " · ".join(filter(None, (facts.get("model"), facts.get("feature"))))
    if of:
        parts.append(_("It is for %(what)s.") % {"what": of})
    return Words(title, " ".join(parts))


def _for_operators(kind: str, facts: dict[str, Any], account: TokenAccount | None) -> Words:
    count = facts["count"]
    terms = {"count": _number(count), "account": "" if account is None else name_of(account)}
    match kind:
        case NotificationKind.LOW:
            one = _("%(account)s has little left")
            title = ngettext("%(count)s account has little left", "%(count)s accounts have little left", count)
        case NotificationKind.EXPIRING:
            one = _("Tokens of %(account)s expire soon")
            title = ngettext(
                "Tokens of %(count)s account expire soon", "Tokens of %(count)s accounts expire soon", count
            )
        case NotificationKind.EXPIRED:
            one = _("Tokens of %(account)s have expired")
            title = ngettext(
                "Tokens of %(count)s account have expired", "Tokens of %(count)s accounts have expired", count
            )
        case _other:
            one = _("%(account)s comes to a limit")
            title = ngettext("%(count)s account comes to a limit", "%(count)s accounts come to a limit", count)
    condition = _condition({**facts, "kind": _rule_kind(kind, facts)})
    details = _detail(kind, facts) if account is not None else ""
    text = " ".join(filter(None, (details, _("The warning: %(condition)s.") % {"condition": condition})))
    return Words((title if account is None else one) % terms, text)


def _rule_kind(kind: str, facts: dict[str, Any]) -> str:
    if kind == NotificationKind.LOW:
        return WarningKind.LOW_TOKENS if facts.get("percent") is None else WarningKind.LOW_PERCENT
    return kind


def _detail(kind: str, facts: dict[str, Any]) -> str:
    """The figures of the one account that it is about."""
    match kind:
        case NotificationKind.LOW:
            terms = {"left": _number(facts["available"]), "granted": _number(facts["granted"])}
            return _("Left: %(left)s of %(granted)s.") % terms
        case NotificationKind.LIMIT:
            return _("Used: %(used)s of %(limit)s.") % {
                "used": _number(facts["used"]),
                "limit": _number(facts["limit"]),
            }
    return _("%(tokens)s tokens, %(day)s.") % {"tokens": _number(facts["tokens"]), "day": _day(facts["day"])}


def _condition(terms: dict[str, Any]) -> str:
    least = terms["tokens_left"]
    match terms["kind"]:
        case WarningKind.LOW_PERCENT:
            share = terms["percent"]
            text = _("nothing is left") if share == 0 else _("at most %(share)s is left") % {"share": _share(share)}
        case WarningKind.LOW_TOKENS:
            text = ngettext("at most %(count)s token is left", "at most %(count)s tokens are left", least)
            text = _("nothing is left") if least == 0 else text % {"count": _number(least)}
        case WarningKind.EXPIRING:
            days = terms["days"]
            text = ngettext("%(count)s day before tokens expire", "%(count)s days before tokens expire", days)
            text %= {"count": _number(days)}
        case WarningKind.EXPIRED:
            text = _("tokens have expired")
        case _other:
            share = terms["percent"]
            text = (
                _("a limit is reached")
                if share == 100
                else _("%(share)s of a limit is used") % {"share": _share(share)}
            )
    if least and terms["kind"] in (WarningKind.EXPIRING, WarningKind.EXPIRED):
        text = _("%(condition)s, %(count)s or more") % {"condition": text, "count": _number(least)}
    if terms["tier"]:
        text = _("%(condition)s, tier %(tier)s") % {"condition": text, "tier": terms["tier"]}
    return text
