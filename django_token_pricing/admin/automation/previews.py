"""What a policy comes to, as a table and a chart: the next twelve periods of a sample subscriber."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import formats
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_token_pricing.admin.automation.forms import SampleForm
from django_token_pricing.admin.base.charts import Series, stacked_bars
from django_token_pricing.admin.base.wording import NOTHING, number, short_day
from django_token_pricing.automation import renewals
from django_token_pricing.automation.renewals import PeriodPreview
from django_token_pricing.models import RenewalPolicy

PERIODS = 12


@dataclass(frozen=True, slots=True)
class Preview:
    """The lines of the table, the chart, and the names of its colours."""

    svg: SafeString
    legend: list[Series]
    rows: list[dict[str, str]]
    zone: str


def preview_of(policy: RenewalPolicy, sample: SampleForm) -> Preview | None:
    """None for a sample that is none, or periods beyond the calendar."""
    if not sample.is_valid():
        return None
    given = sample.cleaned_data
    try:
        found = renewals.preview(
            policy,
            anchor_at=sample.anchor_at,
            time_zone=given["zone"],
            quantity=given["seats"],
            used_percent=given["used"],
            periods=PERIODS,
        )
    except (ValueError, OverflowError):
        return None
    if not found:
        return None
    zone = ZoneInfo(given["zone"])
    legend = [
        Series(_("Granted"), [one.granted for one in found], 1),
        Series(_("Carried over"), [one.carried for one in found], 2),
    ]
    svg = stacked_bars(
        "tp-renewals",
        title=_("Tokens at the start of each period"),
        description=_("What is granted, and what is carried over from the period before."),
        labels=[short_day(one.period.starts_at.astimezone(zone).date()) for one in found],
        series=legend,
        every=1,
    )
    return Preview(svg, legend, [_row(one, zone) for one in found], given["zone"])


def _row(one: PeriodPreview, zone: ZoneInfo) -> dict[str, str]:
    return {
        "start": _local(one.period.starts_at, zone),
        "end": _local(one.period.ends_at, zone),
        "days": number(one.days),
        "granted": number(one.granted),
        "carried": number(one.carried) if one.carried else NOTHING,
        "total": number(one.total),
        "used": number(one.used),
        "expires": _local(one.expires_at, zone) if one.expires_at else _("never"),
    }


def _local(moment: Any, zone: ZoneInfo) -> str:
    """In the subscriber's zone, not in the reader's; the time where it is not midnight."""
    local = moment.astimezone(zone)
    day = formats.date_format(local.replace(tzinfo=None), "j M Y")
    return day if (local.hour, local.minute) == (0, 0) else f"{day}, {local:%H:%M}"
