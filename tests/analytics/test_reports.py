"""Reports as files: their rows, their sums, who may have which columns, and that each run is kept."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timedelta
from datetime import timezone as utc
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from django_token_pricing import analytics, jobs
from django_token_pricing.analytics import reports
from django_token_pricing.analytics.reports import tables
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import (
    AccountSummary,
    AnalyticsExport,
    Anomaly,
    AnomalyRule,
    AuditEvent,
    Forecast,
    SummaryRefresh,
    TierAdvice,
    TokenAccount,
    UsageHour,
)
from tests import world
from tests.admin import site
from tests.analytics.rows import NOVEMBER, account, earned, month, used

pytestmark = pytest.mark.django_db

DAY = date(2026, 11, 10)
PERIOD = analytics.Period(NOVEMBER, date(2026, 12, 1))
MAY = ("view_analytics", "export_analytics", "view_costs")


def terms(report: str, group: str = "", **more: Any) -> reports.Terms:
    return reports.Terms(**{"report": report, "period": PERIOD, "group": group, "with_costs": True, **more})


def rows(asked: reports.Terms, table: int = 0) -> list[dict[str, Any]]:
    found = reports.tables_of(asked)[table]
    return [dict(zip([column.name for column in found.columns], row, strict=True)) for row in found.rows()]


def written(asked: reports.Terms, name: str) -> bytes:
    stream = io.BytesIO()
    list(reports.write(asked, name, stream, asked_by="ann@example.com"))
    return stream.getvalue()


# Usage


def test_usage_is_told_by_day_tier_model_and_feature() -> None:
    used(DAY, input_tokens=60, output_tokens=40, cached_tokens=10, unpriced=1)
    used(DAY, model="haiku", cost="0.5")
    used(PERIOD.until)
    first, second = rows(terms("usage", "day"))
    assert first == {
        "day": DAY,
        "tier": "team",
        "model": "gpt-4o",
        "feature": "chat",
        "requests": 1,
        "tokens": 100,
        "input_tokens": 60,
        "output_tokens": 40,
        "cached_tokens": 10,
        "cost": Decimal("0.01"),
        "uses_without_cost": 1,
    }
    assert (second["model"], second["cost"]) == ("haiku", Decimal("0.5"))


@pytest.mark.parametrize(("group", "first"), [("week", date(2026, 11, 9)), ("month", NOVEMBER)])
def test_usage_of_weeks_and_months_is_summed(group: str, first: date) -> None:
    for day in (DAY, DAY + timedelta(days=2)):
        used(day)
    (found,) = rows(terms("usage", group))
    assert (found[group], found["tokens"]) == (first, 200)


def test_usage_of_hours_comes_from_the_hours() -> None:
    at = datetime(2026, 11, 10, 14, tzinfo=utc.utc)
    UsageHour.objects.create(starts_at=at, day=DAY, hour=14, model="haiku", tokens=5, requests=1)
    (found,) = rows(terms("usage", "hour"))
    assert (found["hour"], found["model"], found["tokens"]) == (at, "haiku", 5)


def test_usage_has_a_part_for_each_dimension() -> None:
    used(DAY)
    used(DAY, model="haiku", tier="free")
    names = [table.name for table in reports.tables_of(terms("usage", "day"))]
    assert names == ["Usage", "By tier", "By model", "By feature"]
    assert [(row["tier"], row["tokens"]) for row in rows(terms("usage", "day"), 1)] == [("free", 100), ("team", 100)]


def test_usage_of_accounts_names_their_owners() -> None:
    person, pool = account("team"), TokenAccount.objects.create(pool=world.new_pool())
    closed = TokenAccount.objects.create()
    for one in (person, pool, closed):
        month(one)
    month(person, date(2026, 9, 1))
    found = rows(terms("usage", "account"))
    assert [(row["account"], row["owner"], row["month"]) for row in found] == [
        (person.pk, person.user.get_username(), NOVEMBER),
        (pool.pk, f"pool:{pool.pool.name}", NOVEMBER),
        (closed.pk, f"account:{closed.pk}", NOVEMBER),
    ]


def test_filters_leave_out_what_is_not_asked_for() -> None:
    used(DAY)
    used(DAY, model="haiku")
    used(DAY, model="haiku", tier="free")
    only = analytics.Slice(tiers=("team",), models=("haiku",))
    assert [(row["tier"], row["model"]) for row in rows(terms("usage", "day", only=only))] == [("team", "haiku")]


def test_long_tables_are_read_in_pages_without_loss_or_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE", 3)
    for place in range(14):
        used(DAY + timedelta(days=place // 5), model=f"m{place:02}")
    for group in ("day", "week"):
        assert [row["model"] for row in rows(terms("usage", group))] == [f"m{place:02}" for place in range(14)]
    for _ in range(8):
        one = account()
        for first in (date(2026, 10, 1), NOVEMBER):
            month(one, first)
    period = analytics.Period(date(2026, 10, 1), date(2026, 12, 1))
    found = [(row["account"], row["month"]) for row in rows(terms("usage", "account", period=period))]
    assert len(found) == len(set(found)) == 16
    assert found == sorted(found)


# Money


@pytest.mark.parametrize("report", ["usage", "utilisation", "forecast", "anomalies"])
def test_who_may_not_see_costs_gets_no_column_of_money(report: str) -> None:
    groups = [group for group, _text in reports.REPORTS[report].groups] or [""]
    for table in (one for group in groups for one in reports.tables_of(terms(report, group, with_costs=False))):
        names = {column.name for column in table.columns}
        assert not names & {"cost", "uses_without_cost", "revenue", "margin"}


def test_rows_are_as_short_as_their_columns_without_money() -> None:
    used(DAY)
    assert set(rows(terms("usage", "day", with_costs=False))[0]) == {
        *("day", "tier", "model", "feature", "requests", "tokens"),
        *("input_tokens", "output_tokens", "cached_tokens"),
    }


def test_costs_list_the_models_that_have_no_price() -> None:
    used(DAY)
    used(DAY, model="new", unpriced=1, cost=0)
    assert [row["model"] for row in rows(terms("cost", "model"))] == ["gpt-4o", "new"]
    assert [(row["model"], row["uses_without_cost"]) for row in rows(terms("cost", "model"), 2)] == [("new", 1)]


@pytest.mark.parametrize("group", ["model", "tier", "feature", "month"])
def test_lines_of_a_margin_add_up_to_its_last(group: str, settings: Any) -> None:
    settings.TOKEN_PRICING = {"EXCHANGE_RATES": {"EUR": "1.08"}}
    for place in range(4):
        used(DAY - timedelta(days=place), model=f"m{place}", cost=f"0.{place + 1}")
        earned(DAY, "1.5", "EUR" if place % 2 else "USD", model=f"m{place}")
    earned(DAY, "7", kind="expire")
    *lines, whole = rows(terms("margin", group))
    for name in ("requests", "tokens", "cost", "revenue", "margin"):
        assert sum(line[name] for line in lines) == whole[name]
    assert whole["revenue"] == Decimal("13.24")
    if group in ("model", "feature"):
        assert lines[-1][group] == "(expired unused)"


def test_a_margin_tells_what_was_earned_in_each_currency() -> None:
    earned(DAY, "5", "INR")
    (found,) = rows(terms("margin", "tier"), 1)
    assert (found["currency"], found["revenue"], found["converted"]) == ("INR", 5, None)


def test_the_margin_of_accounts_has_their_revenue() -> None:
    one = account("team")
    month(one, cost="1", revenue="4")
    (found,) = rows(terms("margin", "account"))
    assert (found["owner"], found["tier"]) == (one.user.get_username(), "team")
    assert (found["cost"], found["revenue"], found["margin"], found["margin_share"]) == (1, 4, 3, Decimal("0.75"))


# States


def test_utilisation_tells_tiers_suggestions_and_accounts() -> None:
    now = datetime(2026, 11, 20, tzinfo=utc.utc)
    totals = {"used_shares": {"team": {"tenth": 3, "dry": 1}}}
    SummaryRefresh.objects.create(started_at=now, seen_at=now, finished_at=now, totals=totals)
    TierAdvice.objects.create(tier="team", made_at=now, first_month=NOVEMBER, months=3, accounts=4, suggested=900)
    one = account("team")
    AccountSummary.objects.create(account=one, tier="team", available=75, granted=100, used=25, state="ok")
    (tier,) = rows(terms("utilisation", "tier"))
    assert (tier["tier"], tier["used_below_10_percent"], tier["ran_dry"], tier["had_none"]) == ("team", 3, 1, 0)
    assert rows(terms("utilisation", "tier"), 1)[0]["suggested"] == 900
    (found,) = rows(terms("utilisation", "account"))
    assert (found["account"], found["available"], found["used_share"]) == (one.pk, 75, Decimal("0.25"))


def test_of_forecasts_the_newest_of_each_is_told_for_the_days_asked_for() -> None:
    for hours, value in ((0, 5), (1, 7)):
        for metric in ("tokens", "cost"):
            Forecast.objects.create(
                metric=metric,
                method="ets",
                made_at=datetime(2026, 10, 31, hours, tzinfo=utc.utc),
                first_day=date(2026, 1, 1),
                last_day=date(2026, 10, 30),
                horizon=60,
                points=[["2026-10-31", 1, 0, 2], ["2026-11-01", value, 1.5, 9]],
                backtest={"mae": 3},
            )
    found = [(row["metric"], row["day"], row["value"], row["low"]) for row in rows(terms("forecast"))]
    assert found == [("cost", NOVEMBER, 7, Decimal("1.5")), ("tokens", NOVEMBER, 7, Decimal("1.5"))]
    assert [row["metric"] for row in rows(terms("forecast", with_costs=False))] == ["tokens"]
    assert rows(terms("forecast"), 1)[0]["back_test"] == '{"mae": 3}'


def test_anomalies_that_began_in_the_period_are_told_and_cost_spikes_only_with_costs() -> None:
    rule = AnomalyRule.objects.create(name="Odd", kind="seasonal")
    for kind, day in (("seasonal", 5), ("cost_spike", 6), ("burst", 30)):
        at = datetime(2026, 11, day, 12, tzinfo=utc.utc) + timedelta(days=1)
        times = {"starts_at": at, "ends_at": at, "found_at": at}
        Anomaly.objects.create(rule=rule, kind=kind, scope="site", target=kind, value=5, **times)
    assert [row["kind"] for row in rows(terms("anomalies"))] == ["seasonal", "cost_spike"]
    assert [row["kind"] for row in rows(terms("anomalies", with_costs=False))] == ["seasonal"]


# Files


def test_a_workbook_has_a_sheet_for_each_part_and_one_about_it() -> None:
    used(DAY)
    book = load_workbook(io.BytesIO(written(terms("usage", "day"), "xlsx")))
    assert book.sheetnames == ["Usage", "By tier", "By model", "By feature", "About"]
    assert book["Usage"]["A2"].is_date
    assert book["Usage"]["F2"].value == 100
    told = dict(book["About"].iter_rows(min_row=2, values_only=True))
    assert (told["asked_by"], told["first_day"], told["last_day"]) == ("ann@example.com", "2026-11-01", "2026-11-30")
    assert (told["zone"], told["rows"], told["currency"]) == (str(analytics.zone()), "4", "USD")


def test_json_has_the_same_parts_with_exact_numbers() -> None:
    used(DAY, cost="0.000000000001")
    found = json.loads(written(terms("usage", "day"), "json"))
    assert list(found) == ["Usage", "By tier", "By model", "By feature", "About"]
    assert found["Usage"][0]["cost"] == "0.000000000001"


def test_csv_has_the_first_part_and_runs_no_formula() -> None:
    used(DAY, model='=HYPERLINK("x")', feature="+SUM(A1)")
    text = written(terms("usage", "day"), "csv").decode("utf-8-sig")
    (found,) = csv.DictReader(io.StringIO(text))
    assert (found["model"], found["feature"]) == ('\'=HYPERLINK("x")', "'+SUM(A1)")


@pytest.mark.parametrize("name", ["csv", "xlsx", "json"])
@pytest.mark.parametrize("report", reports.REPORTS)
def test_each_report_can_be_empty(report: str, name: str) -> None:
    groups = [group for group, _text in reports.REPORTS[report].groups] or [""]
    assert all(written(terms(report, group), name) for group in groups)


def test_rows_are_counted_up_to_a_cap() -> None:
    for place in range(6):
        used(DAY, model=f"m{place}")
    assert reports.count(terms("usage", "day"), 100) == 6 + 1 + 6 + 1
    assert reports.count(terms("usage", "day"), 3) == 4


def test_how_many_rows_there_are_changes_no_number_of_queries_of_a_small_file() -> None:
    def ask() -> int:
        with CaptureQueriesContext(connection) as queries:
            written(terms("margin", "model"), "xlsx")
        return len(queries)

    few = ask()
    for place in range(30):
        used(DAY, model=f"m{place}")
    assert ask() == few


def test_a_grouping_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be grouped"):
        reports.tables_of(terms("cost", "account"))


# Runs


def test_terms_come_back_from_what_is_stored() -> None:
    only = analytics.Slice(models=("a", "b"), features=("",))
    asked = terms("usage", "week", only=only)
    assert reports.Terms.restored(json.loads(json.dumps(asked.stored()))) == asked


def test_each_run_is_kept_with_who_what_and_how_many() -> None:
    person = site.staff(*MAY)
    run = reports.record(terms("usage", "day"), "xlsx", actor=person, reason="Board", rows=12)
    assert (run.report, run.format, run.rows, run.filters["first"]) == ("usage", "xlsx", 12, "2026-11-01")
    event = AuditEvent.objects.get()
    assert (event.action, str(event.actor_id), event.reason, event.count) == (
        "export.analytics",
        str(person.pk),
        "Board",
        12,
    )


def finished(asked: reports.Terms, person: Any, name: str = "csv") -> AnalyticsExport:
    run = reports.ask(asked, name, actor=person, key=uuid4())
    jobs.work(run.job_id)
    run.refresh_from_db()
    return run


def test_a_job_writes_the_file_of_many_rows() -> None:
    used(DAY)
    run = finished(terms("usage", "day"), site.staff(*MAY))
    assert run.job is not None
    assert (run.job.status, run.rows) == ("done", 1)
    assert b"".join(jobs.pieces(run.job)).decode("utf-8-sig").splitlines()[1].startswith("2026-11-10,team,gpt-4o")


def test_a_form_sent_twice_is_one_run() -> None:
    person, key = site.staff(*MAY), uuid4()
    first, again = (reports.ask(terms("usage", "day"), "csv", actor=person, key=key) for _ in range(2))
    assert first == again
    assert AnalyticsExport.objects.count() == AuditEvent.objects.filter(action="export.analytics").count() == 1


def test_who_may_not_see_costs_any_more_gets_no_file_of_them() -> None:
    person = site.staff("view_analytics", "export_analytics")
    run = finished(terms("usage", "day"), person)
    assert run.job is not None
    assert run.job.status == "failed"
    assert not reports.may_export(person, with_costs=True)
    assert finished(terms("usage", "day", with_costs=False), person).rows == 0
