"""Loosening a limit by much needs a second person: what is asked, shown and then done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_token_pricing import approvals
from django_token_pricing.choices import ApprovalStatus
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import Approval, LimitRule
from django_token_pricing.tokens import booking
from django_token_pricing.tokens.limits import changes, rules

KIND = "limits.change"
# Fields in the order of the form; what is the same before and after is left out but for these.
SHOWN = (
    *("scope", "whom", "model", "feature", "metric", "window", "alignment", "time_zone"),
    *("limit", "mode", "grace", "counting", "on_failure", "starts_at", "ends_at"),
)
ALWAYS = ("scope", "whom", "model", "feature", "metric", "window", "limit", "mode")


def ask(
    rule: LimitRule | None, wanted: LimitRule | None, *, actor: Any, reason: str, key: UUID, tried_out: str = ""
) -> Approval:
    """Ask a second person to agree to a new rule (`rule` is None), to a change, or to a retirement (`wanted` is None).

    Raises InvalidInput, LimitTaken, IdempotencyConflict.
    """
    now = timezone.now()
    subject = wanted or rule
    if subject is None:
        raise InvalidInput(detail=_("There is no limit to change."))
    params = {
        "rule": None if rule is None else rule.pk,
        "version": None if rule is None else _version(rule),
        "whom": changes.whom(subject),
        "before": None if rule is None else changes.terms(rule),
        "after": None if wanted is None else changes.terms(wanted),
        "tried_out": tried_out,
    }
    size = changes.loosens_by(wanted, before=rule, as_of=now)
    return approvals.ask(KIND, params=params, size=size, actor=actor, reason=reason, key=key, target=rule)


@approvals.register
class ChangeLimit(approvals.Deed):
    kind = KIND
    permission = "django_token_pricing.change_limitrule"
    default_above = 1_000_000

    def name(self) -> str:
        return _("Loosen a limit")

    def title(self, approval: Approval) -> str:
        params = approval.params
        draft = _read(params["after"] or params["before"])
        facts = {
            "whom": params["whom"] or _("a user deleted since"),
            "metric": draft.get_metric_display(),
            "window": _within(draft.get_window_display()),
        }
        if params["after"] is None:
            return _("Retire the limit for %(whom)s: %(metric)s, %(window)s") % facts
        if params["before"] is None:
            return _("Set a limit for %(whom)s: %(metric)s, %(window)s") % facts
        return _("Change the limit for %(whom)s: %(metric)s, %(window)s") % facts

    def facts(self, approval: Approval) -> Iterable[tuple[str, Any, Any]]:
        params = approval.params
        after = _read(params["after"]) if params["after"] else None
        yield from _compared(self._before(approval, after), after, params["whom"])
        if params["tried_out"]:
            yield _("Tried out on past usage"), "", params["tried_out"]

    def _before(self, approval: Approval, after: LimitRule | None) -> LimitRule | None:
        """What counts now; once it is decided, what counted when it was asked."""
        params = approval.params
        if params["rule"] is None:
            is_waiting = approval.status == ApprovalStatus.WAITING
            return changes.beneath(after, as_of=timezone.now()) if after is not None and is_waiting else None
        if approval.status == ApprovalStatus.WAITING:
            return LimitRule.objects.filter(pk=params["rule"]).first()
        return _read(params["before"])

    def carry_out(self, approval: Approval, actor: Any) -> None:
        """As it was asked, if the rule still is what it was then. Raises InvalidInput, LimitTaken, UnknownOwner."""
        params = approval.params
        rule = self._rule(params)
        terms = {"rule": rule, "reason": approval.reason, "actor": actor}
        if params["after"] is not None:
            if rule is None and not actor.has_perm("django_token_pricing.add_limitrule"):
                raise InvalidInput(detail=_("Who asked for this may not do it any more: somebody has to ask anew."))
            wanted = changes.given(params["after"])
            self._require_size(approval, rules.draft(**wanted), rule)
            done = rules.set_limit(**wanted, **terms, tried_out=params["tried_out"])
        elif rule is not None:
            self._require_size(approval, None, rule)
            done = rules.retire_limit(**terms)
        else:
            raise _changed()
        # Whoever changed it since it was read above had the lock before.
        if rule is not None and self._versions(done)[1:2] != [params["version"]]:
            raise _changed()

    def _require_size(self, approval: Approval, wanted: LimitRule | None, rule: LimitRule | None) -> None:
        """No more than was asked for, whatever happened to the rules that it is measured against."""
        if changes.loosens_by(wanted, before=rule, as_of=timezone.now()) > approval.size:
            raise InvalidInput(
                detail=_("Other limits were changed meanwhile: this would loosen by more than was asked for. Ask anew.")
            )

    def _rule(self, params: dict[str, Any]) -> LimitRule | None:
        if params["rule"] is None:
            return None
        found = LimitRule.objects.using(booking.database()).filter(pk=params["rule"]).first()
        if found is None or found.retired_at is not None or _version(found) != params["version"]:
            raise _changed()
        return found

    def _versions(self, rule: LimitRule) -> list[int]:
        """The newest and the one before, read under the lock of the row that has just been written."""
        versions = LimitRule.history.using(booking.database()).filter(id=rule.pk).order_by("-history_id")
        return list(versions.values_list("history_id", flat=True)[:2])


def _changed() -> InvalidInput:
    return InvalidInput(detail=_("The limit was changed or retired meanwhile: somebody has to ask anew."))


def _version(rule: LimitRule) -> int | None:
    versions = LimitRule.history.using(booking.database()).filter(id=rule.pk).order_by("-history_id")
    found: int | None = versions.values_list("history_id", flat=True).first()
    return found


def _read(stored: dict[str, Any]) -> LimitRule:
    """The rule that stored terms make, to be shown; nobody is looked up for it."""
    texts = {name: stored[name] for name in changes.PLAIN}
    moments = {name: stored[name] and datetime.fromisoformat(stored[name]) for name in changes.MOMENTS}
    return LimitRule(**texts, **moments)


def _within(text: str) -> str:
    """As it stands in the middle of a sentence."""
    return text[:1].lower() + text[1:]


def _compared(before: LimitRule | None, after: LimitRule | None, whom: str) -> Iterator[tuple[str, Any, Any]]:
    of = after or before
    for name in SHOWN:
        if name == "whom":
            if of is not None and of.scope != "default":
                yield _("Whom"), whom, whom
            continue
        old, new = (None if rule is None else _shown(rule, name) for rule in (before, after))
        field: Any = LimitRule._meta.get_field(name)
        label = str(capfirst(str(field.verbose_name)))
        if name in ("scope", "model", "feature", "metric", "window", "alignment", "time_zone"):
            # A new rule overrides one that is for more people or uses; what it is for is its own.
            old = new = new if after is not None else old
        if old != new or (name in ALWAYS and (old or new)):
            yield label, old, new


def _shown(rule: LimitRule, name: str) -> Any:
    value = getattr(rule, name)
    if name == "grace" and not value:
        return None
    field: Any = LimitRule._meta.get_field(name)
    return str(dict(field.flatchoices).get(value, value)) if field.choices else value
