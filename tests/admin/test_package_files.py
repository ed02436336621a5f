"""Packages as files: out and in again without a change, all or nothing, with a reason, by those who may."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from django_token_pricing.admin.base import importing
from django_token_pricing.models import AuditEvent, TokenPackage, TokenPackagePrice
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
CSV, XLSX, JSON = range(3)
FORMATS = pytest.mark.parametrize("form", [CSV, XLSX, JSON], ids=["csv", "xlsx", "json"])
HEAD = "code,name,tokens,prices\n"


def url(page: str) -> str:
    return reverse(f"admin:django_token_pricing_tokenpackage_{page}")


@pytest.fixture
def mover(db: None) -> Any:
    return site.staff("view_tokenpackage", "import_tokenpackage", "export_tokenpackage")


def exported(client: Client, form: int, query: str = "") -> bytes:
    response = client.post(f"{url('export')}{query}", {"format": str(form), "resource": "0"})
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith("attachment"), response.content.decode()
    return bytes(response.content)


def upload(client: Client, content: bytes | str) -> Any:
    content = content.encode() if isinstance(content, str) else content
    return client.post(url("import"), {"resource": "0", "import_file": SimpleUploadedFile("packages", content)})


def confirm(client: Client, preview: Any, reason: str = "New price list") -> Any:
    hidden = {field.html_name: field.value() for field in preview.context["confirm_form"].hidden_fields()}
    return client.post(url("process_import"), {**hidden, "reason": reason})


def errors(response: Any) -> str:
    assert response.status_code == 200
    assert "confirm_form" not in response.context
    result, form = response.context.get("result"), response.context["form"]
    told = [str(form.errors)]
    if result is not None:
        told += [str(error.error) for error in result.base_errors]
        told += [str(error.error) for _row, found in result.row_errors() for error in found]
        told += [str(row.error) for row in result.invalid_rows]
    return " ".join(told)


def state() -> list[tuple[Any, ...]]:
    fields = "code", "name", "description", "tokens", "validity_days", "priority", "per_user", "is_active", "place"
    prices = TokenPackagePrice.objects.order_by("package", "currency").values_list("package", "currency", "amount")
    return [*TokenPackage.objects.order_by("pk").values_list("pk", *fields), *prices]


# Who may


def test_files_move_with_a_permission_of_their_own_and_the_view(
    as_: Login, viewer: Any, operator: Any, staff_without_permission: Any, mover: Any
) -> None:
    site.package()
    preview = upload(as_(mover), f"{HEAD}new,New,5,\n")
    hidden = {field.html_name: field.value() for field in preview.context["confirm_form"].hidden_fields()}
    steps = {
        "export": ("export_tokenpackage", {"format": "0", "resource": "0"}),
        "import": ("import_tokenpackage", {"resource": "0"}),
        "process_import": ("import_tokenpackage", {**hidden, "reason": "Mine"}),
    }
    before = AuditEvent.objects.count()
    for page, (permission, data) in steps.items():
        other = site.staff("view_tokenpackage", "change_tokenpackage", *({p for p, _ in steps.values()} - {permission}))
        for person in (viewer, operator, staff_without_permission, site.staff(permission), other):
            client = as_(person)
            assert client.get(url(page)).status_code == 403, page
            assert client.post(url(page), data).status_code == 403, page
            assert f'href="{url(page)}"' not in client.get(site.lists(TokenPackage)).content.decode()
    assert AuditEvent.objects.count() == before
    assert TokenPackage.objects.count() == 1
    text = as_(mover).get(site.lists(TokenPackage)).content.decode()
    for page in ("export", "import"):
        assert f'href="{url(page)}"' in text
        assert as_(mover).get(url(page)).status_code == 200
    assert as_(mover).get(url("process_import")).status_code == 405


@pytest.mark.parametrize("is_logged_in", [True, False])
def test_strangers_are_sent_to_the_login(is_logged_in: bool, stranger: Any, client: Client, as_: Login) -> None:
    client = as_(stranger) if is_logged_in else client
    for page in ("export", "import", "process_import"):
        for response in (client.get(url(page)), client.post(url(page), {"format": "0"})):
            assert response.status_code == 302
            assert "/login/" in response["Location"]


def test_settings_of_the_host_open_nothing(as_: Login, viewer: Any, mover: Any, settings: Any) -> None:
    settings.IMPORT_EXPORT_EXPORT_PERMISSION_CODE = settings.IMPORT_EXPORT_IMPORT_PERMISSION_CODE = "view"
    settings.IMPORT_EXPORT_SKIP_ADMIN_CONFIRM = settings.IMPORT_EXPORT_SKIP_ADMIN_EXPORT_UI = True
    settings.IMPORT_EXPORT_FORMATS = []
    assert as_(viewer).post(url("export"), {"format": "0"}).status_code == 403
    assert as_(viewer).post(url("import"), {"resource": "0"}).status_code == 403
    assert "attachment" not in as_(mover).get(url("export")).get("Content-Disposition", "")
    assert "confirm_form" in upload(as_(mover), f"{HEAD}new,New,5,\n").context
    assert not TokenPackage.objects.exists()


# Out


@FORMATS
def test_what_is_exported_comes_in_again_without_a_change(form: int, as_: Login, mover: Any) -> None:
    site.package(name="=SUM(A1)", description='\t+1, "two";\n\'=three', validity_days=30, per_user=2, priority=-5)
    site.package(name="'quoted", code="0123", tokens=2**62, is_active=False, place=7).prices.create(
        currency="KWD", amount=Decimal("0.0125")
    )
    before = state()
    client = as_(mover)
    preview = upload(client, exported(client, form))
    assert preview.context["result"].totals["skip"] == 2, errors(preview)
    assert confirm(client, preview).status_code == 302
    assert state() == before
    TokenPackagePrice.objects.all().delete()
    TokenPackage.objects.all().delete()


@FORMATS
def test_packages_that_were_deleted_come_back_from_a_file(form: int, as_: Login, mover: Any) -> None:
    site.package(name="=SUM(A1)", validity_days=30)
    client = as_(mover)
    content, before = exported(client, form), [row[1:] for row in state()]
    TokenPackagePrice.objects.all().delete()
    TokenPackage.objects.all().delete()
    confirm(client, upload(client, content))
    assert [row[1:] for row in state()] == before


def test_a_spreadsheet_runs_nothing_and_gets_numbers_as_numbers(as_: Login, mover: Any) -> None:
    site.package(name="=1+1", code="pack", tokens=1_000_000)
    client = as_(mover)
    assert "'=1+1" in exported(client, CSV).decode("utf-8-sig")
    sheet = openpyxl.load_workbook(io.BytesIO(exported(client, XLSX))).active
    cells = {str(head.value): cell.value for head, cell in zip(sheet[1], sheet[2], strict=True)}
    assert cells["name"] == "'=1+1"
    assert cells["tokens"] == 1_000_000
    (row,) = json.loads(exported(client, JSON))
    assert (row["tokens"], row["is_active"], row["prices"]) == (1_000_000, True, "EUR 9.00; USD 10.00")


def test_the_search_and_filters_of_the_list_apply(as_: Login, mover: Any) -> None:
    site.package(code="on", name="Sold")
    site.package(code="off", name="Not sold", is_active=False)
    client = as_(mover)
    assert f'href="{url("export")}?q=so"' in client.get(f"{site.lists(TokenPackage)}?q=so").content.decode()
    for query, code in (("?q=so", "on"), ("?is_active__exact=0", "off")):
        assert [row["code"] for row in json.loads(exported(client, JSON, query))] == [code]
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.actor, event.count) == ("packages.export", mover, 1)


def test_csv_xlsx_and_json_are_offered_and_nothing_else(as_: Login, mover: Any) -> None:
    client = as_(mover)
    form = client.get(url("export")).context["form"]
    assert [text for _value, text in form.fields["format"].choices][1:] == ["csv", "xlsx", "json"]
    assert client.post(url("export"), {"format": "3", "resource": "0"}).context["form"].errors
    assert client.post(url("export"), {"format": "", "resource": "0"}).context["form"].errors
    assert client.post(url("export"), {"format": "0", "export_items": ["1"]}).status_code == 200


# In


def test_a_file_is_shown_first_and_imported_with_who_and_why(as_: Login, mover: Any) -> None:
    old = site.package(code="old", name="Old", tokens=1_000)
    same = site.package(code="same", name="Same", tokens=5)
    client = as_(mover)
    preview = upload(client, f"{HEAD}old,Old,2000,EUR 8.50; GBP 7\nnew,New,70,EUR 1\nsame,Same,5,USD 10; EUR 9\n")
    text = preview.content.decode()
    for shown in ("<del>1000</del> <strong>2000</strong>", "<del>EUR 9.00; USD 10.00</del>", "EUR 8.50; GBP 7.00"):
        assert shown in text
    assert [(row.import_type, len(row.changes)) for row in preview.context["result"].valid_rows()] == [
        ("update", 2),
        ("new", 7),
        ("skip", 0),
    ]
    assert TokenPackage.objects.count() == 2
    assert not AuditEvent.objects.exists()
    done = client.get(confirm(client, preview)["Location"]).content.decode()
    assert "The file is imported. Added: 1. Changed: 1. As they were: 1." in done
    old.refresh_from_db()
    assert old.tokens == 2_000
    assert dict(old.prices.values_list("currency", "amount")) == {"EUR": Decimal("8.5"), "GBP": 7}
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.reason, event.count) == ("packages.import", mover, "New price list", 2)
    new = TokenPackage.objects.get(code="new")
    signed = ("~", mover.pk, "New price list")
    assert old.history.values_list("history_type", "history_user", "history_change_reason").first() == signed
    written = TokenPackagePrice.history.filter(history_user=mover.pk, history_change_reason="New price list")
    assert sorted(written.values_list("package", "currency", "history_type")) == sorted(
        [(old.pk, "EUR", "~"), (old.pk, "GBP", "+"), (old.pk, "USD", "-"), (new.pk, "EUR", "+")]
    )
    assert same.history.count() == 1


def test_a_change_of_prices_alone_is_no_version_of_the_package(as_: Login, mover: Any) -> None:
    package = site.package(code="pack")
    client = as_(mover)
    confirm(client, upload(client, "code,prices\npack,EUR 5\n"))
    assert package.history.count() == 1
    assert dict(package.prices.values_list("currency", "amount")) == {"EUR": 5}


def test_a_column_that_is_not_there_stays_and_heads_may_be_written_otherwise(as_: Login, mover: Any) -> None:
    package = site.package(code="pack", name="Before", tokens=5)
    client = as_(mover)
    confirm(client, upload(client, " Code ;NAME;Is_Active\n\npack;After;No\n\n".encode("utf-16")))
    package.refresh_from_db()
    assert (package.name, package.tokens, package.is_active, package.prices.count()) == ("After", 5, False, 2)


def test_without_a_reason_the_preview_comes_again(as_: Login, mover: Any) -> None:
    client = as_(mover)
    preview = upload(client, f"{HEAD}new,New,5,\n")
    response = confirm(client, preview, reason=" ")
    assert response.status_code == 200
    assert response.context["confirm_form"].errors["reason"]
    assert "New" in response.content.decode()
    assert not TokenPackage.objects.exists()
    assert confirm(client, response).status_code == 302
    assert TokenPackage.objects.exists()


def test_a_preview_sent_twice_changes_once(as_: Login, mover: Any) -> None:
    client = as_(mover)
    preview = upload(client, f"{HEAD}new,New,5,EUR 1\n")
    confirm(client, preview)
    confirm(client, preview)
    assert (TokenPackage.objects.count(), TokenPackagePrice.objects.count(), AuditEvent.objects.count()) == (1, 1, 1)


@pytest.mark.parametrize(
    "forged", [{"import_file_name": "x"}, {"import_file_name": ""}, {"format": "7"}, {"format": ""}]
)
def test_a_preview_that_was_tampered_with_is_refused(forged: dict[str, str], as_: Login, mover: Any) -> None:
    client = as_(mover)
    preview = upload(client, f"{HEAD}new,New,5,\n")
    hidden = {field.html_name: field.value() for field in preview.context["confirm_form"].hidden_fields()}
    response = client.post(url("process_import"), {**hidden, "reason": "Mine", **forged}, follow=True)
    assert "The preview is out of date. Nothing has changed" in response.content.decode()
    assert not TokenPackage.objects.exists()


def test_what_became_wrong_since_the_preview_is_shown_and_nothing_is_done(as_: Login, mover: Any) -> None:
    package = site.package(code="pack", name="Pack")
    client = as_(mover)
    preview = upload(client, f"{HEAD}new,New,5,\npack,Pack,7,\n")
    TokenPackage.objects.filter(pk=package.pk).update(validity_days=40_000)
    assert "36500" in errors(confirm(client, preview))
    assert list(TokenPackage.objects.values_list("code", "tokens")) == [("pack", 1_000)]
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"),
        ("code,name\n", "No valid data"),
        ("name,tokens\nNew,5\n", "code"),
        ("code,name,colour\nnew,New,red\n", "There is no column “colour”."),
        ("code,name,name\nnew,New,New\n", "more than once"),
        (f"{HEAD}new,New,5,\nnew,New,6,\n", "“new” is there more than once."),
        (f"{HEAD},New,5,\n", "code"),
        (f"{HEAD}no spaces,New,5,\n", "code"),
        (f"{HEAD}new,,5,\n", "name"),
        (f"{HEAD}new,New,,\n", "tokens"),
        (f"{HEAD}new,New,0,\n", "greater than or equal to 1"),
        (f"{HEAD}new,New,1.5,\n", "“1.5” is not a whole number."),
        (f'{HEAD}new,New,"1,234",\n', "may be"),
        (f"{HEAD}new,New,many,\n", "“many” is not a number."),
        (f"{HEAD}new,New,5,nine euros\n", "“nine euros” is no price"),
        (f"{HEAD}new,New,5,EUR nine\n", "“nine” is not a number."),
        (f"{HEAD}new,New,5,EUR 9; eur 8\n", "There are two prices in EUR."),
        (f"{HEAD}new,New,5,EUR -9\n", "greater than or equal to 0"),
        (f"{HEAD}new,New,5,EUR 0.00001\n", "decimal places"),
        ("code,is_active\nnew,perhaps\n", "It must be yes or no."),
        (f"{HEAD}new,N\0w,5,\n", "NUL"),
        ('{"code": "new"}', "list of objects"),
        ("[1]", "list of objects"),
        ("[{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('[{"code": "new", "name": ["New"], "tokens": 5}]', "cannot be stored"),
        ('[{"code": "new", "name": "\\ud800", "tokens": 5}]', "cannot be stored"),
        ('[{"code": "new", "\\ud800": 5}]', "There is no column"),
        (b"PK\x03\x04 no zip", "no Excel file"),
        (b"\xd0\xcf\x11\xe0 old", "old Excel"),
        ("code\n" + "pack\n" * 1_001, "more than 1,000 rows"),
        ("x" * (importing.MOST_BYTES + 1), "larger than 1 MB"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_wrong_is_said_and_nothing_is_half_done(
    content: bytes | str, told: str, as_: Login, mover: Any
) -> None:
    client = as_(mover)
    if not content:
        assert upload(client, content).context["form"].errors["import_file"]
        return
    assert told.casefold() in errors(upload(client, content)).casefold()
    assert not TokenPackage.objects.exists()
    assert not AuditEvent.objects.exists()
