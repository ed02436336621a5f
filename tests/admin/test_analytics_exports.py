"""Reports as files: the page that asks for them, the list of who took which, and who may."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from openpyxl import load_workbook

from django_token_pricing import analytics, jobs
from django_token_pricing.admin.analytics import exports
from django_token_pricing.analytics import reports
from django_token_pricing.models import AnalyticsExport, AuditEvent, Forecast, Job
from tests.admin import site
from tests.analytics.rows import account, month, used

pytestmark = pytest.mark.django_db

As = Callable[[Any], Client]
URL = "admin:django_token_pricing_usageday_exports"


@pytest.fixture
def analyst() -> Any:
    return site.staff("view_analytics", "export_analytics", "view_costs", "view_analyticsexport")


@pytest.fixture
def clerk() -> Any:
    """May export, and not see costs."""
    return site.staff("view_analytics", "export_analytics")


def url(query: str = "") -> str:
    return f"{reverse(URL)}?{query}" if query else reverse(URL)


def given(group: str = "day", name: str = "csv", **more: str) -> dict[str, str]:
    return {"key": str(uuid4()), "format": name, "group": group, **more}


def content(response: Any) -> bytes:
    assert response.status_code == 200, response.status_code
    assert response.streaming, response.content.decode()
    return b"".join(response.streaming_content)


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def today() -> date:
    return analytics.today()


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than three rows are many."""
    monkeypatch.setattr(exports, "MOST_COUNTED", 3)


# Who may


@pytest.mark.parametrize("may", [["view_analytics"], ["export_analytics"], ["view_costs"], []])
def test_the_page_needs_both_permissions(as_: As, may: list[str]) -> None:
    client = as_(site.staff(*may))
    assert client.get(url()).status_code == 403
    assert client.post(url(), given()).status_code == 403


@pytest.mark.parametrize("report", ["cost", "margin"])
def test_reports_about_money_are_for_who_may_see_costs(as_: As, clerk: Any, analyst: Any, report: str) -> None:
    client = as_(clerk)
    assert client.get(url(f"report={report}")).status_code == 403
    assert client.post(url(f"report={report}"), given("model")).status_code == 403
    assert f"report={report}" not in client.get(url()).content.decode()
    assert as_(analyst).get(url(f"report={report}")).status_code == 200


def test_without_the_permission_no_column_has_costs(as_: As, clerk: Any) -> None:
    used(today())
    (row,) = table(content(as_(clerk).post(url(), given())))
    assert "tokens" in row
    assert not {"cost", "uses_without_cost"} & row.keys()


# Files


def test_the_file_has_what_was_filtered_on_the_page_before(as_: As, analyst: Any) -> None:
    used(today())
    used(today(), model="haiku")
    used(today() - timedelta(days=40), model="haiku")
    rows = table(content(as_(analyst).post(url("range=7&model=haiku"), given())))
    assert [(row["day"], row["model"], row["cost"]) for row in rows] == [(str(today()), "haiku", "0.01")]


def test_what_names_no_model_can_be_asked_for(as_: As, analyst: Any) -> None:
    used(today())
    used(today(), model="")
    (row,) = table(content(as_(analyst).post(url("model=(none)"), given())))
    assert row["model"] == ""


@pytest.mark.parametrize("report", reports.REPORTS)
@pytest.mark.parametrize("name", ["csv", "xlsx", "json"])
def test_each_report_comes_in_each_format(as_: As, analyst: Any, report: str, name: str) -> None:
    groups = [group for group, _text in reports.REPORTS[report].groups] or [""]
    response = as_(analyst).post(url(f"report={report}"), given(groups[0], name))
    data = content(response)
    assert f"{report}-{today()}.{name}" in response["Content-Disposition"]
    if name == "xlsx":
        assert load_workbook(io.BytesIO(data)).sheetnames[-1] == "About"
    if name == "json":
        assert json.loads(data)["About"][0] == {"what": "report", "value": report}


def test_a_forecast_is_of_the_days_to_come(as_: As, analyst: Any) -> None:
    ahead = [str(today() + timedelta(days=days)) for days in (-1, 1, 80)]
    Forecast.objects.create(
        metric="tokens",
        method="ets",
        made_at="2026-11-01T00:00Z",
        first_day=today(),
        last_day=today(),
        horizon=90,
        points=[[day, 1, 0, 2] for day in ahead],
    )
    rows = table(content(as_(analyst).post(url("report=forecast"), {"key": str(uuid4()), "format": "csv"})))
    assert [row["day"] for row in rows] == ahead[1:]


def test_accounts_cannot_be_filtered_by_model(as_: As, analyst: Any) -> None:
    month(account(), today().replace(day=1))
    client = as_(analyst)
    response = client.post(url("model=haiku"), given("account"))
    assert "Take these filters out first." in response.content.decode()
    assert len(table(content(client.post(url(), given("account"))))) == 1


@pytest.mark.parametrize(
    "query", ["range=custom&first=2026-12-01&last=2026-01-01", "range=custom&first=1900-01-01&last=2026-01-01"]
)
def test_days_that_cannot_be_make_no_file(as_: As, analyst: Any, query: str) -> None:
    response = as_(analyst).post(url(query), given())
    assert not response.streaming
    assert not AnalyticsExport.objects.exists()


@pytest.mark.parametrize("wrong", [{"format": "exe"}, {"group": "colour"}, {"key": "x"}, {"reason": "x" * 501}])
def test_a_form_with_nonsense_is_shown_again(as_: As, analyst: Any, wrong: dict[str, str]) -> None:
    assert not as_(analyst).post(url(), {**given(), **wrong}).streaming


def test_a_report_that_there_is_not_is_the_first_one(as_: As, analyst: Any) -> None:
    assert "Usage" in as_(analyst).get(url("report=zzz")).content.decode()


# Runs


def test_each_file_is_kept_in_the_audit_trail_and_in_the_list(as_: As, analyst: Any) -> None:
    used(today())
    client = as_(analyst)
    content(client.post(url("range=7"), given(reason="For the board")))
    run = AnalyticsExport.objects.get()
    assert (run.report, run.format, run.rows, run.job) == ("usage", "csv", 1, None)
    assert (run.event.reason, run.event.count, str(run.event.actor_id)) == ("For the board", 1, str(analyst.pk))
    for address in (url(), site.lists(AnalyticsExport), site.page(run)):
        found = client.get(address).content.decode()
        assert analyst.get_username() in found
        assert "CSV" in found


def test_the_list_of_runs_is_only_looked_at(as_: As, analyst: Any, owner: Any) -> None:
    run = reports.record(reports.Terms("usage", analytics.Period.of_days(7, last=today())), "csv", actor=analyst)
    client = as_(owner)
    assert client.get(site.page(run)).status_code == 200
    opts = "admin:django_token_pricing_analyticsexport"
    assert client.get(reverse(f"{opts}_add")).status_code == 403
    assert client.post(reverse(f"{opts}_delete", args=[run.pk])).status_code == 403
    assert as_(site.staff("view_analytics")).get(site.lists(AnalyticsExport)).status_code == 403


@pytest.mark.usefixtures("many")
def test_many_rows_are_a_job_whose_file_can_be_had_by_who_asked(as_: As, analyst: Any, clerk: Any) -> None:
    for place in range(5):
        used(today(), model=f"m{place}")
    client = as_(analyst)
    response = client.post(url(), given())
    job = Job.objects.get()
    assert response["Location"] == site.page(job)
    jobs.work(job.pk)
    page = client.get(site.page(job)).content.decode()
    download = reverse("admin:django_token_pricing_job_download", args=[job.pk])
    assert download in page
    assert len(table(content(client.get(download)))) == 5
    assert AnalyticsExport.objects.get().rows == 5
    assert as_(clerk).get(download).status_code == 403


@pytest.mark.usefixtures("many")
def test_a_file_with_costs_is_gone_for_who_may_not_see_them_any_more(as_: As, analyst: Any) -> None:
    for place in range(5):
        used(today(), model=f"m{place}")
    client = as_(analyst)
    client.post(url(), given())
    job = Job.objects.get()
    jobs.work(job.pk)
    download = reverse("admin:django_token_pricing_job_download", args=[job.pk])
    analyst.user_permissions.remove(analyst.user_permissions.get(codename="view_costs"))
    assert client.get(download).status_code == 403


@pytest.mark.usefixtures("many")
def test_a_form_sent_twice_makes_one_job(as_: As, analyst: Any) -> None:
    for place in range(5):
        used(today(), model=f"m{place}")
    client, form = as_(analyst), given()
    for _ in range(2):
        client.post(url(), form)
    assert Job.objects.count() == AnalyticsExport.objects.count() == 1
    assert AuditEvent.objects.filter(action="export.analytics").count() == 1


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as found:
        assert client.get(address).status_code == 200
    return len(found)


def test_page_and_list_take_as_many_queries_with_many_runs(as_: As, analyst: Any) -> None:
    client = as_(analyst)
    terms = reports.Terms("usage", analytics.Period.of_days(7, last=today()), group="day")
    reports.record(terms, "csv", actor=analyst)
    few = [queries(client, address) for address in (url(), site.lists(AnalyticsExport))]
    for _ in range(30):
        reports.record(terms, "csv", actor=analyst)
    assert [queries(client, address) for address in (url(), site.lists(AnalyticsExport))] == few
    assert max(few) <= site.MOST_QUERIES
