"""Lists as files: what is on screen, for those who may, in each format, at once or by a job."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from openpyxl import load_workbook

from django_token_pricing import jobs, tokens
from django_token_pricing.admin.base import exports, paginator
from django_token_pricing.choices import JobStatus
from django_token_pricing.lib import lot_columns, sheet_writers
from django_token_pricing.lib.sheets import open_sheet, unescaped
from django_token_pricing.models import (
    AuditEvent,
    Job,
    JobFile,
    LedgerEntry,
    Purchase,
    TokenAccount,
    TokenAllocation,
    TokenPool,
    TokenUsageLog,
)
from django_token_pricing.tokens.allocation_lines import Columns
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

MODELS: list[type[Any]] = [TokenAccount, TokenAllocation, LedgerEntry, TokenUsageLog, Purchase, AuditEvent]
EACH = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
EXPORT = [f"export_{model._meta.model_name}" for model in MODELS]
FORMATS = pytest.mark.parametrize("name", sheet_writers.FORMATS)
Login = Callable[[Any], Client]


def url(model: type[Any], query: str = "") -> str:
    address = reverse(f"admin:django_token_pricing_{model._meta.model_name}_export")
    return f"{address}?{query}" if query else address


def given(name: str = "csv", **more: str) -> dict[str, str]:
    return {"key": str(uuid4()), "format": name, **more}


def content(response: Any) -> bytes:
    assert response.status_code == 200, response.status_code
    return b"".join(response.streaming_content)


def table(data: bytes) -> list[dict[str, str]]:
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def exported(client: Client, model: type[Any], query: str = "") -> list[dict[str, str]]:
    return table(content(client.post(url(model, query), given())))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than three rows are many, and pages hold two."""
    monkeypatch.setattr(paginator, "MOST_COUNTED", 3)
    monkeypatch.setattr(exports, "PAGE", 2)


# Who may


@EACH
def test_a_file_needs_its_own_permission_and_the_one_to_look(
    model: type[Any],
    as_: Login,
    viewer: Any,
    operator: Any,
    staff_without_permission: Any,
    owner: Any,
) -> None:
    site.customer()
    name = model._meta.model_name
    others = [other for other in EXPORT if other != f"export_{name}"]
    for person in (
        staff_without_permission,
        viewer,
        operator,
        site.staff(*site.VIEW, *others),
        site.staff(f"export_{name}"),
    ):
        client = as_(person)
        assert client.get(url(model)).status_code == 403
        assert client.post(url(model), given()).status_code == 403
        response = client.get(site.lists(model))
        assert response.status_code == 403 or url(model) not in response.content.decode()
    assert not AuditEvent.objects.filter(action__startswith="export.").exists()
    for person in (owner, site.staff(f"view_{name}", f"export_{name}")):
        client = as_(person)
        assert f'href="{url(model)}"' in client.get(site.lists(model)).content.decode()
        assert client.get(url(model)).status_code == 200
        assert exported(client, model)


@EACH
def test_strangers_are_sent_to_the_login(model: type[Any], client: Client, as_: Login, stranger: Any) -> None:
    site.customer()
    for asking in (client, as_(stranger)):
        for response in (asking.get(url(model)), asking.post(url(model), given())):
            assert response.status_code == 302
            assert "/login/" in response["Location"]


def test_costs_are_for_those_who_may_see_them(as_: Login, owner: Any) -> None:
    site.customer()
    (row,) = exported(as_(owner), TokenUsageLog)
    assert Decimal(row["cost"]) == Decimal("0.25")
    client = as_(site.staff("view_tokenusagelog", "export_tokenusagelog"))
    (row,) = exported(client, TokenUsageLog)
    assert "cost" not in row
    assert "cost" not in client.get(url(TokenUsageLog)).context["columns"]


# What is in the file


@EACH
def test_the_rows_are_those_on_screen_in_their_order(model: type[Any], owners_client: Client) -> None:
    customers = [site.customer(number) for number in range(3)]
    login = customers[1].user.get_username()
    account, today = customers[1].account.pk, timezone.localdate()
    queries = [f"q={login}", f"account={account}", f"account={account}&from={today}", f"to={today - timedelta(days=1)}"]
    for query in queries if model not in (TokenAccount, AuditEvent) else [f"q={login}", "q=nobody"]:
        if model is TokenAllocation and "=20" in query:
            continue
        rows = owners_client.get(f"{site.lists(model)}?{query}").context["cl"].result_list
        assert len(exported(owners_client, model, query)) == len(rows), query
    keys = [row.pk for row in owners_client.get(site.lists(model)).context["cl"].result_list]
    at = {TokenAllocation: "number", LedgerEntry: "number"}.get(model)
    found = exported(owners_client, model)
    assert len(found) >= len(keys)
    if at:
        assert [int(row[at]) for row in found] == keys


@pytest.mark.parametrize("sign", ["", "-"])
def test_balances_come_as_the_list_is_sorted(sign: str, owners_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (5, 1, 9, 3):
        site.customer(number)
    tokens.refresh_summaries()
    columns = owners_client.get(site.lists(TokenAccount)).context["cl"].list_display
    query = f"o={sign}{columns.index('available')}"
    shown = owners_client.get(f"{site.lists(TokenAccount)}?{query}").context["cl"].result_list
    found = exported(owners_client, TokenAccount, query)
    assert [row["available"] for row in found] == [str(row.live.available) for row in shown]
    monkeypatch.setattr(paginator, "MOST_COUNTED", 2)
    monkeypatch.setattr(exports, "PAGE", 2)
    job = written(asked(owners_client, TokenAccount, query))
    everything = table(content(owners_client.get(file_of(job))))
    assert sorted(row["owner"] for row in everything) == sorted(row["owner"] for row in found)


def test_the_link_keeps_the_filters(owners_client: Client) -> None:
    account = site.customer().account.pk
    page = owners_client.get(f"{site.lists(LedgerEntry)}?account={account}&kind__exact=grant").content.decode()
    assert f'href="{url(LedgerEntry)}?account={account}&amp;kind__exact=grant"' in page
    shown = owners_client.get(url(LedgerEntry, f"account={account}&kind__exact=grant"))
    assert "1 ledger entry" in shown.content.decode()
    assert [name for name, _value in shown.context["filters"]] == ["account", "entry"]


def test_balances_are_live_with_the_sums_of_the_month(owners_client: Client) -> None:
    customer = site.customer()
    pool = TokenPool.objects.get()
    tokens.grant(pool, 7, source="purchase")
    closed = site.customer()
    closed.user.delete()
    tokens.refresh_summaries()
    tokens.consume(customer.user, 900, key="more")
    rows = {row["owner"]: row for row in exported(owners_client, TokenAccount)}
    mine = rows[customer.user.get_username()]
    assert {name: mine[name] for name in list(mine)[2:7]} == {
        "available": "8950",
        "held": "50",
        "total": "9000",
        "granted_this_month": "10000",
        "used_this_month": "100",
    }
    assert datetime.fromisoformat(mine["next_expiry"]) > timezone.now()
    assert datetime.fromisoformat(mine["last_used_at"]) <= timezone.now()
    assert rows[f"pool:{pool.name}"]["available"] == "7"
    assert f"account:{closed.account.pk}" in rows


def test_a_lot_has_all_that_an_import_reads(owners_client: Client) -> None:
    user, starts = world.new_user(), timezone.now() + timedelta(days=1)
    tokens.grant(
        user,
        2**62,
        source="purchase",
        key="=order:1",
        priority=7,
        starts_at=starts,
        expires_at=starts + timedelta(days=30, microseconds=1),
        paid=(Decimal("19.90"), "EUR"),
        reason='- said "thanks",\nand more',
    )
    (row,) = exported(owners_client, TokenAllocation)
    lot = TokenAllocation.objects.get()
    assert list(row) == lot_columns.READ + lot_columns.TOLD
    assert {name: unescaped(cell) for name, cell in row.items()} == {
        "owner": user.get_username(),
        "amount": str(2**62),
        "source": "purchase",
        "starts_at": lot.starts_at.isoformat(timespec="microseconds"),
        "expires_at": lot.expires_at.isoformat(timespec="microseconds"),
        "priority": "7",
        "paid_amount": "19.9000",
        "paid_currency": "EUR",
        "key": "=order:1",
        "reason": '- said "thanks",\nand more',
        "left": str(2**62),
        "booked_at": lot.booked_at.isoformat(timespec="microseconds"),
        "number": str(lot.pk),
    }


def test_an_import_knows_every_column_that_is_meant_for_it() -> None:
    columns = Columns.of(lot_columns.READ + lot_columns.TOLD)
    assert sorted(columns.places) == sorted(lot_columns.READ)
    assert columns.ignored == lot_columns.TOLD


def test_an_owner_whose_login_reads_like_a_pool_goes_by_number(owners_client: Client) -> None:
    user = world.new_user()
    setattr(user, user.USERNAME_FIELD, "Pool:x")
    user.save()
    tokens.grant(user, 5, source="manual")
    (row,) = exported(owners_client, TokenAllocation)
    assert row["owner"] == str(user.pk)


def test_an_entry_says_what_for_and_why(owners_client: Client) -> None:
    customer = site.customer()
    consumed, granted = exported(owners_client, LedgerEntry)
    assert (consumed["kind"], consumed["amount"], consumed["feature"], consumed["model"]) == (
        "consume",
        "-100",
        "chat",
        "gpt-4o",
    )
    assert consumed["use_key"].startswith("use:")
    assert (granted["owner"], granted["reason"], granted["source"]) == (
        customer.user.get_username(),
        "Goodwill",
        "manual",
    )
    assert granted["event"]


def test_an_event_has_its_changes_as_text(owners_client: Client) -> None:
    user = world.new_user()
    tokens.grant(user, 5, source="manual", reason="Ä", actor=site.staff())
    (row,) = exported(owners_client, AuditEvent)
    event = AuditEvent.objects.exclude(action__startswith="export.").get()
    assert json.loads(row["changes"]) == event.changes
    assert (row["action"], row["actor"], row["reason"], row["count"]) == ("tokens.grant", event.actor_label, "Ä", "1")


@FORMATS
def test_every_format_says_the_same(name: str, owners_client: Client) -> None:
    customer = site.customer(feature="=cmd|' /C calc'!A0")
    response = owners_client.post(url(TokenUsageLog), given(name))
    assert response["Content-Type"] == sheet_writers.FORMATS[name].content_type
    data = content(response)
    if name == "json":
        (row,) = json.loads(data)
    else:
        with open_sheet(io.BytesIO(data)) as sheet:
            ((_line, cells, _problem),) = list(sheet.rows)
            row = dict(zip(sheet.columns, map(unescaped, cells), strict=True))
    assert row["feature"] == "=cmd|' /C calc'!A0"
    assert (row["owner"], int(row["amount"])) == (customer.user.get_username(), 100)
    assert row["is_charged"] in (True, "TRUE")
    if name == "xlsx":
        workbook = load_workbook(io.BytesIO(data)).active
        assert workbook is not None
        assert {cell.data_type for line in workbook.iter_rows() for cell in line} <= {"s", "n", "b"}
    elif name == "csv":
        assert b",'=cmd" in data


def test_the_file_has_a_name_and_is_kept_by_nobody_else(owners_client: Client) -> None:
    site.customer()
    response = owners_client.post(url(TokenAllocation), given("xlsx"))
    content(response)
    assert f'attachment; filename="allocations-{timezone.localdate()}' in response["Content-Disposition"]
    assert "no-store" in response["Cache-Control"]


# What it costs, and what is kept of it


@EACH
def test_a_file_takes_as_many_queries_for_30_rows_as_for_one(model: type[Any], owners_client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            content(owners_client.post(url(model), given()))
        assert not [query for query in captured if "password" in query["sql"] and "session" not in query["sql"]][1:]
        return len(captured)

    site.customer()
    queries()
    one = queries()
    for number in range(29):
        site.customer(number)
    assert queries() == one


@EACH
def test_who_took_what_is_in_the_audit_trail(model: type[Any], owners_client: Client, owner: Any) -> None:
    site.customer(), site.customer()
    query = f"q={owner.get_username()}" if model is AuditEvent else "q=user"
    count = len(table(content(owners_client.post(url(model, query), given(reason="For the auditors")))))
    (event,) = AuditEvent.objects.filter(action__startswith="export.")
    assert (event.action, event.count, event.actor) == (f"export.{model._meta.model_name}", count, owner)
    assert event.reason == "For the auditors"
    assert event.changes == {"q": [None, query[2:]], "format": [None, "csv"]}


def test_looking_at_the_page_writes_nothing(owners_client: Client) -> None:
    site.customer()
    before = AuditEvent.objects.count(), Job.objects.count()
    assert owners_client.get(url(TokenAccount)).status_code == 200
    assert (AuditEvent.objects.count(), Job.objects.count()) == before


@pytest.mark.parametrize(("query", "status"), [("from=nonsense", 400), ("account__user__email=x", 400), ("p=7", 200)])
def test_odd_addresses_are_answered(query: str, status: int, owners_client: Client) -> None:
    site.customer()
    assert owners_client.get(url(LedgerEntry, query)).status_code == status


@pytest.mark.parametrize("odd", [{"format": "pdf"}, {"format": ""}, {"key": "x"}, {"reason": "x" * 501}])
def test_odd_forms_are_shown_again(odd: dict[str, str], owners_client: Client) -> None:
    site.customer()
    response = owners_client.post(url(LedgerEntry), {**given(), **odd})
    assert response.status_code == 200
    assert not response.streaming
    assert not AuditEvent.objects.filter(action__startswith="export.").exists()


def test_what_excel_cannot_hold_is_told_before_anything_is_sent(owners_client: Client) -> None:
    tokens.grant(world.new_user(), 5, source="manual", reason="x" * 40_000)
    response = owners_client.post(url(TokenAllocation), given("xlsx"))
    assert "Choose CSV" in response.content.decode()
    assert not AuditEvent.objects.filter(action__startswith="export.").exists()


# Many rows


def asked(client: Client, model: type[Any], query: str = "", **form: Any) -> Job:
    response = client.post(url(model, query), given(**form))
    job = Job.objects.latest("pk")
    assert response.status_code == 302
    assert response["Location"] == site.page(job)
    return job


def written(job: Job) -> Job:
    jobs.work(job.pk)
    job.refresh_from_db()
    return job


def file_of(job: Job) -> str:
    return reverse("admin:django_token_pricing_job_download", args=[job.pk])


@FORMATS
@EACH
def test_many_rows_become_a_job_whose_file_is_the_same(
    name: str, model: type[Any], owners_client: Client, monkeypatch: pytest.MonkeyPatch, owner: Any
) -> None:
    for number in range(3):
        site.customer(number)
    query = "q=user" if model is not AuditEvent else "from=2026-01-01"
    at_once = content(owners_client.post(url(model, query), given(name)))
    AuditEvent.objects.filter(action__startswith="export.")._raw_delete(connection.alias)
    monkeypatch.setattr(paginator, "MOST_COUNTED", 2)
    monkeypatch.setattr(exports, "PAGE", 2)
    job = written(asked(owners_client, model, query, name=name, reason="For the auditors"))
    assert (job.status, job.problem) == (JobStatus.DONE, "")
    response = owners_client.get(file_of(job))
    assert content(response) == at_once
    assert response["Content-Type"] == sheet_writers.FORMATS[name].content_type
    assert job.file_name in response["Content-Disposition"]
    assert "no-store" in response["Cache-Control"]
    (event,) = AuditEvent.objects.filter(action__startswith="export.")
    assert (event.count, event.actor, event.reason) == (job.done, owner, "For the auditors")


def test_ten_thousand_rows_are_sent_and_one_more_is_a_job(owners_client: Client) -> None:
    account = site.customer().account
    now = timezone.now()
    uses = [
        TokenUsageLog(account=account, amount=number, is_charged=False, used_at=now, booked_at=now)
        for number in range(9_999)
    ]
    TokenUsageLog.objects.bulk_create(uses, batch_size=1_000)
    assert len(exported(owners_client, TokenUsageLog)) == 10_000
    TokenUsageLog.objects.create(account=account, amount=1, is_charged=False, used_at=now, booked_at=now)
    job = written(asked(owners_client, TokenUsageLog))
    assert job.done == job.total == 10_001
    assert JobFile.objects.filter(job=job).count() > 1
    assert max(len(piece) for piece in jobs.pieces(job)) <= 256 << 10
    rows = table(content(owners_client.get(file_of(job))))
    assert len(rows) == 10_001
    assert rows[1:3] == exported(owners_client, TokenUsageLog, f"account={account.pk}&to=1999-01-01") + rows[1:3]


@pytest.mark.usefixtures("few")
def test_rows_of_an_account_are_read_by_its_moments(owners_client: Client) -> None:
    customer = site.customer()
    for _number in range(5):
        tokens.grant(customer.user, 5, source="manual")
    site.customer()
    job = written(asked(owners_client, LedgerEntry, f"account={customer.account.pk}"))
    rows = table(content(owners_client.get(file_of(job))))
    entries = LedgerEntry.objects.filter(account=customer.account).order_by("-booked_at", "-pk")
    assert [int(row["number"]) for row in rows] == list(entries.values_list("pk", flat=True))


@pytest.mark.usefixtures("few")
def test_no_page_of_a_job_is_read_by_its_offset(owners_client: Client) -> None:
    for number in range(3):
        site.customer(number)
    job = asked(owners_client, LedgerEntry)
    with CaptureQueriesContext(connection) as captured:
        written(job)
    assert not [query for query in captured if "OFFSET" in query["sql"].upper()]


@pytest.mark.usefixtures("few")
def test_a_job_is_worked_with_the_permissions_of_now(as_: Login, owner: Any) -> None:
    for number in range(3):
        site.customer(number)
    person = site.staff("view_ledgerentry", "export_ledgerentry")
    client = as_(person)
    job = asked(client, LedgerEntry)
    person.user_permissions.clear()
    assert written(job).status == JobStatus.FAILED
    assert "may not have it any more" in job.problem
    assert not JobFile.objects.exists()
    job = asked(as_(site.staff("view_ledgerentry", "export_ledgerentry")), LedgerEntry)
    job.actor.delete()
    assert written(job).status == JobStatus.FAILED


@pytest.mark.usefixtures("few")
def test_only_who_asked_and_superusers_may_have_the_file(as_: Login, owner: Any) -> None:
    for number in range(3):
        site.customer(number)
    may = ["view_ledgerentry", "export_ledgerentry", "view_job"]
    person, colleague = site.staff(*may), site.staff(*may)
    job = written(asked(as_(person), LedgerEntry))
    assert f'href="{file_of(job)}"' in as_(person).get(site.page(job)).content.decode()
    assert f'href="{file_of(job)}"' not in as_(colleague).get(site.page(job)).content.decode()
    assert as_(colleague).get(file_of(job)).status_code == 403
    assert content(as_(owner).get(file_of(job))) == content(as_(person).get(file_of(job)))
    person.user_permissions.set(person.user_permissions.exclude(codename="export_ledgerentry"))
    assert as_(type(person)._base_manager.get(pk=person.pk)).get(file_of(job)).status_code == 403


@pytest.mark.usefixtures("few")
def test_what_excel_cannot_hold_fails_the_job_with_the_reason(
    owners_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        site.customer(number)
    monkeypatch.setattr(sheet_writers, "MOST_ROWS", 4)
    job = written(asked(owners_client, LedgerEntry, name="xlsx"))
    assert (job.status, "Choose CSV" in job.problem) == (JobStatus.FAILED, True)
    assert file_of(job) not in owners_client.get(site.page(job)).content.decode()


@pytest.mark.usefixtures("few")
def test_a_form_sent_twice_makes_one_job(owners_client: Client) -> None:
    for number in range(3):
        site.customer(number)
    form = given()
    first, second = (owners_client.post(url(LedgerEntry), form)["Location"] for _number in range(2))
    assert first == second
    assert Job.objects.filter(kind="export.ledgerentry").count() == 1


@pytest.mark.usefixtures("few")
def test_the_job_says_what_it_writes(owners_client: Client) -> None:
    for number in range(3):
        site.customer(number)
    assert "more than 3 ledger entries" in owners_client.get(url(LedgerEntry)).content.decode()
    job = asked(owners_client, LedgerEntry)
    page = owners_client.get(site.page(job)).content.decode()
    assert "Export of ledger entries" in page
    assert "The file is being written" in page
    assert job.file_name in page


@pytest.mark.usefixtures("few")
def test_half_a_file_and_one_that_is_gone_cannot_be_had(owners_client: Client) -> None:
    for number in range(3):
        site.customer(number)
    job = asked(owners_client, LedgerEntry)
    jobs.store(job, [b"half"])
    assert owners_client.get(file_of(job)).status_code == 404
    written(job)
    page = owners_client.get(site.page(job)).content.decode()
    assert f'href="{file_of(job)}"' in page
    assert "kept for 30 days" in page
    JobFile.objects.filter(job=job).delete()
    assert owners_client.get(file_of(job)).status_code == 404
    assert f'href="{file_of(job)}"' not in owners_client.get(site.page(job)).content.decode()


def test_a_job_of_another_kind_has_no_file(owners_client: Client, owner: Any) -> None:
    job = Job.objects.create(kind="other", actor=owner)
    assert owners_client.get(file_of(job)).status_code == 403
