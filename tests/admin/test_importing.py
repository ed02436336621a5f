"""Files of allocations as people upload them: who may, what the pages say, and that a form sent twice is one job."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import jobs, tokens
from django_token_pricing.admin.tokens import importing
from django_token_pricing.choices import JobStatus
from django_token_pricing.lib import lot_columns
from django_token_pricing.models import Job, JobFile, LedgerEntry, TokenAccount, TokenAllocation
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MAY = ["view_tokenallocation", "import_tokenallocation"]
NEXT_YEAR = timezone.now().year + 1


def url(name: str = "", *args: Any) -> str:
    return reverse(f"admin:django_token_pricing_tokenallocation_import{name}", args=args)


def upload(content: bytes | str, name: str = "lots.csv", **more: Any) -> dict[str, Any]:
    data = content.encode() if isinstance(content, str) else content
    return {"key": str(uuid4()), "mark": "", "order": "", "file": SimpleUploadedFile(name, data), **more}


def good() -> str:
    return f"owner,amount\n{world.new_user().get_username()},5\n"


def bad() -> str:
    return f"owner,amount,reason\nnobody@example.com,=1+1,\n{world.new_user().get_username()},5,x\n"


@pytest.fixture
def importer(db: None) -> Any:
    return site.staff(*MAY)


def urls() -> list[str]:
    job = jobs.create("tokens.import", params={}, actor=None, key=uuid4(), file=[bad().encode()], now=True)
    return [url(), url("_template", "csv"), url("_template", "xlsx"), url("_errors", job.pk)]


# Who may


def test_importing_needs_its_own_permission_to_look_and_to_upload(as_: Login, viewer: Any) -> None:
    pages = urls()
    before = Job.objects.count()
    others = [permission for permission in site.MAY_DO if permission != "import_tokenallocation"]
    for person in (viewer, site.staff(), site.staff("import_tokenallocation"), site.staff(*site.VIEW, *others)):
        client = as_(person)
        for page in pages:
            assert client.get(page).status_code == 403, page
        assert client.post(url(), upload(good())).status_code == 403
        text = client.get(site.lists(TokenAllocation)).content.decode()
        assert f'href="{url()}"' not in text
    assert Job.objects.count() == before


def test_who_may_import_finds_the_page_at_the_list(as_: Login, importer: Any) -> None:
    client = as_(importer)
    assert f'href="{url()}"' in client.get(site.lists(TokenAllocation)).content.decode()
    assert client.get(url()).status_code == 200
    assert client.post(url(), upload(good())).status_code == 302


@pytest.mark.parametrize("is_logged_in", [True, False])
def test_strangers_are_sent_to_the_login_and_leave_no_job(
    is_logged_in: bool, client: Client, as_: Login, stranger: Any
) -> None:
    pages = urls()
    before = Job.objects.count(), JobFile.objects.count()
    client = as_(stranger) if is_logged_in else client
    for response in (*map(client.get, pages), client.post(url(), upload(good()))):
        assert response.status_code == 302
        assert "/login/" in response["Location"]
    assert (Job.objects.count(), JobFile.objects.count()) == before


def test_a_session_that_ends_before_the_upload_leaves_no_job(as_: Login, importer: Any) -> None:
    client = as_(importer)
    client.get(url())
    client.logout()
    assert "/login/" in client.post(url(), upload(good()))["Location"]
    assert not Job.objects.exists()


def test_lines_of_others_are_for_those_who_may_see_jobs(as_: Login, importer: Any) -> None:
    others = urls()[-1]
    assert as_(importer).get(others).status_code == 403
    assert as_(site.staff(*MAY, "view_job")).get(others).status_code == 200
    own = as_(importer).post(url(), upload(bad()))["Location"]
    assert as_(importer).get(url("_errors", Job.objects.latest("pk").pk)).status_code == 200
    assert as_(importer).get(own).status_code == 200


@pytest.mark.parametrize("number", ["999999", "nonsense", "9" * 30, "٣"])
def test_lines_of_a_job_that_is_not_there_are_not_found(number: str, as_: Login, importer: Any) -> None:
    assert as_(importer).get(url("_errors", number)).status_code == 404


# Uploading


def test_a_form_sent_twice_makes_one_job(as_: Login, importer: Any) -> None:
    client, content = as_(importer), good()
    key = str(uuid4())
    first = client.post(url(), upload(content, key=key))
    second = client.post(url(), upload(content, key=key))
    assert first["Location"] == second["Location"]
    assert Job.objects.count() == 1


def test_a_small_file_is_checked_at_once_and_a_large_one_by_a_worker(
    as_: Login, importer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = as_(importer)
    client.post(url(), upload(good()))
    assert Job.objects.latest("pk").status == JobStatus.READY
    monkeypatch.setattr(importing, "AT_ONCE", 10)
    response = client.post(url(), upload(good()))
    job = Job.objects.latest("pk")
    assert job.status == JobStatus.PREPARING
    assert "Nothing is granted before you have seen the preview" in client.get(response["Location"]).content.decode()
    jobs.work(job.pk)
    job.refresh_from_db()
    assert job.status == JobStatus.READY


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"file": SimpleUploadedFile("empty.csv", b"")}, "The submitted file is empty."),
        ({"file": ""}, "This field is required."),
        ({"key": "nonsense"}, "The form is damaged."),
        ({"mark": "x"}, "Select a valid choice."),
    ],
)
def test_what_cannot_be_uploaded_is_said_at_the_field(
    wrong: dict[str, Any], words: str, as_: Login, importer: Any
) -> None:
    response = as_(importer).post(url(), upload(good(), **wrong))
    assert response.status_code == 200
    assert words in response.content.decode()
    assert not Job.objects.exists()


def test_a_file_that_is_too_large_is_refused_before_it_is_kept(
    as_: Login, importer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MOST_BYTES", 20)
    text = as_(importer).post(url(), upload(good())).content.decode()
    assert "Split it into several." in text
    assert not Job.objects.exists()


def test_how_numbers_are_written_can_be_said(as_: Login, importer: Any) -> None:
    content = f"owner,amount\n{world.new_user().get_username()},1.234\n"
    client = as_(importer)
    client.post(url(), upload(content))
    assert Job.objects.latest("pk").preview["bad"] == 1
    client.post(url(), upload(content, mark=","))
    assert Job.objects.latest("pk").preview["tokens"] == 1234


def test_the_content_decides_and_not_the_name(as_: Login, importer: Any) -> None:
    book = openpyxl.Workbook()
    book.active.append(["owner", "amount"])
    book.active.append([world.new_user().get_username(), 5])
    file = io.BytesIO()
    book.save(file)
    as_(importer).post(url(), upload(file.getvalue(), name="lots.csv"))
    assert Job.objects.latest("pk").preview["form"] == "xlsx"


# Templates


def test_a_template_takes_lines_and_comes_in_again(as_: Login, importer: Any) -> None:
    client = as_(importer)
    user = world.new_user()
    row = dict.fromkeys(lot_columns.READ, "") | {"owner": user.get_username(), "amount": "5"}
    text = client.get(url("_template", "csv")).content
    client.post(url(), upload(text + ",".join(row.values()).encode() + b"\r\n"))
    assert (Job.objects.latest("pk").preview["new"], Job.objects.latest("pk").preview["ignored"]) == (1, [])
    book = openpyxl.load_workbook(io.BytesIO(client.get(url("_template", "xlsx")).content))
    book.active.append(list(row.values()))
    file = io.BytesIO()
    book.save(file)
    client.post(url(), upload(file.getvalue(), name="lots.xlsx"))
    assert (Job.objects.latest("pk").preview["new"], Job.objects.latest("pk").preview["ignored"]) == (1, [])
    assert client.get(url("_template", "json")).status_code == 404


def test_the_example_of_the_page_is_without_fault(as_: Login, importer: Any) -> None:
    user = world.new_user()
    row = importing.EXAMPLE | {"owner": user.get_username(), "starts_at": "", "expires_at": f"{NEXT_YEAR}-12-31"}
    as_(importer).post(url(), upload(f"{','.join(row)}\n{','.join(row.values())}\n"))
    assert Job.objects.latest("pk").preview["codes"] == {}


# The page of the job


def test_errors_stand_first_with_what_is_in_the_file_and_what_to_write(as_: Login, importer: Any) -> None:
    client = as_(importer)
    page = client.post(url(), upload(bad()))["Location"]
    text = client.get(page).content.decode()
    assert "There is no user or pool “nobody@example.com”." in text
    assert "This is a formula. Write what it comes to, as text or a number." in text
    assert "<code>=1+1</code>" in text
    assert "2 errors in 1 line" in text
    assert "1 line is wrong." in text
    assert 'name="reason"' not in text
    assert text.index("tp-import-errors") < text.index("tp-sample")
    job = Job.objects.latest("pk")
    confirm = reverse("admin:django_token_pricing_job_confirm", args=[job.pk])
    client.post(confirm, {"reason": "all the same"})
    assert not LedgerEntry.objects.exists()


def test_wrong_lines_are_downloaded_as_they_were_with_the_reasons(as_: Login, importer: Any) -> None:
    client = as_(importer)
    client.post(url(), upload(bad()))
    response = client.get(url("_errors", Job.objects.latest("pk").pk))
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert header == ["line", "what is wrong", "code", "owner", "amount", "reason"]
    assert row[0] == "2"
    assert row[1].startswith("owner: There is no user or pool “nobody@example.com”. amount: This is a formula.")
    assert row[2:] == ["unknown_owner formula", "nobody@example.com", "'=1+1", ""]


def test_mended_lines_can_be_uploaded_with_the_reasons_beside_them(as_: Login, importer: Any) -> None:
    client = as_(importer)
    client.post(url(), upload(bad()))
    response = client.get(url("_errors", Job.objects.latest("pk").pk))
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    mended = text.replace("nobody@example.com,'=1+1", f"{world.new_user().get_username()},2")
    client.post(url(), upload(mended))
    job = Job.objects.latest("pk")
    assert (job.preview["new"], job.preview["bad"]) == (1, 0)
    assert job.preview["ignored"] == ["line", "what is wrong", "code"]


def test_the_preview_shows_totals_and_lines_and_is_confirmed_with_a_reason(as_: Login, importer: Any) -> None:
    one, two = world.new_users(2)
    tokens.grant(one, 1000, source="plan")
    content = f"E-mail;Tokens;Colour\n{one.get_username()};500;red\n{two.get_username()};1.000.000;\n"
    client = as_(importer)
    page = client.post(url(), upload(content))["Location"]
    text = client.get(page).content.decode()
    for words in ("Import 2 lines of lots.csv?", "1,000,500", "<ins>1,500</ins>", "1 column is not read.", "semicolon"):
        assert words in text, words
    job = Job.objects.latest("pk")
    client.post(reverse("admin:django_token_pricing_job_confirm", args=[job.pk]), {"reason": "Autumn fair"})
    jobs.work(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done) == (JobStatus.DONE, 2)
    text = client.get(page).content.decode()
    assert "1,000,500" in text
    assert job.event is not None
    assert (job.event.actor, job.event.reason) == (importer, "Autumn fair")
    text = client.get(client.post(url(), upload(content))["Location"]).content.decode()
    assert "2 lines were granted before." in text
    assert "there is nothing to grant" in text


def test_a_file_that_cannot_be_read_is_said_in_plain_words_with_a_way_on(as_: Login, importer: Any) -> None:
    client = as_(importer)
    page = client.post(url(), upload("name,colour\na,b\n"))["Location"]
    text = client.get(page).content.decode()
    assert "No column says whose the tokens are." in text
    assert "<code>missing_column</code>" in text
    assert f'href="{url()}"' in text


def test_what_stands_in_a_file_is_never_markup(as_: Login, importer: Any) -> None:
    client = as_(importer)
    evil = "<script>alert(1)</script>"
    page = client.post(url(), upload(f"owner,amount,{evil}\n{evil},{evil},{evil}\n", name=f"{evil}.csv"))["Location"]
    assert evil not in client.get(page).content.decode()


def test_accounts_are_linked_for_those_who_may_see_them(as_: Login, importer: Any) -> None:
    user = world.new_user()
    tokens.grant(user, 1, source="plan")
    account = TokenAccount.objects.get(user=user)
    content = f"owner,amount\n{user.get_username()},5\n"
    page = as_(importer).post(url(), upload(content))["Location"]
    assert site.page(account) not in as_(importer).get(page).content.decode()
    seeing = site.staff(*MAY, "view_tokenaccount", "view_job")
    assert site.page(account) in as_(seeing).get(page).content.decode()


def test_an_export_comes_in_again_and_grants_nothing(as_: Login) -> None:
    person = site.staff(*MAY, "export_tokenallocation")
    client = as_(person)
    pool = world.new_pool()
    content = (
        "owner,amount,source,expires,reason,key,paid,currency,priority\n"
        f"{world.new_user().get_username()},5,promotion,{NEXT_YEAR}-12-31,'=sum,k:1,9.90,EUR,7\n"
        f"pool:{pool.name},6,,,,k:2,,,\n"
    )
    client.post(url(), upload(content))
    job = Job.objects.latest("pk")
    jobs.work(jobs.confirm(job, reason="r", actor=person).pk)
    export = reverse("admin:django_token_pricing_tokenallocation_export")
    for kind in ("csv", "xlsx"):
        response = client.post(export, {"key": str(uuid4()), "format": kind, "reason": ""})
        file = b"".join(response.streaming_content)  # type: ignore[attr-defined]
        client.post(url(), upload(file, name=f"lots.{kind}"))
        preview = Job.objects.latest("pk").preview
        assert (preview["same"], preview["new"], preview["codes"]) == (2, 0, {}), kind
