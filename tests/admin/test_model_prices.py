"""The price list in the admin: looked at, changed with a reason, imported after a look, and its reach into the past."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from datetime import timezone as tz
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import analytics, jobs, tokens
from django_token_pricing.models import AuditEvent, Job, ModelPrice, RollupState, UsageDay
from django_token_pricing.tokens import prices
from django_token_pricing.tokens.prices import catalogue
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
LOOK = ["view_modelprice"]
EDIT = [*LOOK, "add_modelprice", "change_modelprice", "delete_modelprice", "view_costs", "view_job"]
JANUARY = datetime(2025, 1, 1, tzinfo=tz.utc)
WHY: dict[str, Any] = {"reason": "The provider's list", "actor": None}


def url(page: str, *args: Any) -> str:
    return reverse(f"admin:django_token_pricing_modelprice_{page}", args=args)


def price(**values: Any) -> ModelPrice:
    return tokens.set_price(**{"model": "gpt-5", "starts_at": JANUARY, "input": 2, "output": 8, **WHY, **values})


def form(**more: Any) -> dict[str, str]:
    given = {"model": "gpt-5", "provider": "", "input": "1.25", "output": "10", "reason": "New list", **more}
    return {name: str(value) for name, value in given.items()}


def used(model: str, *, unpriced: int = 0, **values: Any) -> UsageDay:
    return UsageDay.objects.create(
        **{"day": analytics.today(), "model": model, "requests": 5, "tokens": 100, "unpriced": unpriced, **values}
    )


# The list -------------------------------------------------------------------------------------------------------------


def test_the_list_says_from_when_until_when_a_price_is_valid(as_: Login) -> None:
    price()
    price(starts_at=timezone.now() + timedelta(days=2), input=1)
    page = as_(site.staff(*LOOK)).get(url("changelist"))
    text = page.content.decode()
    assert "Valid" in text
    assert "Scheduled" in text
    assert "2.00 / 8.00" in text
    assert "1 / 1" in text


@pytest.mark.parametrize(("state", "left"), [("current", 2), ("scheduled", 1), ("ended", 1)])
def test_prices_can_be_filtered_by_their_state(as_: Login, state: str, left: int) -> None:
    price()
    price(starts_at=JANUARY + timedelta(days=10))
    price(provider="azure")
    price(starts_at=timezone.now() + timedelta(days=2))
    page = as_(site.staff(*LOOK)).get(url("changelist"), {"state": state})
    assert page.context["cl"].result_count == left


def test_prices_can_be_filtered_by_provider_and_found_by_model(as_: Login) -> None:
    price()
    price(provider="azure")
    client = as_(site.staff(*LOOK))
    assert client.get(url("changelist"), {"provider": "azure"}).context["cl"].result_count == 1
    assert client.get(url("changelist"), {"provider": "-"}).context["cl"].result_count == 1
    assert client.get(url("changelist"), {"q": "gpt"}).context["cl"].result_count == 2
    assert client.get(url("changelist"), {"q": "pt"}).context["cl"].result_count == 0


def test_a_long_list_takes_as_many_queries_as_a_short_one(as_: Login) -> None:
    client = as_(site.staff(*EDIT))
    price()
    used("o4", unpriced=3)
    with CaptureQueriesContext(connection) as few:
        client.get(url("changelist"))
    for number in range(30):
        price(model=f"model {number}")
        used(f"unknown {number}", unpriced=3)
    with CaptureQueriesContext(connection) as many:
        client.get(url("changelist"))
    assert len(many) == len(few)


def test_models_in_use_without_a_price_are_listed_with_the_way_to_add_one(as_: Login) -> None:
    used("gpt-<b>6</b>", unpriced=4)
    used("priced")
    used("", unpriced=2, feature="chat")
    page = as_(site.staff(*EDIT)).get(url("changelist"))
    text = page.content.decode()
    assert "gpt-&lt;b&gt;6&lt;/b&gt;" in text
    assert "4 uses" in text
    assert "No model named" in text
    link = f"{url('add')}?model=gpt-%3Cb%3E6%3C%2Fb%3E&amp;starts_at={analytics.today().isoformat()}"
    assert link in text
    assert text.count("Add price of") == 1


def test_a_name_of_500_characters_is_cut_in_the_list(as_: Login) -> None:
    # As long as the column of the roll-up allows.
    used("x" * 200, unpriced=1)
    assert "x" * 61 not in as_(site.staff(*LOOK)).get(url("changelist")).context["unpriced"]["rows"][0]["name"]


def test_old_costs_are_noted(as_: Login) -> None:
    RollupState.objects.create(pk=1, zone="UTC", folded_at=timezone.now())
    price()
    text = as_(site.staff(*EDIT)).get(url("changelist")).content.decode()
    assert "Costs are older than the price list." in text
    assert url("reprice") in text
    assert url("reprice") not in as_(site.staff(*LOOK)).get(url("changelist")).content.decode()


# The form -------------------------------------------------------------------------------------------------------------


def test_a_price_is_added_with_a_reason(as_: Login) -> None:
    actor = site.staff(*EDIT)
    page = as_(actor).post(url("add"), form(cached_read="0.125", weight_output="4"))
    assert page.status_code == 302
    row = ModelPrice.objects.get()
    assert (row.input, row.cached_read, row.weight_output) == (Decimal("1.25"), Decimal("0.125"), 4)
    event = AuditEvent.objects.get(action="prices.add")
    assert (event.actor, event.reason) == (actor, "New list")
    assert row.history.get().history_user == actor


def test_the_link_of_an_unknown_model_fills_the_form(as_: Login) -> None:
    page = as_(site.staff(*EDIT)).get(url("add"), {"model": "o4", "starts_at": "2025-03-01"})
    shown = page.context["adminform"].form
    assert shown["model"].value() == "o4"
    assert shown["starts_at"].value() == datetime(2025, 3, 1)  # noqa: DTZ001 - as the field shows it


def test_models_in_use_are_suggested(as_: Login) -> None:
    used("gpt-<b>6</b>")
    assert '<option value="gpt-&lt;b&gt;6&lt;/b&gt;">' in as_(site.staff(*EDIT)).get(url("add")).content.decode()


@pytest.mark.parametrize("given", ["2025-99-01", "x", "9" * 40])
def test_a_damaged_link_fills_in_what_it_can(as_: Login, given: str) -> None:
    assert as_(site.staff(*EDIT)).get(url("add"), {"model": "m" * 500, "starts_at": given}).status_code == 200


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"input": "-1"}, "input"),
        ({"input": "1000001"}, "input"),
        ({"output": ""}, "output"),
        ({"input": "1.1234567"}, "input"),
        ({"model": "m" * 201}, "model"),
        ({"model": ""}, "model"),
        ({"weight_input": "100001"}, "weight_input"),
        ({"reason": ""}, "reason"),
        ({"starts_at": "soon"}, "starts_at"),
    ],
)
def test_what_is_no_price_is_said_at_its_field(as_: Login, given: dict[str, str], field: str) -> None:
    page = as_(site.staff(*EDIT)).post(url("add"), form(**given))
    assert page.status_code == 200
    assert field in page.context["adminform"].form.errors
    assert not ModelPrice.objects.exists()


def test_a_second_price_from_the_same_moment_on_is_refused(as_: Login) -> None:
    price(starts_at=datetime(2025, 1, 1, tzinfo=timezone.get_default_timezone()))
    page = as_(site.staff(*EDIT)).post(url("add"), form(starts_at="2025-01-01T00:00:00"))
    assert page.status_code == 200
    assert "There is a price of this model from that moment on already" in page.content.decode()


def test_a_change_keeps_the_moment_to_the_microsecond(as_: Login) -> None:
    at = JANUARY + timedelta(microseconds=123456)
    row = price(starts_at=at)
    local = timezone.localtime(at).strftime("%Y-%m-%dT%H:%M:%S")
    page = as_(site.staff(*EDIT)).post(url("change", row.pk), form(starts_at=local))
    assert page.status_code == 302
    row.refresh_from_db()
    assert (row.starts_at, row.input) == (at, Decimal("1.25"))


def test_a_price_is_deleted_with_a_reason_and_its_history_stays(as_: Login) -> None:
    row = price()
    client = as_(site.staff(*EDIT))
    assert client.get(url("delete", row.pk)).status_code == 200
    client.post(url("delete", row.pk), {"key": str(uuid4()), "reason": "Entered twice"})
    assert not ModelPrice.objects.exists()
    assert AuditEvent.objects.get(action="prices.remove").reason == "Entered twice"
    assert "Entered twice" in client.get(url("history", row.pk)).content.decode()


def test_who_may_look_may_not_change(as_: Login) -> None:
    row = price()
    client = as_(site.staff(*LOOK))
    assert client.get(url("change", row.pk)).status_code == 200
    assert client.post(url("change", row.pk), form()).status_code == 403
    for page in ("add", "import", "reprice"):
        assert client.get(url(page)).status_code == 403
        assert client.post(url(page), form()).status_code == 403
    for page in ("delete",):
        assert client.get(url(page, row.pk)).status_code == 403
        assert client.post(url(page, row.pk), form()).status_code == 403


# Importing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published prices that no release changes."""

    class Model:
        def __init__(self, code: str, **amounts: Any) -> None:
            self.id = code
            self.amounts = amounts

        def get_prices(self, at: datetime) -> Any:
            return type("Prices", (), self.amounts)

    class Tiered:
        base, tiers = Decimal(3), ()

    class Provider:
        def __init__(self, code: str, *models: Model) -> None:
            self.id, self.name, self.models = code, code.title(), list(models)

        def find_model(self, name: str) -> Model | None:
            return next((model for model in self.models if name.startswith(model.id)), None)

    found = [
        Provider(
            "openai",
            Model("gpt-5", input_mtok=Decimal(1), output_mtok=Decimal(8), cache_read_mtok=Decimal("0.1")),
            Model("embed", input_mtok=Decimal("0.02")),
            Model("sound", audio_hours=Decimal(1)),
        ),
        Provider(
            "acme", Model("gpt-5", input_mtok=Decimal(9), output_mtok=Decimal(9)), Model("x1", input_mtok=Tiered())
        ),
    ]
    monkeypatch.setattr(catalogue, "_providers", lambda: found)


def test_models_in_use_are_ticked_and_stored_under_the_name_that_the_usage_has(as_: Login, known: None) -> None:
    used("gpt-5-2025-08-07", unpriced=1)
    client = as_(site.staff(*EDIT))
    query = "?publisher=openai&which=all&target=any"
    page = client.get(url("import") + query)
    ticked = {line.name for line, is_ticked in page.context["lines"] if is_ticked}
    assert ticked == {"gpt-5-2025-08-07"}
    assert {line.name for line, _ticked in page.context["lines"]} == {"gpt-5-2025-08-07", "gpt-5", "embed"}
    given = {"row": ["openai:gpt-5-2025-08-07"], "reason": "The list of today", "starts_at": ""}
    assert client.post(url("import") + query, given).status_code == 302
    row = ModelPrice.objects.get()
    assert (row.model, row.provider, row.input, row.source) == ("gpt-5-2025-08-07", "", 1, "genai-prices")
    assert AuditEvent.objects.get(action="prices.import").count == 1


def test_the_page_says_what_is_new_changed_and_the_same(as_: Login, known: None) -> None:
    price(input=2)
    price(model="embed", input="0.02", output=0)
    page = as_(site.staff(*EDIT)).get(url("import") + "?publisher=openai&publisher=acme&which=all&target=any")
    words = {line.name: line.word for line, _ticked in page.context["lines"]}
    assert words == {"gpt-5": "Changed", "embed": "As it is", "x1": "New"}
    text = page.content.decode()
    assert "<del>2.00</del> <ins>1.00</ins>" in text
    assert "(short requests)" in text


def test_prices_may_be_saved_for_their_provider_alone(as_: Login, known: None) -> None:
    client = as_(site.staff(*EDIT))
    query = "?publisher=openai&publisher=acme&which=all&target=named"
    client.post(url("import") + query, {"row": ["openai:gpt-5", "acme:gpt-5"], "reason": "Both"})
    assert dict(ModelPrice.objects.values_list("provider", "input")) == {"openai": 1, "acme": 9}


def test_for_any_provider_a_model_takes_the_price_of_the_first(as_: Login, known: None) -> None:
    client = as_(site.staff(*EDIT))
    query = "?publisher=openai&publisher=acme&which=all&target=any"
    client.post(url("import") + query, {"row": ["openai:gpt-5", "acme:gpt-5"], "reason": "Both"})
    assert dict(ModelPrice.objects.values_list("provider", "input")) == {"": 1}


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ("?publisher=openai&which=all&target=any", {"reason": "Nothing ticked"}),
        ("?publisher=openai&which=all&target=any", {"row": ["openai:gpt-5"], "reason": ""}),
        ("?publisher=openai&which=all&target=any", {"row": ["openai:gpt-5"], "reason": "x", "starts_at": "soon"}),
        ("?publisher=openai&which=all&target=any", {"row": ["openai:other"], "reason": "x"}),
        ("?publisher=nobody&which=all&target=any", {"row": ["openai:gpt-5"], "reason": "x"}),
        ("", {"row": ["openai:gpt-5"], "reason": "x"}),
    ],
)
def test_what_cannot_be_imported_changes_nothing(as_: Login, known: None, query: str, given: Any) -> None:
    assert as_(site.staff(*EDIT)).post(url("import") + query, given).status_code == 200
    assert not ModelPrice.objects.exists()


def test_without_the_extra_the_page_says_what_to_install(as_: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    text = as_(site.staff(*EDIT)).get(url("import")).content.decode()
    assert "django-token-pricing[prices]" in text


def test_the_package_of_published_prices_is_read_as_it_is() -> None:
    pytest.importorskip("genai_prices")
    assert "openai" in {publisher.code for publisher in prices.publishers()}
    found = prices.published(["openai"], as_of=timezone.now(), models=["gpt-4o-2024-08-06"], has_all=False)
    assert [each.price.model for each in found] == ["gpt-4o-2024-08-06"]
    assert found[0].price.input
    everything = prices.published([each.code for each in prices.publishers()], as_of=timezone.now())
    assert len(everything) > 1000
    for each in everything:
        prices.draft(**each.price.values())


# Working costs out anew -----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_costs_are_compared_first_and_taken_over_when_confirmed(as_: Login) -> None:
    at = timezone.now() - timedelta(days=40)
    tokens.record_many(
        [tokens.Use(world.new_user(), 10, key="a", model="gpt-5", input_tokens=10**6, output_tokens=0, used_at=at)]
    )
    analytics.fold()
    assert UsageDay.objects.get().unpriced == 1
    price(input=3)
    actor = site.staff(*EDIT)
    client = as_(actor)
    page = client.get(url("reprice"))
    first, last = (page.context["form"].initial[name] for name in ("first", "last"))
    assert date.fromisoformat(first) <= at.date() <= timezone.now().date()
    client.post(url("reprice"), {"first": first, "last": last, "key": str(uuid4())})
    job = Job.objects.get()
    jobs.work(job.pk)
    job.refresh_from_db()
    _model, before, after, *unpriced = job.preview["whole"]
    assert (Decimal(before), Decimal(after), unpriced) == (0, 3, [1, 0])
    assert UsageDay.objects.get().unpriced == 1
    preview = client.get(reverse("admin:django_token_pricing_job_change", args=(job.pk,))).content.decode()
    assert "USD 3.00" in preview
    jobs.confirm(job, reason="As listed", actor=actor)
    jobs.work(job.pk)
    job.refresh_from_db()
    assert job.status == "done", job.problem
    row = UsageDay.objects.get()
    assert (row.cost, row.unpriced) == (3, 0)
    assert RollupState.objects.get().prices_changed_from is None
    assert analytics.verify() == []


@pytest.mark.django_db(transaction=True)
def test_who_may_not_see_costs_sees_none_of_the_comparison(as_: Login) -> None:
    at = timezone.now() - timedelta(days=40)
    tokens.record_many(
        [tokens.Use(world.new_user(), 10, key="a", model="gpt-5", input_tokens=10**6, output_tokens=0, used_at=at)]
    )
    price(input=3)
    first, until = at.date().replace(day=1), analytics.months_to_reprice()[1]
    job = analytics.ask_repricing(first, until, actor=site.staff(*EDIT), key=uuid4())
    jobs.work(job.pk)
    client = as_(site.staff("view_modelprice", "change_modelprice", "view_job"))
    page = client.get(reverse("admin:django_token_pricing_job_change", args=(job.pk,)))
    assert page.status_code in (200, 403)
    assert "USD" not in page.content.decode()


@pytest.mark.parametrize("given", [{"first": "2026-01-02"}, {"first": "x"}, {"last": "1990-01-01"}, {"key": "x"}])
def test_months_that_do_not_exist_are_refused(as_: Login, given: dict[str, str]) -> None:
    this = analytics.today().replace(day=1).isoformat()
    page = as_(site.staff(*EDIT)).post(url("reprice"), {"first": this, "last": this, "key": str(uuid4()), **given})
    assert page.status_code == 200
    assert not Job.objects.exists()
