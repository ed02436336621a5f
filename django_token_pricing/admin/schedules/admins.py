"""The page of schedules: a row for each scheduled task, and below it the log of runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.filters import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from kombu.exceptions import KombuError

from django_token_pricing import audit
from django_token_pricing.admin.base.markup import badge
from django_token_pricing.admin.base.mixins import ReadOnlyAdmin, list_url
from django_token_pricing.admin.base.wording import NOTHING, exact_moment
from django_token_pricing.admin.schedules import overview, wording
from django_token_pricing.models import Job, ScheduledRun
from django_token_pricing.schedules import SCHEDULES
from django_token_pricing.tasks import runs


class TaskFilter(SimpleListFilter):
    """Of what is scheduled; a DISTINCT over the log would find tasks of the past as well."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(schedule.task, schedule.name) for schedule in SCHEDULES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(task=self.value()) if self.value() else queryset


@admin.register(ScheduledRun)
class ScheduledRunAdmin(ReadOnlyAdmin):
    change_list_template = "django_token_pricing/admin/schedules/schedules.html"
    section = [(Job, _("Jobs")), (ScheduledRun, _("Schedules"))]
    section_name = _("Operations")
    list_display = ["name", "started", "took", "state", "what", "worker"]
    list_filter = [TaskFilter, "outcome"]
    parameters = ["outcome", "task"]
    search_fields = ["worker"]
    search_help_text = _("Name of the worker, from the first letters")
    readonly_fields = ["name", "started", "finished", "took", "state", "what"]
    fields = ["name", "task", "started", "finished", "took", "state", "what", "problem", "worker"]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_run"
        return [path("run/", self.admin_site.admin_view(self.run_view), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context: dict[str, Any] = {"title": gettext("Schedules"), **(extra_context or {})}
        # Who has filtered the log, or pages through it, looks at the log.
        if self.has_view_permission(request) and not request.GET:
            context |= {
                "schedules": overview.rows(self.admin_site, request, timezone.now()),
                "may_run": self._may_run(request),
                "run_url": self._run_url(),
            }
        else:
            context["all_url"] = list_url(self.admin_site, ScheduledRun)
        return super().changelist_view(request, context)

    def _may_run(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(f"{self.opts.app_label}.run_tasks")

    def _run_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_run", current_app=self.admin_site.name)

    def run_view(self, request: HttpRequest) -> HttpResponse:
        """Send one task to the broker now, besides its schedule."""
        if not self._may_run(request):
            raise PermissionDenied
        if request.method == "POST":
            task = request.POST.get("task", "")
            if any(schedule.task == task for schedule in SCHEDULES):
                self._run(request, task)
            else:
                messages.error(request, gettext("There is no such task. Nothing was sent."))
        return HttpResponseRedirect(list_url(self.admin_site, ScheduledRun))

    def _run(self, request: HttpRequest, task: str) -> None:
        name = wording.name_of(task)
        try:
            with transaction.atomic(using=router.db_for_write(ScheduledRun)):
                actor: Any = request.user
                audit.record("schedules.run", actor=actor, changes={"task": (None, task)})
                runs.send(task)
        # A broker on files or sockets may also fail in the system's own ways.
        except (KombuError, OSError):
            told = gettext(
                "No broker was reached, so “%(name)s” was not sent. Nothing is lost: it runs at its next time once the"
                " broker is back."
            )
            messages.error(request, told % {"name": name})
            return
        told = gettext("“%(name)s” was sent to the workers. Its run is in the log as soon as one has taken it up.")
        messages.success(request, told % {"name": name})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(worker__startswith=term) if term else queryset), False

    # Columns

    @admin.display(description=_("what"))
    def name(self, row: Any) -> str:
        return wording.name_of(row.task)

    @admin.display(description=_("started"))
    def started(self, row: Any) -> str:
        return exact_moment(row.started_at)

    @admin.display(description=_("finished"))
    def finished(self, row: Any) -> str:
        return exact_moment(row.finished_at) if row.finished_at else NOTHING

    @admin.display(description=_("took"))
    def took(self, row: Any) -> str:
        return wording.took(row)

    @admin.display(description=_("outcome"))
    def state(self, row: Any) -> SafeString:
        state, symbol = wording.OUTCOMES[row.outcome]
        return badge(state, str(row.get_outcome_display()), symbol)

    @admin.display(description=_("result"))
    def what(self, row: Any) -> str:
        return wording.result(row)
