"""Small markup that must be the same on each of our admin pages, and what the app's index shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

import django
from django import template
from django.db.models import QuerySet
from django.template import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from django_token_pricing import approvals, notifications
from django_token_pricing.choices import AccountState, AnomalyState, RenewalState
from django_token_pricing.models import (
    AccountSummary,
    Anomaly,
    AuditEvent,
    BoostPolicy,
    Job,
    LedgerEntry,
    LimitRule,
    ModelPrice,
    PoolMember,
    Purchase,
    Renewal,
    RenewalPolicy,
    RollupState,
    ScheduledRun,
    SyncCursor,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenPackage,
    TokenPool,
    TokenUsageLog,
    WarningRule,
)
from django_token_pricing.tasks import beat, runs

register = template.Library()

ICONS = "django_token_pricing/img/icons.svg"
ICON_OF = {"ok": "ok", "warn": "warn", "bad": "bad", "info": "info", "idle": "idle"}


@register.simple_tag
def icon(name: str) -> SafeString:
    """Decoration: the word beside it is the message."""
    return format_html('<svg class="tp-icon" aria-hidden="true"><use href="{}#{}"/></svg>', static(ICONS), name)


@register.inclusion_tag("django_token_pricing/admin/includes/badge.html")
def badge(state: str, text: str, symbol: str = "") -> dict[str, str]:
    """A state as icon, word and colour: ok, info, warn, bad or idle."""
    return {"state": state, "text": text, "symbol": symbol or ICON_OF[state]}


@register.simple_tag
def key(css: str) -> SafeString:
    """The swatch of a category or lot, by the class that fills it in the chart."""
    return format_html('<svg class="tp-key" aria-hidden="true"><rect class="{}" width="10" height="10"/></svg>', css)


@register.simple_tag
def linekey(css: str) -> SafeString:
    """The swatch of a kind of line, by its classes in the chart."""
    return format_html(
        '<svg class="tp-key line" aria-hidden="true"><path class="{}" d="M0 4L22 4"/></svg>',
        css,
    )


@register.simple_tag
def ramp() -> SafeString:
    """The shades of a heat map, from nothing to the most."""
    steps = format_html_join(
        "", '<rect class="tp-h{}" x="{}" width="15" height="10"/>', ((step, step * 16) for step in range(6))
    )
    return format_html('<svg class="tp-key ramp" aria-hidden="true">{}</svg>', steps)


@register.simple_tag(takes_context=True)
def crumbs(context: Context, *, page: str, trail: Iterable[Any] = ()) -> SafeString:
    """Home › our app › the trail › this page, as the running Django writes it: a <div> up to 6.0, then an <ol>."""
    site = getattr(context.get("request"), "current_app", None)
    opts = TokenAccount._meta
    links = [(reverse("admin:index", current_app=site), _("Home"))]
    # The index itself is under Home alone.
    if trail:
        url = reverse("admin:app_list", kwargs={"app_label": opts.app_label}, current_app=site)
        links.append((url, str(opts.app_config.verbose_name)))
        links += [(link.url, link.text) for link in trail]
    if django.VERSION >= (6, 1):
        items = format_html_join("\n", '<li><a href="{}">{}</a></li>', links)
        return format_html('<ol class="breadcrumbs">{}\n<li aria-current="page">{}</li></ol>', items, page)
    items = format_html_join("", '<a href="{}">{}</a> &rsaquo; ', links)
    return format_html('<div class="breadcrumbs">{}{}</div>', items, page)


@register.simple_tag
def row_count(cl: Any) -> str:
    """How many rows a list has, as far as they are counted."""
    found = cl.result_count
    text = formats.number_format(found, use_l10n=True, force_grouping=True)
    name = cl.opts.verbose_name if found == 1 else cl.opts.verbose_name_plural
    words = _("more than %(count)s %(name)s") if cl.is_capped else _("%(count)s %(name)s")
    return words % {"count": text, "name": name}


@register.inclusion_tag("django_token_pricing/admin/includes/worker_note.html", takes_context=True)
def worker_note(context: Context, *, link: bool = False) -> dict[str, Any]:
    """Whether a worker is there, for who may see the runs of scheduled tasks; nothing where all is well."""
    request = context["request"]
    if not request.user.has_perm("django_token_pricing.view_scheduledrun"):
        return {"is_silent": False}
    seen, now = runs.worker_seen(), timezone.now()
    if seen is not None and now - seen <= beat.silence(beat.entries().values()):
        return {"is_silent": False}
    opts = ScheduledRun._meta
    site = getattr(request, "current_app", None)
    return {
        "is_silent": True,
        "state": "bad" if seen else "warn",
        "length": timesince(seen, now, depth=1) if seen else "",
        "url": reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist", current_app=site) if link else "",
    }


# The app's index ------------------------------------------------------------------------------------------------------

MOST_COUNTED = 1_000
SOON = timedelta(days=7)


@dataclass(slots=True)
class Section:
    """A part of the back office, with the stock rows of its models and today's fact beside some."""

    name: str
    models: list[dict[str, Any]] = field(default_factory=list)


def _count(rows: QuerySet[Any], most: int = MOST_COUNTED) -> tuple[int, str]:
    """How many, counted up to a cap, as a number for the grammar and as text."""
    found = rows.order_by()[: most + 1].count()
    text = formats.number_format(min(found, most), use_l10n=True, force_grouping=True)
    return found, pgettext("at least", "%(count)s+") % {"count": text} if found > most else text


def _when(moment: datetime | None) -> str:
    if moment is None:
        return ""
    local = timezone.localtime(moment)
    if local.date() == timezone.localdate():
        return formats.date_format(local, pgettext("date format", "H:i"))
    return formats.date_format(local, pgettext("date format", "j M Y"))


def _accounts() -> str:
    found, text = _count(TokenAccount.objects.all(), 10_000)
    words = ngettext("%(count)s account", "%(count)s accounts", found) % {"count": text}
    low, text = _count(AccountSummary.objects.filter(state=AccountState.LOW))
    if not low:
        return words
    few = ngettext("%(count)s low", "%(count)s low", low) % {"count": text}
    return pgettext("facts", "%(first)s, %(second)s") % {"first": words, "second": few}


def _pools() -> str:
    found, text = _count(TokenPool.objects.filter(is_active=True))
    return ngettext("%(count)s active", "%(count)s active", found) % {"count": text}


def _packages() -> str:
    found, text = _count(TokenPackage.objects.filter(is_active=True))
    return ngettext("%(count)s active", "%(count)s active", found) % {"count": text}


def _last_purchase() -> str:
    moment = Purchase.objects.order_by("-pk").values_list("purchased_at", flat=True).first()
    return _("last bought %(when)s") % {"when": _when(moment)} if moment else _("nothing bought yet")


def _boost_policies() -> str:
    found, text = _count(BoostPolicy.objects.all())
    return ngettext("%(count)s policy", "%(count)s policies", found) % {"count": text}


def _members() -> str:
    found, text = _count(PoolMember.objects.all(), 10_000)
    return ngettext("%(count)s member", "%(count)s members", found) % {"count": text}


def _expiring() -> str:
    now = timezone.now()
    found, text = _count(TokenAllocation.objects.filter(is_open=True, expires_at__gt=now, expires_at__lte=now + SOON))
    return ngettext("%(count)s expires within 7 days", "%(count)s expire within 7 days", found) % {"count": text}


def _last_entry() -> str:
    moment = LedgerEntry.objects.order_by("-pk").values_list("booked_at", flat=True).first()
    return _("last booked %(when)s") % {"when": _when(moment)} if moment else _("nothing booked yet")


def _last_use() -> str:
    moment = TokenUsageLog.objects.order_by("-pk").values_list("booked_at", flat=True).first()
    return _("last recorded %(when)s") % {"when": _when(moment)} if moment else _("nothing used yet")


def _open_holds() -> str:
    found, text = _count(TokenHold.objects.filter(status="open", expires_at__gt=timezone.now()))
    return ngettext("%(count)s open", "%(count)s open", found) % {"count": text}


def _synced(adapter: str) -> str:
    moment = SyncCursor.objects.filter(pk=adapter).values_list("synced_at", flat=True).first()
    return _("synced %(when)s") % {"when": _when(moment)} if moment else _("never synced")


def _deeds() -> str:
    today = timezone.localtime(timezone=timezone.get_default_timezone()).date()
    start = datetime.combine(today, time.min, tzinfo=timezone.get_default_timezone())
    found, text = _count(AuditEvent.objects.filter(at__gte=start))
    return ngettext("%(count)s today", "%(count)s today", found) % {"count": text}


def _jobs() -> str:
    found, text = _count(Job.objects.filter(status="ready"))
    return ngettext("%(count)s waits for you", "%(count)s wait for you", found) % {"count": text}


def _approvals(user: Any) -> str:
    found, text = _count(approvals.waiting_for(user, as_of=timezone.now()))
    return ngettext("%(count)s waits for you", "%(count)s wait for you", found) % {"count": text}


def _limits() -> str:
    found, text = _count(LimitRule.objects.filter(retired_at=None))
    return ngettext("%(count)s set", "%(count)s set", found) % {"count": text}


def _unread(user: Any) -> str:
    found = notifications.unread(user, most=MOST_COUNTED)
    return ngettext("%(count)s unread", "%(count)s unread", found) % {"count": formats.number_format(found)}


def _warnings() -> str:
    found, text = _count(WarningRule.objects.filter(is_active=True))
    return ngettext("%(count)s active", "%(count)s active", found) % {"count": text}


# What is said to each person of their own.
OWN_FACTS: dict[str, Callable[[Any], str]] = {"Approval": _approvals, "Notification": _unread}


def _last_run() -> str:
    moment = ScheduledRun.objects.order_by("-pk").values_list("started_at", flat=True).first()
    return _("last ran %(when)s") % {"when": _when(moment)} if moment else _("nothing ran yet")


def _policies() -> str:
    active = RenewalPolicy.objects.filter(is_active=True).count()
    return ngettext("%(count)s active", "%(count)s active", active) % {"count": active}


def _renewals_due() -> str:
    """Those that failed first; otherwise when the next one is due."""
    failed, text = _count(Renewal.objects.filter(state=RenewalState.FAILED))
    if failed:
        return ngettext("%(count)s failed", "%(count)s failed", failed) % {"count": text}
    due = Renewal.objects.filter(due_at__isnull=False).order_by("due_at").values_list("due_at", flat=True).first()
    return _("next due %(when)s") % {"when": _when(due)} if due else _("none yet")


def _rolled_up() -> str:
    moment = RollupState.objects.filter(pk=1).values_list("folded_at", flat=True).first()
    return _("as of %(when)s") % {"when": _when(moment)} if moment else _("nothing rolled up yet")


def _prices() -> str:
    found, text = _count(ModelPrice.objects.all())
    return ngettext("%(count)s price", "%(count)s prices", found) % {"count": text}


def _anomalies() -> str:
    found, text = _count(Anomaly.objects.filter(state=AnomalyState.OPEN))
    return ngettext("%(count)s open", "%(count)s open", found) % {"count": text}


# What a row of the index is called where it leads to more than a list of rows.
PAGE_NAMES = {"UsageDay": gettext_lazy("Overview and live view")}
# In the order in which people look for them. A model that is not listed comes last, under “More”.
SECTIONS: list[tuple[Any, list[tuple[str, Callable[[], str]]]]] = [
    (
        gettext_lazy("Tokens"),
        [
            ("TokenAccount", _accounts),
            ("TokenPool", _pools),
            ("PoolMember", _members),
            ("TokenPackage", _packages),
            ("Purchase", _last_purchase),
            ("BoostPolicy", _boost_policies),
            ("LimitRule", _limits),
            ("TokenAllocation", _expiring),
            ("LedgerEntry", _last_entry),
            ("TokenUsageLog", _last_use),
            ("TokenHold", _open_holds),
        ],
    ),
    (
        gettext_lazy("Pricing"),
        [
            ("SubscriptionMirror", lambda: _synced("subscriptions")),
            ("PaymentMirror", lambda: _synced("payments")),
            ("RenewalPolicy", _policies),
            ("Renewal", _renewals_due),
        ],
    ),
    (
        gettext_lazy("Analytics"),
        [
            ("UsageDay", _rolled_up),
            ("Anomaly", _anomalies),
            ("AnomalyRule", str),
            ("ModelPrice", _prices),
            ("AnalyticsExport", str),
        ],
    ),
    (
        gettext_lazy("Operations"),
        [
            ("Job", _jobs),
            ("Approval", str),
            ("ApprovalRule", str),
            ("ScheduledRun", _last_run),
            ("Notification", str),
            ("WarningRule", _warnings),
        ],
    ),
    (gettext_lazy("Security"), [("AuditEvent", _deeds)]),
]


@register.simple_tag(takes_context=True)
def app_sections(context: Context, app_list: list[dict[str, Any]]) -> list[Section]:
    """The app's models in their sections, those that this person may see; a fact takes one short query."""
    models = {model["object_name"]: model for app in app_list for model in app["models"]}
    sections = []
    for name, facts in SECTIONS:
        section = Section(str(name))
        for object_name, fact in facts:
            if model := models.pop(object_name, None):
                own, text = OWN_FACTS.get(object_name), ""
                if model.get("admin_url"):
                    text = own(context["request"].user) if own else fact()
                page_name = PAGE_NAMES.get(object_name, model["name"])
                section.models.append({**model, "name": page_name, "fact": text})
        sections.append(section)
    sections.append(Section(pgettext("section of the index", "More"), list(models.values())))
    return [section for section in sections if section.models]
