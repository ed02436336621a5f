"""What the page of a job says of its kind: totals and warnings before, sums after. Each kind registers a panel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import jobs
from django_token_pricing.admin.base.parts import Card, Note
from django_token_pricing.admin.base.wording import number
from django_token_pricing.models import Job, JobRow


class Panel:
    """The least that can be said of any job."""

    # Between the notes and the errors of the preview, and above the errors of the course.
    preview_template: ClassVar[str] = ""
    course_template: ClassVar[str] = ""
    # Whether the template of the course says all there is to say when all is done.
    has_own_end: ClassVar[bool] = False

    def __init__(self, site: AdminSite, request: HttpRequest, job: Job) -> None:
        self.site = site
        self.request = request
        self.job = job

    def title(self) -> str:
        """What was done is still to be read when the app whose kind it was is gone."""
        try:
            return jobs.handler_of(self.job).title(self.job)
        except KeyError:
            return self.job.kind

    def question(self) -> str:
        """The heading of the preview."""
        return self.title()

    def lead(self) -> str:
        return _("Nothing has been changed yet. Check the totals, give the reason, then confirm.")

    def cards(self) -> Iterable[Card]:
        """The totals of the preview."""
        return ()

    def notes(self) -> Iterable[Note]:
        """What changes the totals, or should make one think."""
        return ()

    def context(self) -> dict[str, Any]:
        """More for the template of the preview."""
        return {}

    def facts(self) -> Iterable[tuple[str, str]]:
        """The terms of the deed."""
        return ()

    def button(self) -> str:
        return _("Confirm")

    def undoing(self) -> str:
        """How it can be taken back."""
        return ""

    def results(self) -> Iterable[Card]:
        """What was moved so far."""
        return ()

    def counted(self, count: int) -> str:
        words = ngettext("%(count)s row", "%(count)s rows", count)
        return words % {"count": number(count)}

    def errors_heading(self) -> str:
        return _("Errors")

    def errors_lead(self, count: int) -> str:
        words = ngettext("%(count)s row, which is left as it was", "%(count)s rows, which are left as they were", count)
        return words % {"count": number(count)}

    def row_heading(self) -> str:
        return _("Row")

    def names(self, rows: Sequence[JobRow]) -> dict[int, tuple[str, str]]:
        """Text and address of each row, by its number."""
        return {}


Kind = TypeVar("Kind", bound=type[Panel])
_panels: dict[str, type[Panel]] = {}


def register(*kinds: str) -> Callable[[Kind], Kind]:
    def remember(panel: Kind) -> Kind:
        _panels.update(dict.fromkeys(kinds, panel))
        return panel

    return remember


def panel_of(site: AdminSite, request: HttpRequest, job: Job) -> Panel:
    return _panels.get(job.kind, Panel)(site, request, job)
