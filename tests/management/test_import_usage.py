"""`token_pricing_import_usage`: what goes in, what is set aside, and that it may be run again."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from openpyxl import Workbook

from django_token_pricing import tokens
from django_token_pricing.lib.rows import SheetError
from django_token_pricing.management import usage_import
from django_token_pricing.management.commands import token_pricing_import_usage as command
from django_token_pricing.management.usage_owners import Owners, SpreadOwners
from django_token_pricing.models import TokenAccount, TokenUsageLog
from tests.tokens import ledger
from tests.world import new_pool, new_user, new_users

pytestmark = pytest.mark.django_db

SHARED = Path(os.environ.get("TP_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
TRACE = SHARED / "AzureLLMInferenceTrace_code.csv"
TRACE_MAP = [
    "--map",
    "used_at=TIMESTAMP",
    "--map",
    "input_tokens=ContextTokens",
    "--map",
    "output_tokens=GeneratedTokens",
    "--timezone",
    "UTC",
]
needs_trace = pytest.mark.skipif(not TRACE.is_file(), reason=f"{TRACE} is not there")

Answer = tuple[str, "CommandError | None"]


def run(file: Path, *arguments: str) -> Answer:
    """What the command says at its end, and the error if there was one."""
    out = StringIO()
    try:
        call_command("token_pricing_import_usage", str(file), *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue().strip(), error
    return out.getvalue().strip(), None


def clean(file: Path, *arguments: str) -> str:
    said, error = run(file, *arguments)
    assert error is None
    return said.rpartition("\n")[2]  # what comes before is progress


def refused(file: Path, *arguments: str) -> list[list[str]]:
    """Line and code of each row that was set aside."""
    _said, error = run(file, *arguments)
    assert error is not None
    assert error.returncode == 1
    return [row[:2] for row in errors_of(file)[1:]]


def errors_of(file: Path) -> list[list[str]]:
    with file.with_name(file.name + ".errors.csv").open(encoding="utf-8-sig", newline="") as errors:
        return list(csv.reader(errors))


def counted(read: int, added: int, replayed: int, refused: int = 0) -> str:
    rows = "1 row" if read == 1 else f"{read:,} rows"
    return f"{rows}: {added:,} added, {replayed:,} there already, {refused:,} refused."


@pytest.fixture
def owner() -> Any:
    return new_user()


@pytest.fixture
def sheet(tmp_path: Path) -> Any:
    def write(*lines: str, name: str = "usage.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        return path

    return write


def recorded(owner: Any, *arguments: str) -> list[str]:
    return ["--owner", str(owner.pk), "--no-charge", "--map", "amount=tokens", *arguments]


@needs_trace
def test_the_trace_is_taken_as_it_is_and_a_second_time_adds_nothing() -> None:
    new_users(50)
    arguments = [*TRACE_MAP, "--spread", "50", "--no-charge"]
    assert clean(TRACE, *arguments) == counted(8_819, 8_819, 0)
    assert clean(TRACE, *arguments) == counted(8_819, 0, 8_819)
    uses = TokenUsageLog.objects.order_by("used_at")
    first, last = uses[0], uses.reverse()[0]
    assert first.used_at == datetime(2023, 11, 16, 18, 17, 3, 979_960, tzinfo=timezone.utc)
    assert (first.input_tokens, first.output_tokens, first.amount, first.is_charged) == (4808, 10, 4818, False)
    assert last.used_at == datetime(2023, 11, 16, 19, 14, 19, 928_016, tzinfo=timezone.utc)
    shares = Counter(TokenUsageLog.objects.values_list("account", flat=True))
    assert len(shares) == 50
    assert min(shares.values()) > 8_819 / 50 * 0.7
    assert max(shares.values()) < 8_819 / 50 * 1.3


@needs_trace
@pytest.mark.slow
def test_the_trace_is_charged_once(tmp_path: Path) -> None:
    users = new_users(50)
    for user in users:
        tokens.grant(user, 10**9, source="manual")
    arguments = [*TRACE_MAP, "--spread", "50"]
    assert clean(TRACE, *arguments) == counted(8_819, 8_819, 0)
    assert clean(TRACE, *arguments) == counted(8_819, 0, 8_819)
    used = sum(TokenUsageLog.objects.values_list("amount", flat=True))
    assert sum(answer.available for answer in tokens.balances(users).values()) == 50 * 10**9 - used
    assert ledger.discrepancies() == []


def test_rows_appended_to_the_file_are_added_alone(owner: Any, sheet: Any) -> None:
    assert clean(sheet("id,tokens", "a,5", "b,6"), *recorded(owner)) == counted(2, 2, 0)
    assert clean(sheet("id,tokens", "a,5", "b,6", "c,7"), *recorded(owner)) == counted(3, 1, 2)
    assert sorted(TokenUsageLog.objects.values_list("amount", flat=True)) == [5, 6, 7]


@pytest.mark.parametrize("chunk", ["1", "2", "100"])
def test_equal_rows_all_count(owner: Any, sheet: Any, chunk: str) -> None:
    arguments = recorded(owner, "--chunk", chunk)
    assert clean(sheet("id,tokens", "a,5", "a,5", "b,5"), *arguments) == counted(3, 3, 0)
    assert clean(sheet("id,tokens", "a,5", "b,5", "a,5", "a,5"), *arguments) == counted(4, 1, 3)
    assert TokenUsageLog.objects.count() == 4


def test_the_same_rows_of_another_source_are_other_uses(owner: Any, sheet: Any) -> None:
    clean(sheet("tokens", "5"), *recorded(owner))
    assert clean(sheet("tokens", "5", name="other.csv"), *recorded(owner)) == counted(1, 1, 0)
    assert clean(sheet("tokens", "5", name="moved.csv"), *recorded(owner, "--source", "usage.csv")) == counted(1, 0, 1)


def test_the_dialect_of_the_file_does_not_make_other_uses_of_its_rows(owner: Any, sheet: Any) -> None:
    path = sheet("id,tokens", "Zoë,5", "b,6")
    clean(path, *recorded(owner))
    path.write_bytes('id;tokens;\r\n"Zoë";5;\r\nb;6;\r\n'.encode("utf-16"))
    assert clean(path, *recorded(owner)) == counted(2, 0, 2)


def test_bad_rows_are_set_aside_with_their_line_and_the_reason(owner: Any, sheet: Any) -> None:
    path = sheet(
        "id,at,tokens",
        "a,2026-01-01 10:00:00,5",
        "b,soon,6",
        '"two',
        'lines",2026-01-01 10:00:00,"1,234"',
        "",
        "=cmd(),2026-01-01 10:00:00,-7",
        "d,2026-01-01 10:00:00,8,9",
        "e,2026-01-01 10:00:00",
        "f,,7",
        "g,2026-01-01 10:00:00,",
        "h,2999-01-01 10:00:00,7",
    )
    said, error = run(path, *recorded(owner, "--map", "used_at=at"))
    assert said == counted(9, 1, 0, 8)
    assert error is not None
    assert error.returncode == 1
    assert f"8 rows were refused; {path}.errors.csv has the lines and the reasons." in str(error)
    header, *rows = errors_of(path)
    assert header == ["line", "code", "reason", "id", "at", "tokens"]
    assert [(row[0], row[1]) for row in rows] == [
        ("3", "not_a_moment"),
        ("4", "ambiguous_number"),
        ("7", "invalid_amount"),
        ("8", "too_many_cells"),
        ("9", "short_row"),
        ("10", "empty_cell"),
        ("11", "empty_cell"),
        ("12", "invalid_moment"),
    ]
    assert all(row[2] for row in rows)
    assert rows[1][3:] == ["two\nlines", "2026-01-01 10:00:00", "1,234"]
    assert rows[2][3:] == ["'=cmd()", "2026-01-01 10:00:00", "-7"]
    assert rows[3][3:] == ["d", "2026-01-01 10:00:00", "8", "9"]


def test_after_mending_only_what_is_new_is_added_and_the_error_file_goes(owner: Any, sheet: Any) -> None:
    path = sheet("id,tokens", "a,5", "b,x", "c,7")
    assert refused(path, *recorded(owner)) == [["3", "not_a_number"]]
    sheet("id,tokens", "a,5", "b,6", "c,7")
    assert clean(path, *recorded(owner)) == counted(3, 1, 2)
    assert [found.name for found in path.parent.iterdir()] == ["usage.csv"]


def test_a_file_of_the_users_is_not_taken_for_an_old_error_file(owner: Any, sheet: Any) -> None:
    path = sheet("tokens", "5")
    mine = sheet("my own notes", name="usage.csv.errors.csv")
    clean(path, *recorded(owner))
    assert mine.exists()


def test_the_error_file_is_where_it_was_asked_for(owner: Any, sheet: Any, tmp_path: Path) -> None:
    path = sheet("tokens", "x")
    _said, error = run(path, *recorded(owner, "--errors", str(tmp_path / "bad.csv")))
    assert "bad.csv has the line and the reason." in str(error)
    assert (tmp_path / "bad.csv").read_text(encoding="utf-8-sig").startswith("line,code,reason,tokens")


def test_what_spoils_the_file_stops_it_after_the_rows_before(owner: Any, sheet: Any) -> None:
    path = sheet("id,tokens", "a,5", "b," + "6" * 200_000, "c,7")
    said, error = run(path, *recorded(owner))
    assert said == counted(1, 1, 0)
    assert "The file cannot be read any further." in str(error)


def test_keys_of_a_column_are_taken_as_they_are(owner: Any, sheet: Any) -> None:
    tokens.grant(owner, 100, source="manual")
    tokens.consume(owner, 5, key="message:1")
    path = sheet("k,tokens", "message:1,5", "message:2,6", "message:2,6", ",7", "message:2,8")
    arguments = ["--owner", str(owner.pk), "--map", "amount=tokens", "key=k"]
    assert refused(path, *arguments) == [["5", "empty_cell"], ["6", "idempotency_conflict"]]
    assert tokens.balance(owner).available == 100 - 5 - 6
    assert sorted(TokenUsageLog.objects.values_list("key", flat=True)) == ["message:1", "message:2"]


def test_a_key_that_recording_cannot_take_is_set_aside_alone(owner: Any, sheet: Any) -> None:
    tokens.grant(owner, 100, source="manual")
    tokens.consume(owner, 5, key="k7")
    path = sheet("k,tokens", *(f"k{n},5" for n in range(20)), "k3,6")
    assert refused(path, *recorded(owner, "--map", "key=k")) == [
        ["9", "idempotency_conflict"],
        ["22", "idempotency_conflict"],
    ]
    assert TokenUsageLog.objects.filter(is_charged=False).count() == 19


def test_all_facts_of_a_use_come_through(owner: Any, sheet: Any) -> None:
    path = sheet(
        "When;In;Out;Cached;Total;Model;Feature;Cost",
        "2026-01-01T10:00:00Z;10;20;5;25; gpt ;chat;0,0123",
        "2026-01-01T10:00:00Z;;;;7;;;",
    )
    pairs = (
        "used_at=when input_tokens=in output_tokens=out cached_tokens=cached amount=total model=model feature=feature"
    )
    clean(path, "--map", *pairs.split(), "cost=cost", "--owner", str(owner.pk), "--no-charge", "--decimal", "comma")
    full, bare = TokenUsageLog.objects.order_by("-amount")
    assert full.used_at == bare.used_at == datetime(2026, 1, 1, 10, tzinfo=timezone.utc)
    assert (full.input_tokens, full.output_tokens, full.cached_tokens, full.amount) == (10, 20, 5, 25)
    assert (full.model, full.feature, full.cost) == ("gpt", "chat", Decimal("0.0123"))
    assert (bare.input_tokens, bare.output_tokens, bare.cached_tokens, bare.cost) == (None, None, None, None)
    assert (bare.model, bare.feature) == ("", "")


def test_without_an_amount_input_and_output_are_added_up(owner: Any, sheet: Any) -> None:
    path = sheet("in,out,x", "10,20,", "10,,", ",20,", ",,y")
    arguments = ["--map", "input_tokens=in", "output_tokens=out", "--owner", str(owner.pk), "--no-charge"]
    assert refused(path, *arguments) == [["5", "no_amount"]]
    assert sorted(TokenUsageLog.objects.values_list("amount", flat=True)) == [10, 20, 30]


@pytest.mark.parametrize(
    ("zone", "hour"), [([], 16), (["--timezone", "UTC"], 18), (["--timezone", "Asia/Kolkata"], 12)]
)
def test_times_without_an_offset_are_in_the_named_zone_or_the_sites(
    owner: Any, sheet: Any, zone: list[str], hour: int
) -> None:
    clean(sheet("at,tokens", "2023-07-16 18:00:00,5"), *recorded(owner, "--map", "used_at=at", *zone))
    assert TokenUsageLog.objects.get().used_at.replace(minute=0) == datetime(2023, 7, 16, hour, tzinfo=timezone.utc)


def test_times_that_the_clocks_skip_or_show_twice_are_set_aside(owner: Any, sheet: Any) -> None:
    path = sheet(
        "at,tokens",
        "2024-03-31 02:30:00,5",
        "2024-10-27 02:30:00,5",
        "2024-10-27 02:30:00+01:00,5",
        "2024-10-27 03:00,5",
    )
    assert refused(path, *recorded(owner, "--map", "used_at=at")) == [["2", "skipped_time"], ["3", "repeated_time"]]
    assert TokenUsageLog.objects.count() == 2


def test_an_excel_file_is_taken_too(owner: Any, tmp_path: Path) -> None:
    path = tmp_path / "usage.xlsx"
    workbook = Workbook()
    page = workbook.active
    assert page is not None
    page.append(["at", "tokens", "model"])
    page.append([datetime(2026, 1, 1, 10), 5, "gpt"])  # noqa: DTZ001
    page.append([datetime(2026, 1, 1, 10), 5, "gpt"])  # noqa: DTZ001
    page.append([datetime(2026, 1, 1, 11), 2.5, "gpt"])  # noqa: DTZ001
    workbook.save(path)
    arguments = recorded(owner, "--map", "used_at=at", "model=model", "--timezone", "UTC")
    assert refused(path, *arguments) == [["4", "not_whole"]]
    assert run(path, *arguments)[0] == counted(3, 0, 2, 1)
    assert {use.used_at for use in TokenUsageLog.objects.all()} == {datetime(2026, 1, 1, 10, tzinfo=timezone.utc)}


def test_charged_rows_draw_on_the_owners_lots(owner: Any, sheet: Any) -> None:
    tokens.grant(owner, 100, source="manual")
    path = sheet("id,tokens", "a,30", "b,20")
    assert clean(path, "--owner", str(owner.pk), "--map", "amount=tokens") == counted(2, 2, 0)
    assert clean(path, "--owner", str(owner.pk), "--map", "amount=tokens") == counted(2, 0, 2)
    assert tokens.balance(owner).available == 50
    assert ledger.discrepancies() == []


def test_a_row_that_the_tokens_do_not_suffice_for_is_set_aside_alone(owner: Any, sheet: Any) -> None:
    tokens.grant(owner, 100, source="manual")
    path = sheet("id,tokens", "a,60", "b,50", "c,40")
    said, error = run(path, "--owner", str(owner.pk), "--map", "amount=tokens")
    assert said == counted(3, 2, 0, 1)
    assert "1 row needs tokens that its owner does not have. Grant them first" in str(error)
    assert [row[:2] for row in errors_of(path)[1:]] == [["3", "insufficient_tokens"]]
    tokens.grant(owner, 50, source="manual")
    assert clean(path, "--owner", str(owner.pk), "--map", "amount=tokens") == counted(3, 1, 2)
    assert tokens.balance(owner).available == 0


def test_no_charge_draws_on_nothing(owner: Any, sheet: Any) -> None:
    tokens.grant(owner, 100, source="manual")
    clean(sheet("tokens", "30"), *recorded(owner))
    assert tokens.balance(owner).available == 100


def test_a_column_names_the_owners(sheet: Any) -> None:
    first, second, member = new_users(3)
    pool = new_pool(member)
    path = sheet(
        "who,tokens",
        f"{first.pk},1",
        f"{str(first.pk).upper()},2",
        f"{second.get_username()},4",
        f"pool:{pool.name},8",
        " ,16",
    )
    arguments = ["--map", "amount=tokens", "owner=who", "--no-charge"]
    assert refused(path, *arguments) == [["6", "empty_cell"]]
    sums = dict.fromkeys(TokenAccount.objects.all(), 0)
    for use in TokenUsageLog.objects.select_related("account"):
        sums[use.account] += use.amount
    assert {account.user_id or account.pool_id: total for account, total in sums.items() if total} == {
        first.pk: 3,
        second.pk: 4,
        pool.pk: 8,
    }


def test_owners_that_are_unknown_or_ambiguous_are_set_aside(sheet: Any) -> None:
    first, second = new_users(2)
    setattr(second, second.USERNAME_FIELD, str(first.pk))
    second.save()
    path = sheet("who,tokens", f"{first.pk},1", "nobody@example.com,2", "pool:none,3", "12345678901234567890123,4")
    assert refused(path, "--map", "amount=tokens", "owner=who", "--no-charge") == [
        ["2", "ambiguous_owner"],
        ["3", "unknown_owner"],
        ["4", "unknown_owner"],
        ["5", "unknown_owner"],
    ]


def test_an_e_mail_address_that_is_no_login_is_found_and_one_of_two_users_is_ambiguous() -> None:
    users = new_users(3)
    field = users[0].get_email_field_name()
    if field == users[0].USERNAME_FIELD:
        pytest.skip("the host's users log in by e-mail")
    for user, address in zip(users, ["a@example.com", "b@example.com", "b@example.com"], strict=True):
        setattr(user, field, address)
        user.save()
    found = Owners().find(["a@example.com", "b@example.com"])
    assert found["a@example.com"] == users[0]
    assert isinstance(found["b@example.com"], SheetError)
    assert found["b@example.com"].code == "ambiguous_owner"


def test_owners_are_found_in_one_query_however_many_and_kept() -> None:
    people = new_users(300)
    owners = Owners()
    with CaptureQueriesContext(
        connection,
    ) as captured:
        found = owners.find([person.get_username() for person in people])
        owners.find([person.get_username() for person in people])
    assert [found[person.get_username()] for person in people] == people
    assert len(captured) == 1


def test_what_is_kept_of_owners_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Owners, "MOST_KEPT", 10)
    people = new_users(40)
    owners = Owners()
    for start in range(0, 40, 5):
        names = [person.get_username() for person in people[start : start + 5]]
        assert [owners.find(names)[name].pk for name in names] == [person.pk for person in people[start : start + 5]]  # type: ignore[union-attr]
        assert len(owners.kept) <= 10


@pytest.mark.parametrize("name", ["pk", "login", "pool"])
def test_one_owner_is_named_in_any_of_these_ways(sheet: Any, name: str) -> None:
    user = new_user()
    pool = new_pool()
    names = {"pk": str(user.pk), "login": user.get_username(), "pool": f"pool:{pool.name}"}
    clean(sheet("tokens", "5"), "--owner", names[name], "--map", "amount=tokens", "--no-charge")
    account = TokenUsageLog.objects.get().account
    assert (account.user_id, account.pool_id) == ((None, pool.pk) if name == "pool" else (user.pk, None))


def test_spreading_is_the_same_each_time_and_asks_for_users_that_exist() -> None:
    users = new_users(7)
    keys = [f"k{n}" for n in range(7_000)]
    spread = SpreadOwners(7).of(keys, [])
    assert [owner.pk for owner in spread] == [owner.pk for owner in SpreadOwners(7).of(keys, [])]  # type: ignore[union-attr]
    assert {owner.pk for owner in spread} == {user.pk for user in users}  # type: ignore[union-attr]
    assert all(900 < count < 1_100 for count in Counter(owner.pk for owner in spread).values())  # type: ignore[union-attr]
    with pytest.raises(SheetError, match="There are 7 users, and --spread asks for 8"):
        SpreadOwners(8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--map", "amount=tokens"], "one of --owner, --spread and --map owner=COLUMN"),
        (["--map", "amount=tokens", "--spread", "1", "--owner", "x"], "one of --owner, --spread"),
        (["--map", "amount=tokens", "--spread", "0"], "--spread must be at least 1"),
        (["--map", "amount=tokens", "--spread", "1"], "There are 0 users"),
        (["--map", "amount=tokens", "--owner", "nobody"], "There is no user or pool “nobody”"),
        (["--map", "amount=token", "--owner", "x"], "There is no column “token”. There are: “tokens”"),
        (["--map", "amount", "--owner", "x"], "give it as FIELD=COLUMN"),
        (["--map", "tokens=amount", "--owner", "x"], "there is no field “tokens”"),
        (["--map", "amount=tokens", "--map", "amount=tokens", "--owner", "x"], "mapped already"),
        (["--map", "model=tokens", "--owner", "x"], "nothing to book"),
        (["--map", "amount=tokens", "--owner", "x", "--timezone", "Mars/Base"], "There is no time zone “Mars/Base”"),
        (["--map", "amount=tokens", "--owner", "x", "--timezone", "../etc"], "There is no time zone"),
        (["--map", "amount=tokens", "--owner", "x", "--chunk", "0"], "--chunk must be at least 1"),
        (["--map", "amount=tokens", "--owner", "x", "--errors", "/nowhere/at/all.csv"], "cannot be the error file"),
    ],
)
def test_a_wrong_command_is_told_what_is_wrong(sheet: Any, arguments: list[str], said: str) -> None:
    _out, error = run(sheet("tokens", "5"), *arguments)
    assert error is not None
    assert said in str(error)
    assert TokenUsageLog.objects.count() == 0


def test_the_file_itself_is_never_the_error_file(owner: Any, sheet: Any) -> None:
    path = sheet("tokens", "x")
    _out, error = run(path, *recorded(owner, "--errors", str(path)))
    assert "cannot be the error file" in str(error)
    assert path.read_text() == "tokens\nx\n"


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_file_that_is_no_table_is_refused(owner: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "usage.csv"
    if content is not None:
        path.write_bytes(content)
    said, error = run(path, *recorded(owner))
    assert (said, TokenUsageLog.objects.count()) == ("", 0)
    assert str(path) in str(error)


def test_progress_is_told_on_the_way(owner: Any, sheet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TELL_ELSEWHERE", 0.0)
    said, _error = run(sheet("tokens", *"123456"), *recorded(owner, "--chunk", "2"))
    *lines, last = said.splitlines()
    assert [line.split(" · ")[1] for line in lines] == ["2 rows", "4 rows", "6 rows"]
    assert lines[-1].split(" · ")[0].strip() == "100 %"
    assert last == counted(6, 6, 0)


def test_nothing_is_told_where_quiet_was_asked_for(owner: Any, sheet: Any) -> None:
    assert clean(sheet("tokens", "5"), *recorded(owner, "--verbosity", "0")) == ""


def test_a_run_that_is_interrupted_says_how_to_go_on(owner: Any, sheet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(counts: usage_import.Counts) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.Command, "_told", lambda self, sheet: interrupt)
    path = sheet("tokens", *"123456")
    said, error = run(path, *recorded(owner, "--chunk", "2"))
    assert said == counted(2, 2, 0)
    assert error is not None
    assert error.returncode == 130
    monkeypatch.undo()
    assert clean(path, *recorded(owner)) == counted(6, 4, 2)


def test_reasons_are_translated_when_they_are_told() -> None:
    error = SheetError("empty", "The file is empty.")
    with translation.override("de"):
        assert usage_import.reason(error)  # falls back to English where there is no translation


@pytest.mark.parametrize("charge", [True, False], ids=["charged", "recorded"])
@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_killed_is_taken_up_exactly(sheet: Any, child_environment: dict[str, str], charge: bool) -> None:
    users = new_users(5)
    for user in users:
        tokens.grant(user, 10**6, source="manual")
    size = 600 if charge else 2_000
    path = sheet("id,tokens", *(f"{n % (size // 3)},{1 + n % 9}" for n in range(size)))
    arguments = ["--map", "amount=tokens", "--spread", "5", "--chunk", "20", *([] if charge else ["--no-charge"])]
    script = (
        "import os, sys, django; from django.core.management import call_command; django.setup();"
        "call_command('token_pricing_import_usage', *sys.argv[1:])"
    )
    environment = {**child_environment, "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"]}
    for _ in range(2):
        before = TokenUsageLog.objects.count()
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(path), *arguments],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 120
        while TokenUsageLog.objects.count() == before and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        output, _ = child.communicate()
        assert child.returncode == -signal.SIGKILL, output.decode()
        assert before < TokenUsageLog.objects.count() < size
    stored = TokenUsageLog.objects.count()
    assert clean(path, *arguments) == counted(size, size - stored, stored)
    expected = sum(1 + n % 9 for n in range(size))
    assert TokenUsageLog.objects.count() == size
    assert sum(TokenUsageLog.objects.values_list("amount", flat=True)) == expected
    left = sum(answer.available for answer in tokens.balances(users).values())
    assert left == 5 * 10**6 - (expected if charge else 0)
    assert ledger.discrepancies() == []


def test_a_use_may_lie_a_little_ahead_and_no_more(owner: Any, sheet: Any) -> None:
    soon = datetime.now(timezone.utc) + timedelta(minutes=4)
    later = soon + timedelta(minutes=10)
    path = sheet("at,tokens", f"{soon.isoformat()},5", f"{later.isoformat()},5")
    assert refused(path, *recorded(owner, "--map", "used_at=at")) == [["3", "invalid_moment"]]
