"""What the page of a limit's trial says: how many uses it would have refused, on which days, and whose."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import conf
from django_token_pricing.admin.base import charts
from django_token_pricing.admin.base.exports import may_download
from django_token_pricing.admin.base.mixins import may_view, object_url
from django_token_pricing.admin.base.parts import Card
from django_token_pricing.admin.base.wording import figure, moment, number, per_cent, short_day
from django_token_pricing.admin.jobs.panels import Panel, register
from django_token_pricing.admin.tokens import limit_words, owners
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import TokenPricingError
from django_token_pricing.models import Job, JobFile, LimitRule, TokenAccount
from django_token_pricing.tokens.limits import changes, rules
from django_token_pricing.tokens.limits.replay import ReplayLimit

# Bars that a column of the page has room for; a longer time is shown by its last days.
MOST_BARS = 60


@register(ReplayLimit.kind)
class ReplayPanel(Panel):
    """It changes nothing, so there is nothing to confirm: the result is the page."""

    course_template = "django_token_pricing/admin/limits/replay_course.html"
    has_own_end = True

    def preparing(self) -> str:
        return _("The accounts that used anything in those days are counted. Nothing is changed by a trial.")

    def counted(self, count: int) -> str:
        return ngettext("%(count)s account", "%(count)s accounts", count) % {"count": number(count)}

    def row_heading(self) -> str:
        return _("Account")

    @property
    def found(self) -> dict[str, Any]:
        result: dict[str, Any] = self.job.result
        return result

    @property
    def is_done(self) -> bool:
        return self.job.status == JobStatus.DONE

    @property
    def is_quiet(self) -> bool:
        """Done, and nobody would have noticed."""
        return self.is_done and not self.found["refused"] and not self.found["over_uses"]

    def results(self) -> Iterable[Card]:
        found = self.found
        if "uses" not in found:
            return
        other = found["uses"] - found["governed"]
        words = ngettext("%(count)s more has another rule", "%(count)s more have another rule", other)
        yield Card(
            _("Uses it would judge"), figure(found["governed"]), note=words % {"count": number(other)} if other else ""
        )
        share = found["governed"] and found["refused"] / found["governed"]
        yield Card(
            _("Refused"),
            figure(found["refused"]),
            strong=per_cent(share) if found["refused"] else "",
            note=_("of these uses") if found["refused"] else _("nobody would have been refused"),
        )
        words = ngettext("of %(count)s account", "of %(count)s accounts", found["accounts_refused"])
        yield Card(
            _("Tokens refused"), figure(found["tokens"]), note=words % {"count": number(found["accounts_refused"])}
        )
        if found["over_uses"]:
            words = ngettext(
                "beyond the limit, by %(count)s use", "beyond the limit, by %(count)s uses", found["over_uses"]
            )
            yield Card(_("Let pass"), figure(found["over"]), note=words % {"count": number(found["over_uses"])})

    def facts(self) -> Iterable[tuple[str, str]]:
        try:
            rule = rules.draft(**changes.given(self.job.params))
        except TokenPricingError as error:
            yield _("Limit"), error.message
        else:
            yield _("For"), changes.whom(rule)
            yield _("Uses"), limit_words.uses(rule)
            yield _("Window"), limit_words.window(rule)
            yield _("Limit"), limit_words.amount(rule)
            yield _("At the limit"), limit_words.at_limit(rule)
        if "since" in self.job.preview:
            since, until = (moment(datetime.fromisoformat(self.job.preview[name])) for name in ("since", "until"))
            yield _("Tried out on"), _("usage from %(since)s to %(until)s") % {"since": since, "until": until}
        if self.found.get("first_at"):
            first, last = (moment(datetime.fromisoformat(self.found[name])) for name in ("first_at", "last_at"))
            yield _("First refused"), first
            yield _("Last refused"), last

    # By day

    @cached_property
    def days(self) -> list[tuple[date, int]]:
        """All days of the trial, or its last ones."""
        zone = timezone.get_default_timezone()
        first, last = (
            datetime.fromisoformat(self.job.preview[name]).astimezone(zone).date() for name in ("since", "until")
        )
        first = max(first, last - timedelta(days=MOST_BARS - 1))
        days = [first + timedelta(days=place) for place in range((last - first).days + 1)]
        return [(day, self.found["days"].get(day.isoformat(), 0)) for day in days]

    @cached_property
    def chart(self) -> SafeString | None:
        values = [count for _day, count in self.days] if self.found.get("refused") else []
        if not any(values):
            return None
        labels = [short_day(day) for day, _count in self.days]
        highest = max(range(len(values)), key=lambda place: values[place])
        words = _("%(total)s refused uses in %(days)s days. The highest day is %(day)s with %(most)s.")
        described = words % {
            "total": number(sum(values)),
            "days": number(len(values)),
            "day": labels[highest],
            "most": number(values[highest]),
        }
        return charts.stacked_bars(
            "tp-refused",
            title=_("Refused uses a day"),
            description=described,
            labels=labels,
            series=[charts.Series(_("Refused"), values, 6)],
        )

    def day_rows(self) -> list[tuple[str, str]]:
        return [(short_day(day), number(count)) for day, count in reversed(self.days)]

    def days_lead(self) -> str:
        return _("in %(zone)s") % {"zone": timezone.get_default_timezone_name()}

    # By account

    def top(self) -> list[dict[str, str]]:
        """Those who were refused most often. Two queries, however many they are."""
        lines = self.found.get("top", [])
        accounts = owners.with_owner(TokenAccount.objects.filter(pk__in=[line[0] for line in lines]), path="")
        names = {
            pk: owners.name(login, pool, pk)
            for pk, login, pool in accounts.values_list("pk", "owner_login", "owner_pool")
        }
        may_open = may_view(self.site, self.request, TokenAccount)
        return [
            {
                "name": owners.breakable(names.get(pk, owners.name(None, None, pk))),
                "url": object_url(self.site, TokenAccount, pk) if may_open else "",
                "refused": number(uses),
                "tokens": number(given),
                "first": moment(datetime.fromisoformat(first)),
            }
            for pk, uses, given, first in lines
        ]

    def top_lead(self) -> str:
        shown, all_of_them = len(self.found["top"]), self.found["accounts_refused"]
        if shown == all_of_them:
            return self.counted(shown)
        return _("%(shown)s of %(accounts)s, those who would have been refused most often") % {
            "shown": number(shown),
            "accounts": self.counted(all_of_them),
        }

    # The file

    @cached_property
    def download_url(self) -> str:
        there = self.is_done and JobFile.objects.filter(job=self.job).exists()
        if not there or not may_download(self.site, self.request, self.job):
            return ""
        opts = Job._meta
        route = f"admin:{opts.app_label}_{opts.model_name}_download"
        return reverse(route, args=(self.job.pk,), current_app=self.site.name)

    def kept(self) -> str:
        days = conf.current().JOB_RETENTION.days
        words = ngettext("The file is kept for %(count)s day.", "The file is kept for %(count)s days.", days)
        return words % {"count": number(days)}

    @cached_property
    def rule_url(self) -> str:
        """The limit that would be changed."""
        rule = self.job.params.get("rule")
        if rule is None or not may_view(self.site, self.request, LimitRule):
            return ""
        return object_url(self.site, LimitRule, rule)
