"""Allocations in from files as people make them: what is wrong is said, what is right is granted once."""

from __future__ import annotations

import codecs
import csv
import io
import re
import time
import zipfile
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import openpyxl
import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.choices import JobStatus
from django_token_pricing.exceptions import InvalidInput, JobChanged
from django_token_pricing.jobs.progress import SILENCE
from django_token_pricing.models import (
    AuditEvent,
    Job,
    JobRow,
    LedgerEntry,
    TokenAllocation,
)
from django_token_pricing.tokens import allocation_import, allocation_staging
from tests.tokens import import_worker
from tests.tokens.test_killed import until_the_dead_are_gone
from tests.world import new_pool, new_user, new_users

pytestmark = pytest.mark.django_db

KIND = "tokens.import"
NEXT_YEAR = timezone.now().year + 1


def login(user: Any) -> str:
    return str(user.get_username())


def uploaded(data: bytes | str, *, now: bool = True, actor: Any = None, **params: Any) -> Job:
    """The file as a job that was prepared."""
    content = data.encode() if isinstance(data, str) else data
    pieces = [content[start : start + 70_000] for start in range(0, len(content), 70_000)]
    return jobs.create(KIND, params=params, actor=actor, key=uuid4(), file_name="lots.csv", file=pieces, now=now)


def table(*rows: Any, delimiter: str = ",", end: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    return text.getvalue()


def workbook(*rows: Any) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def granted(job: Job, reason: str = "Autumn goodwill") -> Job:
    assert job.status == JobStatus.READY, job.problem
    jobs.work(jobs.confirm(job, reason=reason, actor=None).pk)
    job.refresh_from_db()
    return job


def imported(data: bytes | str, **params: Any) -> Job:
    job = granted(uploaded(data, **params))
    assert job.status == JobStatus.DONE, job.problem
    return job


def codes(job: Job) -> list[tuple[int, str, str]]:
    """(line, column, code) of all that is wrong."""
    assert job.status == JobStatus.READY, job.problem
    rows = job.rows.exclude(code="").order_by("number")
    return [(row.number, problem["column"], problem["code"]) for row in rows for problem in row.problems or []]


def code_of(cell: Any, column: str, **more: Any) -> str:
    """What is wrong with a file of one line that is right but for this cell."""
    values = {"owner": login(new_user()), "amount": "5", **more, column: cell}
    ((_line, name, code),) = codes(uploaded(table(values, values.values())))
    assert name == column
    return code


def refused(data: bytes | str) -> str:
    """The code for which the whole file is refused."""
    job = uploaded(data)
    assert job.status == JobStatus.FAILED
    assert job.problem
    assert not job.rows.exists()
    return str(job.preview["refused"]["code"])


def available(*owners: Any) -> list[int]:
    found = tokens.balances(owners)
    return [found[owner].available for owner in owners]


def lots(user: Any) -> list[TokenAllocation]:
    return list(TokenAllocation.objects.filter(account__user=user).order_by("pk"))


# What is granted


def test_lines_become_lots_with_their_terms() -> None:
    one, two = new_users(2)
    pool = new_pool()
    job = imported(
        table(
            ["owner", "amount", "source", "starts", "expires", "priority", "reason", "key", "paid", "currency"],
            [login(one), "1000", "promotion", "", f"{NEXT_YEAR}-12-31", "7", "Fair at Pune", "fair:1", "9.90", "eur"],
            [login(two), "20", "", f"{NEXT_YEAR}-01-01", "", "", "", "", "", ""],
            [f"pool:{pool.name}", "30", "", "", "", "", "", "", "", ""],
        )
    )
    assert (job.done, job.skipped, job.failed, job.result) == (3, 0, 0, {"granted": 1050})
    (lot,) = lots(one)
    assert (lot.amount, lot.source, lot.priority, lot.key) == (1000, "promotion", 7, "fair:1")
    assert (lot.paid_amount, lot.paid_currency) == (Decimal("9.9"), "EUR")
    # The end of the day in the site's zone.
    assert lot.expires_at is not None
    assert timezone.localtime(lot.expires_at, timezone.get_default_timezone()).isoformat() == (
        f"{NEXT_YEAR + 1}-01-01T00:00:00+01:00"
    )
    assert (lot.event and lot.event.reason) == "Fair at Pune"
    (lot,) = lots(two)
    assert (lot.source, lot.priority, lot.expires_at, lot.paid_amount) == ("import", 100, None, None)
    assert lot.starts_at > timezone.now()
    assert (lot.event and lot.event.reason) == "Autumn goodwill"
    assert available(pool) == [30]


def test_who_confirmed_and_why_is_in_the_audit_trail() -> None:
    operator = new_user()
    job = uploaded(table(["owner", "amount"], [login(new_user()), 5]))
    jobs.confirm(job, reason="Autumn goodwill", actor=operator)
    jobs.work(job.pk)
    event = AuditEvent.objects.get(action="jobs.tokens.import")
    assert (event.actor, event.reason, event.changes["granted"]) == (operator, "Autumn goodwill", [0, 5])
    assert LedgerEntry.objects.get().event == event


# Files as people make them

PEOPLE = ["zoe@example.com", "jose@example.com"]


def people() -> list[Any]:
    model: Any = get_user_model()
    return list(model._base_manager.bulk_create([model(**{model.USERNAME_FIELD: name}) for name in PEOPLE]))


LINES = [["E-mail", "Amount", "Reason"], [PEOPLE[0], "1000", "José’s fair"], [PEOPLE[1], "2000", "Zoë"]]
PLAIN = table(*LINES)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("cp1252"),
        table(*LINES, delimiter=";").encode("cp1252"),
        table(*LINES, delimiter="\t").encode("utf-16"),
        b"sep=;\r\n" + table(*LINES, delimiter=";", end="\r\n").encode(),
        table(*LINES, end="\r\n").encode(),
        table(*LINES, end="\r").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.encode() + b",,\n , ,\n\n\n",
        PLAIN.replace("E-mail,Amount", " e_MAIL ,AMOUNT (tokens)").encode(),
        PLAIN.replace("E-mail,Amount", "\ufeff\u00a0User,tokens").encode(),
        table(*[[*line, "", ""] for line in LINES]).encode(),
        workbook(*LINES),
        workbook(*LINES, [], ["", None, "  "]),
        workbook([], LINES[0], [PEOPLE[0], 1000, LINES[1][2]], [PEOPLE[1], 2000.0, LINES[2][2]]),
    ],
)
def test_whatever_the_dialect_the_same_is_granted(data: bytes) -> None:
    one, two = people()
    job = imported(data)
    assert (job.done, job.result) == (2, {"granted": 3000})
    assert available(one, two) == [1000, 2000]
    assert lots(one)[0].event.reason == "José’s fair"


def test_the_same_file_in_another_dialect_and_order_grants_nothing_more() -> None:
    people()
    imported(PLAIN)
    for data in (PLAIN, PLAIN.encode("utf-16"), workbook(*LINES), table(LINES[0], LINES[2], LINES[1])):
        job = uploaded(data)
        assert (job.preview["new"], job.preview["same"], job.preview["tokens"]) == (0, 2, 0)
        assert job.preview["same_since"]
        with pytest.raises(InvalidInput, match="nothing to grant"):
            jobs.confirm(job, reason="again", actor=None)
    assert LedgerEntry.objects.count() == 2


def test_of_a_mended_file_only_what_is_new_is_granted() -> None:
    one, two = people()
    imported(PLAIN)
    job = uploaded(PLAIN.replace("2000", "2500"))
    assert (job.preview["new"], job.preview["same"]) == (1, 1)
    job = granted(job)
    assert (job.done, job.skipped) == (1, 1)
    assert available(one, two) == [1000, 4500]


def test_equal_lines_of_one_file_are_granted_each_and_once() -> None:
    user = new_user()
    data = table(["owner", "amount"], *[[login(user), 5]] * 3)
    assert imported(data).preview["equal"] == 2
    assert available(user) == [15]
    job = uploaded(data + f"{login(user)},5\n")
    assert (job.preview["new"], job.preview["same"]) == (1, 3)


def test_lines_across_chunks_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation_staging, "STAGED", 2)
    user = new_user()
    rows = [[login(user), 5, ""]] * 3 + [[login(user), 7, "k"]] * 2 + [[login(user), 8, "k"]]
    job = uploaded(table(["owner", "amount", "key"], *rows))
    assert (job.preview["equal"], job.preview["same"], codes(job)) == (2, 1, [(7, "key", "duplicate_key")])


def test_quoted_line_ends_stay_and_lines_are_counted_as_in_the_file() -> None:
    one, two = new_users(2)
    data = f'owner,amount,reason\n{login(one)},5,"first\nsecond"\n\n{login(two)},many,\n'
    assert codes(uploaded(data)) == [(5, "amount", "not_a_number")]
    assert imported(data.replace("many", "6")).done == 2
    assert lots(one)[0].event.reason == "first\nsecond"


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("1 234", 1234),
        ("1\u00a0234", 1234),
        ("1\u202f234", 1234),
        ("1'234", 1234),
        ("1.234.567", 1234567),
        ("1,234,567", 1234567),
        ("1.234.567,00", 1234567),
        ("1,234,567.00", 1234567),
        ("+5", 5),
        (" 12 ", 12),
        ("12.0", 12),
        ("12,00", 12),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, amount: int) -> None:
    user = new_user()
    assert imported(table(["owner", "amount"], [login(user), written])).result == {"granted": amount}


@pytest.mark.parametrize(
    ("shown", "amount"), [("1.234.567", 1234), ("12,00", 1234), ("1.234,00", 1234)], ids=["groups", "comma", "both"]
)
def test_what_may_be_two_numbers_is_read_as_the_rest_of_the_file_shows(shown: str, amount: int) -> None:
    one, two = new_users(2)
    job = imported(table(["owner", "amount"], [login(one), "1.234"], [login(two), shown]))
    assert job.preview["mark"] == ","
    assert available(one) == [amount]


def test_what_may_be_two_numbers_is_refused_with_both_ways_of_reading_it() -> None:
    for rows in ([["1.234"]], [["1,234"]], [["1.234"], ["12,0"], ["12.0"]]):
        job = uploaded(table(["owner", "amount"], *[[login(new_user()), *row] for row in rows]))
        assert codes(job) == [(2, "amount", "ambiguous_number")]
        (problem,) = job.rows.get(number=2).problems or []
        assert "1234" in problem["template"] % problem["facts"]
        assert "1.234" in problem["template"] % problem["facts"]


def test_whoever_uploads_may_say_how_numbers_and_dates_are_written() -> None:
    user = new_user()
    data = table(["owner", "amount", "expires"], [login(user), "1.234", f"05/06/{NEXT_YEAR}"])
    assert codes(uploaded(data)) == [(2, "amount", "ambiguous_number"), (2, "expires", "ambiguous_date")]
    assert imported(data, mark=",", order="dmy").result == {"granted": 1234}
    zone = timezone.get_default_timezone()
    assert (lots(user)[0].expires_at - timedelta(days=1)).astimezone(zone).date() == date(NEXT_YEAR, 6, 5)


@pytest.mark.parametrize(
    "cell",
    [f"{NEXT_YEAR}-03-31", f"31.03.{NEXT_YEAR}", f"3/31/{NEXT_YEAR}", f"31 Mar {NEXT_YEAR}", date(NEXT_YEAR, 3, 31)],
)
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_day_of_expiry_ends_in_the_zone_of_the_site(cell: Any, kind: str) -> None:
    user = new_user()
    rows = [["owner", "amount", "Expiry date"], [login(user), 5, cell]]
    imported(table(*rows) if kind == "csv" else workbook(*rows))
    ends = lots(user)[0].expires_at
    assert ends is not None
    local = ends.astimezone(timezone.get_default_timezone())
    assert (local.date(), local.hour) == (date(NEXT_YEAR, 4, 1), 0)


def test_serial_days_of_excel_are_days() -> None:
    user = new_user()
    serial = (date(NEXT_YEAR, 3, 31) - date(1899, 12, 30)).days
    imported(table(["owner", "amount", "expires"], [login(user), 5, serial]))
    assert lots(user)[0].expires_at.astimezone(timezone.get_default_timezone()).date() == date(NEXT_YEAR, 4, 1)


def test_an_exact_moment_stays_exact() -> None:
    user = new_user()
    imported(table(["owner", "amount", "expires_at"], [login(user), 5, f"{NEXT_YEAR}-03-31T10:11:12.000013+05:30"]))
    assert lots(user)[0].expires_at == datetime.fromisoformat(f"{NEXT_YEAR}-03-31T10:11:12.000013+05:30")


# Whose they are


def test_owners_are_found_by_login_number_and_name_of_pool_whatever_the_case() -> None:
    one, two, three = new_users(3)
    pool = new_pool()
    rows = [[login(one), 1], [login(two).upper(), 2], [str(three.pk), 3], [f"Pool: {pool.name}", 4]]
    imported(table(["Owner", "Tokens"], *rows))
    assert available(one, two, three, pool) == [1, 2, 3, 4]


@pytest.mark.parametrize("header", ["user id", "User-ID", "id"])
def test_a_column_of_numbers_is_of_users(header: str) -> None:
    user = new_user()
    imported(table([header, "amount"], [str(user.pk), 3]))
    assert available(user) == [3]


def test_an_id_beside_the_owner_is_of_something_else() -> None:
    user, other = new_users(2)
    job = imported(table(["id", "owner", "amount"], [str(other.pk), login(user), 3]))
    assert job.preview["ignored"] == ["id"]
    assert available(user, other) == [3, 0]


def test_unknown_owners_are_named_with_what_may_have_been_meant() -> None:
    named("sam@harbour.example")
    named("dawn.middleton@example.com")
    names = ["sam@harbor.example", "dawn.middletonx@example.com", "pool:nobody", "999999999"]
    job = uploaded(table(["owner", "amount"], *[[name, 5] for name in names]))
    assert codes(job) == [(line, "owner", "unknown_owner") for line in (2, 3, 4, 5)]
    problems = [problem for row in job.rows.order_by("number") for problem in row.problems or []]
    assert [problem["template"] % problem["facts"] for problem in problems] == [
        "There is no user or pool “sam@harbor.example”. Did you mean “sam@harbour.example”?",
        "There is no user or pool “dawn.middletonx@example.com”. Did you mean “dawn.middleton@example.com”?",
        "There is no user or pool “pool:nobody”.",
        "There is no user or pool “999999999”.",
    ]


def named(name: str) -> Any:
    model: Any = get_user_model()
    return model._base_manager.create(**{model.USERNAME_FIELD: name})


def test_a_name_that_may_be_two_users_is_refused() -> None:
    user = new_user()
    named(str(user.pk))
    job = uploaded(table(["owner", "amount"], [str(user.pk), 5]))
    assert codes(job) == [(2, "owner", "ambiguous_owner")]
    # Where the column says what its names are, there is no doubt.
    assert codes(uploaded(table(["user id", "amount"], [str(user.pk), 5]))) == []


@pytest.mark.skipif(connection.vendor == "mysql", reason="its logins are the same in any case")
def test_logins_that_differ_in_case_alone_are_only_found_as_they_are_written() -> None:
    named("Sam@example.com"), named("sam@example.com")
    job = uploaded(table(["owner", "amount"], ["SAM@example.com", 5], ["Sam@example.com", 5]))
    assert codes(job) == [(2, "owner", "ambiguous_owner")]


def has_addresses_beside_logins() -> bool:
    model: Any = get_user_model()
    return bool(model.get_email_field_name() != model.USERNAME_FIELD)


@pytest.mark.skipif(not has_addresses_beside_logins(), reason="the login is the e-mail address")
def test_addresses_are_found_beside_logins_and_those_of_several_users_are_refused() -> None:
    one, two, three = new_users(3)
    for user, address in ((one, "one@work.example"), (two, "both@work.example"), (three, "Both@work.example")):
        type(user)._base_manager.filter(pk=user.pk).update(email=address)
    names = ["one@work.example", "ONE@work.example", "both@work.example", "BOTH@work.example"]
    job = uploaded(table(["e-mail", "amount"], *[[name, 5] for name in names]))
    assert codes(job) == [(5, "e-mail", "ambiguous_owner")]
    assert job.preview["owners"] == 2
    imported(table(["user", "amount"], ["one@work.example", 5]))
    assert available(one) == [5]


@pytest.mark.skipif(not has_addresses_beside_logins(), reason="the login is the e-mail address")
def test_a_login_that_is_the_address_of_another_user_is_refused_unless_the_column_says_what_it_is() -> None:
    user = new_user()
    type(user)._base_manager.filter(pk=user.pk).update(email="sam@work.example")
    other = named("sam@work.example")
    assert codes(uploaded(table(["owner", "amount"], ["sam@work.example", 5]))) == [(2, "owner", "ambiguous_owner")]
    imported(table(["e-mail", "amount"], ["sam@work.example", 5]))
    imported(table(["username", "amount"], ["sam@work.example", 7]))
    assert available(user, other) == [5, 7]


def test_users_who_are_not_active_get_nothing() -> None:
    user = new_user()
    type(user)._base_manager.filter(pk=user.pk).update(is_active=False)
    assert codes(uploaded(table(["owner", "amount"], [login(user), 5]))) == [(2, "owner", "inactive_owner")]


# What is wrong with a line


@pytest.mark.parametrize(
    ("column", "cell", "code"),
    [
        ("owner", "", "empty_cell"),
        ("owner", "=A1", "formula"),
        ("owner", "#N/A", "cell_error"),
        ("amount", "", "empty_cell"),
        ("amount", "five", "not_a_number"),
        ("amount", "0", "invalid_amount"),
        ("amount", "-5", "invalid_amount"),
        ("amount", "5.5", "not_whole"),
        ("amount", "1e3", "shortened_number"),
        ("amount", str(2**63), "invalid_amount"),
        ("amount", "9" * 100, "not_a_number"),
        ("amount", "=1+1", "formula"),
        ("amount", "NaN", "not_a_number"),
        ("source", "gift", "unknown_source"),
        ("starts", "soon", "not_a_date"),
        ("expires", f"31/02/{NEXT_YEAR}", "not_a_date"),
        ("expires", f"05/06/{NEXT_YEAR}", "ambiguous_date"),
        ("expires", "31.12.27", "short_year"),
        ("expires", "2001-12-31", "expired"),
        ("priority", "high", "not_a_number"),
        ("priority", "40000", "invalid_amount"),
        ("reason", "x" * 501, "too_long"),
        ("reason", "=HYPERLINK(1)", "formula"),
        ("key", "k" * 300, "invalid_key"),
        ("paid", "9.90", "currency_missing"),
        ("paid", "-1", "invalid_usage"),
        ("currency", "EUR", "paid_missing"),
    ],
)
def test_a_wrong_cell_is_named_with_a_code(column: str, cell: str, code: str) -> None:
    assert code_of(cell, column) == code


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (0, "invalid_amount"),
        (0.0, "invalid_amount"),
        (False, "not_a_number"),
        (1.5, "not_whole"),
        (date(2026, 1, 1), "not_a_number"),
        ("#REF!", "cell_error"),
        ("  ", "empty_cell"),
    ],
)
def test_a_wrong_cell_of_a_workbook_is_named_with_a_code(cell: Any, code: str) -> None:
    job = uploaded(workbook(["owner", "amount"], [login(new_user()), cell]))
    assert codes(job) == [(2, "amount", code)]


def test_a_currency_has_three_letters() -> None:
    assert code_of("Euro", "currency", paid="5") == "invalid_usage"


def test_tokens_do_not_expire_before_they_start() -> None:
    assert code_of(f"{NEXT_YEAR}-01-01", "expires", starts=f"{NEXT_YEAR}-02-01") == "expires_before_start"


def test_all_that_is_wrong_with_a_line_is_said_at_once() -> None:
    job = uploaded(table(["owner", "amount", "expires", "key"], ["nobody", "x", "y", "k" * 201]))
    assert [code for _line, _column, code in codes(job)] == [
        "unknown_owner",
        "not_a_number",
        "not_a_date",
        "invalid_key",
    ]
    assert (job.preview["bad"], job.preview["problems"]) == (1, 4)


def test_what_an_export_has_quoted_is_taken_back() -> None:
    user = new_user()
    imported(table(["owner", "amount", "reason", "key"], [login(user), 5, "'=1+1", "'@home"]))
    (lot,) = lots(user)
    assert (lot.event.reason, lot.key) == ("=1+1", "@home")


def test_a_nul_in_a_line_is_refused_and_the_others_are_read() -> None:
    job = uploaded(table(["owner", "amount"], [login(new_user()), 5], ["a\0b", 5]))
    assert [code for _line, _column, code in codes(job)] == ["nul"]
    assert job.preview["new"] == 1


def test_characters_that_no_database_takes_are_refused_in_a_workbook() -> None:
    data = workbook(["owner", "amount", "reason"], [login(new_user()), 5, "a_x0000_b"], ["a_xD800_b", 5, ""])
    assert [code for _line, _column, code in codes(uploaded(data))] == ["nul", "nul"]


def test_a_row_with_more_cells_than_columns_is_refused() -> None:
    data = table(["owner", "amount"], [login(new_user()), 5, 6])
    assert [code for _line, _column, code in codes(uploaded(data))] == ["too_many_cells"]


def test_the_cells_of_wrong_lines_are_kept_as_they_were() -> None:
    job = uploaded(table(["owner", "amount", "colour"], ["nobody@example.com", "5", "red"]))
    assert job.rows.get().data == {"cells": ["nobody@example.com", "5", "red"]}
    assert (job.preview["header"], job.preview["ignored"]) == (["owner", "amount", "colour"], ["colour"])


def test_with_a_wrong_line_nothing_is_granted() -> None:
    job = uploaded(table(["owner", "amount"], [login(new_user()), 5], ["nobody", 5]))
    with pytest.raises(InvalidInput, match="1 line is wrong"):
        jobs.confirm(job, reason="r", actor=None)
    job.refresh_from_db()
    assert job.status == JobStatus.READY
    assert not LedgerEntry.objects.exists()


# Files that are refused


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\n\n , \n", "empty"),
        (b"owner,amount\n", "no_lines"),
        (b"owner,amount\n,\n \n", "no_lines"),
        (b"owner,price\na,1\n", "missing_column"),
        (b"name,amount\na,1\n", "missing_column"),
        (b"owner,amount,Tokens\na,1,2\n", "duplicate_column"),
        (b"e-mail,username,amount\na,b,2\n", "duplicate_column"),
        (b"owner,amount," + b"c," * 1_000_000 + b"\na,1\n", "too_long"),
        (b"owner,amount," + b"c," * 2_000 + b"\na,1\n", "too_many_columns"),
        (b"owner,amount\n" + b"x" * (10 << 20) + b",5\n", "too_long"),
        (b"\xd0\xcf\x11\xe0 and so on", "old_excel"),
        (b"PK\x03\x04 and so on", "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(data: bytes, code: str) -> None:
    assert refused(data) == code


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    file = io.BytesIO(workbook(["owner", "amount"]))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/large.bin", b"\0" * (50 << 20))
    assert refused(file.getvalue()) == "unpacks_too_large"


def test_rows_that_a_workbook_numbers_twice_are_damage() -> None:
    def renumbered(number: str) -> bytes:
        given, made = io.BytesIO(workbook(["owner", "amount"], ["a", 1], ["b", 2])), io.BytesIO()
        with zipfile.ZipFile(given) as old, zipfile.ZipFile(made, "w") as new:
            for part in old.infolist():
                content = old.read(part)
                if part.filename == "xl/worksheets/sheet1.xml":
                    content = content.replace(b'<row r="3"', f'<row r="{number}"'.encode())
                new.writestr(part, content)
        return made.getvalue()

    assert [refused(renumbered(number)) for number in ("2", "-7", "9" * 30)] == ["damaged"] * 3


def test_limits_of_size_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    data = table(["owner", "amount"], ["a", 1], ["b", 2], ["c", 3])
    monkeypatch.setattr(allocation_staging, "MOST_ROWS", 2)
    assert refused(data) == "too_many_lines"
    monkeypatch.setattr(allocation_staging, "MOST_BYTES", 20)
    assert refused(data) == "too_large"


def test_what_spoils_the_file_late_leaves_nothing_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation_staging, "STAGED", 2)
    lines = table(["owner", "amount"], *[[f"u{number}@example.com", number] for number in range(1, 10)])
    assert refused(lines + "x" * (2 << 20)) == "too_long"


# Keys, and what a former import did


def test_lines_with_keys_are_skipped_where_they_were_granted_before() -> None:
    user = new_user()
    tokens.grant(user, 5, source="import", key="order:1")
    job = uploaded(table(["owner", "amount", "key"], [login(user), 5, "order:1"], [login(user), 5, "order:2"]))
    assert (job.preview["same"], job.preview["new"]) == (1, 1)
    granted(job)
    assert available(user) == [10]


def test_an_expired_lot_that_was_granted_before_is_no_error() -> None:
    user = new_user()
    soon = timezone.now() + timedelta(seconds=1.5)
    data = table(["owner", "amount", "expires_at", "key"], [login(user), 5, soon.isoformat(), "order:1"])
    imported(data)
    time.sleep(max((soon - timezone.now()).total_seconds(), 0) + 0.01)
    assert uploaded(data).preview["same"] == 1


@pytest.mark.parametrize("other", [{"amount": 6}, {"source": "manual"}, {"owner": None}])
def test_a_key_of_something_else_is_refused_with_what_it_was_used_for(other: dict[str, Any]) -> None:
    user = new_user()
    tokens.grant(user, 5, source="import", key="order:1")
    facts = {"owner": login(user), "amount": 5, "source": "import", "key": "order:1", **other}
    facts["owner"] = facts["owner"] or login(new_user())
    job = uploaded(table(facts, facts.values()))
    assert codes(job) == [(2, "key", "key_used")]
    (problem,) = job.rows.get().problems or []
    text = problem["template"] % problem["facts"]
    assert f"5 tokens, {login(user)}" in text
    assert timezone.localdate(timezone=timezone.get_default_timezone()).isoformat() in text


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("expires_at", f"{NEXT_YEAR}-12-31"),
        ("starts_at", f"{NEXT_YEAR}-01-01"),
        ("priority", "1"),
        ("paid_amount", "2"),
        ("paid_currency", "USD"),
    ],
)
def test_a_key_of_the_same_tokens_on_other_terms_is_refused(column: str, cell: str) -> None:
    user = new_user()
    facts = {"owner": login(user), "amount": "5", "key": "order:1", "paid_amount": "1", "paid_currency": "EUR"}
    imported(table(facts, facts.values()))
    facts[column] = cell
    assert codes(uploaded(table(facts, facts.values()))) == [(2, column, "differs")]


def test_what_an_export_wrote_of_a_lot_is_the_same() -> None:
    user = new_user()
    facts = {"owner": login(user), "amount": "5", "expires_at": f"{NEXT_YEAR}-12-31", "key": "order:1", "reason": "r"}
    imported(table(facts, facts.values()))
    (lot,) = lots(user)
    facts |= {"starts_at": lot.starts_at.isoformat(), "expires_at": lot.expires_at.isoformat(), "source": "import"}
    assert uploaded(table(facts, facts.values())).preview["same"] == 1


def test_owners_who_got_as_much_lately_are_counted() -> None:
    one, two = new_users(2)
    tokens.grant(one, 5, source="import")
    tokens.grant(two, 6, source="import")
    job = uploaded(table(["owner", "amount"], [login(one), 5], [login(two), 5], [login(new_user()), 5]))
    assert job.preview["repeated_lately"] == 1


# The preview


def test_the_preview_says_how_much_to_whom_and_how_it_was_read() -> None:
    one, two = new_users(2)
    tokens.grant(one, 100, source="plan")
    pool = new_pool()
    data = table(
        ["E-Mail", "Tokens", "Source", "Expires", "Colour"],
        [login(one), "1.000,00", "promotion", f"{NEXT_YEAR}-01-31", "red"],
        [login(two), "20", "", f"{NEXT_YEAR}-12-31", ""],
        [f"pool:{pool.name}", "30", "", "", ""],
        delimiter=";",
    )
    job = uploaded(data.encode("utf-16"))
    found = job.preview
    assert job.total == found["rows"] == 3
    assert (found["tokens"], found["by_source"]) == (1050, {"promotion": 1000, "import": 50})
    assert (found["owners"], found["accounts_to_open"], found["never_expire"]) == (3, 2, 1)
    assert found["first_expiry"] < found["last_expiry"]
    assert (found["form"], found["encoding"], found["delimiter"]) == ("csv", "utf-16", ";")
    assert found["columns"] == {"owner": "E-Mail", "amount": "Tokens", "source": "Source", "expires_at": "Expires"}
    assert found["ignored"] == ["Colour"]
    assert [(line["name"], line["now"], line["after"]) for line in found["sample"]] == [
        (login(one), 100, 1100),
        (login(two), None, 20),
        (f"pool:{pool.name}", None, 30),
    ]
    assert not LedgerEntry.objects.filter(allocation__source="promotion").exists()


# All or nothing, whoever dies


def test_of_two_who_confirm_one_wins() -> None:
    job = uploaded(table(["owner", "amount"], [login(new_user()), 5]))
    jobs.confirm(job, reason="one", actor=None)
    with pytest.raises(JobChanged):
        jobs.confirm(job, reason="two", actor=None)
    jobs.work(job.pk)
    assert LedgerEntry.objects.get().event.reason == "one"


def test_two_previews_of_one_file_grant_once() -> None:
    user = new_user()
    data = table(["owner", "amount"], [login(user), 5])
    first, second = uploaded(data), uploaded(data)
    assert (granted(first).done, granted(second).skipped) == (1, 1)
    assert available(user) == [5]


def test_what_changed_after_the_preview_leaves_all_of_it_undone() -> None:
    one, two = new_users(2)
    job = uploaded(table(["owner", "amount", "key"], [login(one), 5, "a"], [login(two), 5, "b"]))
    tokens.grant(new_user(), 7, source="manual", key="b")
    job = granted(job)
    assert (job.status, job.done, available(one, two)) == (JobStatus.FAILED, 0, [0, 0])
    assert "Nothing was granted" in job.problem
    assert "“b”" in job.problem


def test_a_user_deleted_after_the_preview_leaves_all_of_it_undone() -> None:
    one, two, three = new_users(3)
    tokens.grant(two, 1, source="plan")
    data = table(["owner", "amount"], *[[login(user), 5] for user in (one, two, three)])
    for gone in (two, three):
        job = uploaded(data)
        gone.delete()
        job = granted(job)
        assert (job.status, job.done, available(one)) == (JobStatus.FAILED, 0, [0])
        data = data.replace(f"{login(two)},5\n", "")


def test_an_account_opened_after_the_preview_is_used() -> None:
    user = new_user()
    job = uploaded(table(["owner", "amount"], [login(user), 5]))
    tokens.grant(user, 1, source="plan")
    granted(job)
    assert available(user) == [6]


def test_large_files_are_granted_in_chunks_and_a_bad_row_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation_import, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(allocation_import, "CHUNK", 2)
    users = new_users(5)
    rows = [[login(user), 5, f"k{place}"] for place, user in enumerate(users)]
    job = uploaded(table(["owner", "amount", "key"], *rows))
    tokens.grant(new_user(), 7, source="manual", key="k1")
    job = granted(job)
    assert (job.status, job.done, job.failed, job.result) == (JobStatus.DONE, 4, 1, {"granted": 20})
    assert available(*users) == [5, 0, 5, 5, 5]


def test_a_job_of_which_the_worker_died_is_staged_from_the_start() -> None:
    job = uploaded(table(["owner", "amount"], *[[login(user), 5] for user in new_users(3)]), now=False)
    JobRow.objects.create(job=job, number=2, code="", data={"user": "gone", "amount": 1})
    JobRow.objects.create(job=job, number=77, code="", data={"user": "gone", "amount": 1})
    jobs.work(job.pk)
    job.refresh_from_db()
    assert list(job.rows.order_by("number").values_list("number", flat=True)) == [2, 3, 4]
    assert granted(job).done == 3


def test_every_code_is_in_the_user_guide() -> None:
    root = Path(allocation_import.__file__).parents[2]
    guide = (root / "docs/user-guide/import-allocations.md").read_text()
    package = root / "django_token_pricing"
    files = [*package.glob("tokens/allocation_*.py"), package / "tokens/owner_names.py"]
    files += [package / "lib" / name for name in ("cells.py", "sheets.py", "xlsx.py")]
    found = {
        code
        for file in files
        for code in re.findall(r'(?:Error\(\s*|_TWICE = \(\s*|_SKIPPED = \(\s*)"(\w+)"', file.read_text())
    }
    found |= {"invalid_amount", "invalid_key", "invalid_usage", "invalid_moment"}
    assert len(found) > 40
    assert [code for code in sorted(found) if f"`{code}`" not in guide] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_of_two_who_confirm_at_once_one_wins(in_parallel: Any) -> None:
    user = new_user()
    job = uploaded(table(["owner", "amount"], [login(user), 5]))
    answers = in_parallel([lambda: jobs.confirm(job, reason="r", actor=None)] * 2)
    assert sorted(type(answer).__name__ for answer in answers) == ["Job", "JobChanged"]
    in_parallel([lambda: jobs.work(job.pk)] * 2)
    jobs.work(job.pk)
    assert available(user) == [5]


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
def test_two_previews_of_one_file_at_once_grant_once(in_parallel: Any, race_seeds: range) -> None:
    users = new_users(20)
    for seed in race_seeds:
        data = table(["owner", "amount", "reason"], *[[login(user), 5, f"round {seed}"] for user in users])
        both = [uploaded(data), uploaded(data.encode("utf-16"))]
        for job in both:
            jobs.confirm(job, reason="r", actor=None)
        assert in_parallel([lambda job=job: jobs.work(job.pk) for job in both]) == [None, None]
        for job in both:
            job.refresh_from_db()
        assert {job.status for job in both} == {JobStatus.DONE}
        assert sorted((job.done, job.skipped) for job in both) == [(0, 20), (20, 0)]
    assert available(*users) == [5 * len(race_seeds)] * 20


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
@pytest.mark.postgres
@pytest.mark.parametrize(("at_once", "deed"), [(True, "stage"), (True, "grant"), (False, "grant")])
def test_a_killed_worker_leaves_nothing_half_done(
    at_once: bool, deed: str, child_environment: dict[str, str], race_seeds: range
) -> None:
    users = new_users(60)
    rows = [[login(user), 5] for user in users]
    for seed in race_seeds:
        job = uploaded(table(["owner", "amount", "reason"], *[[*row, f"round {seed}"] for row in rows]), now=False)
        if deed == "grant":
            jobs.work(job.pk)
            job.refresh_from_db()
            jobs.confirm(job, reason="r", actor=None)
        with until_the_dead_are_gone():
            import_worker.killed(job.pk, deed, seed + 1, at_once=at_once, environment=child_environment)
        booked = LedgerEntry.objects.filter(allocation__event__reason=f"round {seed}").count()
        job.refresh_from_db()
        assert booked == job.done
        assert not at_once or booked == 0
        assert job.status == (
            JobStatus.PREPARING if deed == "stage" else JobStatus.RUNNING if booked else JobStatus.QUEUED
        )
        # The dead worker's sign of life grows old.
        Job.objects.filter(pk=job.pk).update(alive_at=timezone.now() - 2 * SILENCE)
        jobs.work(job.pk)
        job.refresh_from_db()
        if deed == "stage":
            job = granted(job)
        assert (job.status, job.done, job.failed) == (JobStatus.DONE, 60, 0)
        assert job.rows.count() == 60
    assert available(*users) == [5 * len(race_seeds)] * 60
