"""Our admin pages in a real browser: axe finds nothing, nothing is inline, nothing scrolls sideways.

Skipped where there is no Chromium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page

from django_token_pricing import jobs, tokens
from django_token_pricing.models import (
    Approval,
    ApprovalRule,
    BoostPolicy,
    Job,
    LedgerEntry,
    LimitRule,
    Notification,
    Purchase,
    Renewal,
    RenewalPolicy,
    ScheduledRun,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenUsageLog,
    WarningRule,
)
from django_token_pricing.tokens.limits import changes, rules
from tests import world
from tests.admin import site

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]

KINDS = ("grant", "subtract", "set", "expire")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'"
)
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 420)}


def no_icon(page: Page) -> None:
    """The browser asks for an icon of the site, which is the host's to have."""
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))


def strict_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


def packages(page: str) -> str:
    return reverse(f"admin:django_token_pricing_tokenpackage_{page}")


def history(row: Any) -> str:
    return reverse(f"admin:django_token_pricing_{row._meta.model_name}_history", args=[row.pk])


def exports(model: type[Any]) -> str:
    return reverse(f"admin:django_token_pricing_{model._meta.model_name}_export")


def written_file() -> Any:
    """A job that has written the file of a list."""
    params = {"site": "admin", "query": "from=2026-01-01", "format": "csv", "reason": ""}
    actor = site.staff(is_superuser=True)
    return jobs.create("export.ledgerentry", params=params, actor=actor, key=uuid4(), file_name="entries.csv", now=True)


def trial() -> Job:
    """What a limit would have done to the usage of the last days."""
    values = changes.terms(rules.draft(scope="default", window="day", limit=5))
    job = tokens.ask_replay(values, days=5, actor=None, key=uuid4())
    jobs.work(job.pk)
    return job


def bulk_work(customer: Any, closed: TokenAccount) -> dict[str, str]:
    """Forms of deeds on many, and jobs in each state, with notes and errors."""
    of_deeds = {name: reverse(f"admin:django_token_pricing_tokenaccount_many_{name}") for name in KINDS}
    pages = {f"{name} to many": f"{url}?accounts={customer.account.pk}" for name, url in of_deeds.items()}
    tokens.grant(customer.user, 70, source="manual")
    terms = {"amount": 30_000, "at_most": False, "of_source": None}
    for name in KINDS:
        given = {**terms, "amount": 70} if name == "grant" else terms
        job = site.job(f"tokens.{name}", customer.account, closed, **given)
        pages[f"preview of {name}"] = site.page(job)
    done = jobs.confirm(site.job("tokens.subtract", customer.account, closed, **terms), reason="Correction", actor=None)
    jobs.work(done.pk)
    pages["job with errors"] = site.page(done)
    for status in ("preparing", "queued", "running", "paused", "canceled", "failed"):
        job = site.job("tokens.grant", customer.account, closed)
        moment = timezone.now()
        Job.objects.filter(pk=job.pk).update(
            status=status,
            started_at=moment,
            problem="No." if status in ("failed", "paused") else "",
            pace=[[0, 0], [2, 1], [4, 1], [6, 2]],
            most_errors=5,
        )
        pages[f"job that is {status}"] = site.page(job)
    form = reverse("admin:django_token_pricing_tokenallocation_import")
    pages["import"] = form
    for name, line in {"right": f"{customer.user.get_username()},5,k", "wrong": "nobody@example.com,1.5x,"}.items():
        content = f"owner,amount,key\n{line}\n".encode()
        job = jobs.create(
            "tokens.import", params={}, actor=None, key=uuid4(), file_name="grants.csv", file=[content], now=True
        )
        pages[f"import of a file that is {name}"] = site.page(job)
        if name == "right":
            again = jobs.confirm(job, reason="Fair", actor=None)
    jobs.work(again.pk)
    pages["import that is done"] = site.page(again)
    granted = [jobs.confirm(site.job("tokens.grant", customer.account), reason="Fair", actor=None) for _ in range(2)]
    for job in granted:
        jobs.work(job.pk)
    tokens.consume(customer.user, 30, key="spent before the undo")
    pages["grant that can be taken back"] = site.page(granted[0])
    undo = jobs.undo(granted[1], reason="", actor=None, key=uuid4(), now=True)
    pages["preview of undo"] = site.page(undo)
    return pages


@pytest.fixture
def addresses() -> dict[str, str]:
    """The pages with their several states, each with rows."""
    customer = site.customer(feature="<script>alert(1)</script>")
    closed = site.customer()
    closed.user.delete()
    pool = world.new_pool(world.new_user())
    tokens.grant(pool, 1_000, source="purchase")
    package = site.package()
    empty = TokenAccount.objects.create(user=world.new_user())
    entry = LedgerEntry.objects.filter(account=customer.account).first()
    mine = {"account": customer.account}
    whose = {
        TokenAccount: {"pk": customer.account.pk},
        **dict.fromkeys((TokenAllocation, TokenHold, TokenUsageLog), mine),
    }
    return {
        "index": site.index(),
        "account": site.page(customer.account),
        "closed account": site.page(closed.account),
        "pool's account": site.page(pool.account),
        "empty account": site.page(empty),
        "entry": site.page(entry),
        "hold": site.page(TokenHold.objects.first()),
        "pool": site.page(pool),
        "new pool": reverse("admin:django_token_pricing_tokenpool_add"),
        "member": site.page(pool.members.get()),
        "package": site.page(package),
        "limit": site.page(LimitRule.objects.get(user=customer.user)),
        "new limit": f"{reverse('admin:django_token_pricing_limitrule_add')}?account={customer.account.pk}",
        "trial of a limit": site.page(trial()),
        "history of a limit": history(LimitRule.objects.get(user=customer.user)),
        "request": site.page(Approval.objects.first()),
        "rule for approval": site.page(ApprovalRule.objects.get()),
        "new rule for approval": reverse("admin:django_token_pricing_approvalrule_add"),
        "renewal policy": site.page(RenewalPolicy.objects.get()),
        "new renewal policy": reverse("admin:django_token_pricing_renewalpolicy_add"),
        "renewal": site.page(Renewal.objects.get(subscription__user=customer.user)),
        "new package": reverse("admin:django_token_pricing_tokenpackage_add"),
        "new warning": reverse("admin:django_token_pricing_warningrule_add"),
        "warning": site.page(WarningRule.objects.first()),
        "notification": site.page(Notification.objects.first()),
        "inbox": reverse("admin:django_token_pricing_notification_inbox"),
        "package that was bought": site.page(Purchase.objects.latest("pk").package),
        "purchase": site.page(Purchase.objects.latest("pk")),
        "boost policy": site.page(BoostPolicy.objects.get()),
        "new boost policy": reverse("admin:django_token_pricing_boostpolicy_add"),
        "packages to switch off": f"{packages('switch_off')}?rows={package.pk}",
        "export of packages": packages("export"),
        "import of packages": packages("import"),
        **{f"history of {row._meta.verbose_name}": history(row) for row in (pool, pool.members.get(), package)},
        "export": f"{exports(LedgerEntry)}?account={customer.account.pk}",
        "file": site.page(written_file()),
        **bulk_work(customer, closed.account),
        "run": site.page(site.run(outcome="failed", problem="KeyError: 'tier'")),
        "filtered runs": f"{site.lists(ScheduledRun)}?outcome=failed",
        "filtered entries": f"{site.lists(LedgerEntry)}?account={customer.account.pk}&from=2026-01-01",
        "nothing found": f"{site.lists(LedgerEntry)}?q=nobody",
        **{
            f"{name} of {model._meta.verbose_name}": site.deed(
                model.objects.filter(**whose.get(model, {})).first(), name
            )
            for model, name, _permission in site.DEEDS
        },
        **{f"list of {model._meta.verbose_name_plural}": site.lists(model) for model in site.MODELS},
    }


@pytest.fixture
def open_page(browser: Browser, live_server: Any, client: Client, settings: Any) -> Iterator[Callable[[str], Page]]:
    settings.MIDDLEWARE = [f"{__name__}.strict_policy", *settings.MIDDLEWARE]
    person = site.staff(is_superuser=True)
    TokenAccount.objects.create(user=person)
    site.warning(person)
    client.force_login(person)
    contexts = []

    def start(look: str, width: int = 0, **options: Any) -> Page:
        scheme, usual = LOOKS[look]
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width or usual, "height": 900},
            base_url=live_server.url,
            **options,
        )
        contexts.append(context)
        name, value = "sessionid", client.cookies["sessionid"].value
        context.add_cookies([{"name": name, "value": value, "url": live_server.url}])
        return context.new_page()

    yield start
    for context in contexts:
        context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(look: str, open_page: Callable[..., Page], addresses: dict[str, str]) -> None:
    page = open_page(look)
    found = {}
    for name, address in addresses.items():
        response = page.goto(address)
        assert response is not None
        assert response.ok, name
        for details in page.locator("details.tp-data").all():
            details.locator("summary").click()
        violations = Axe().run(page).response["violations"]
        if violations:
            found[name] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]
    assert not found


def test_nothing_is_inline_and_nothing_scrolls_sideways(
    open_page: Callable[..., Page], addresses: dict[str, str]
) -> None:
    page = open_page("narrow", width=320)
    no_icon(page)
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name, address in addresses.items():
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
        assert not complaints, name


@pytest.mark.parametrize("look", LOOKS)
def test_a_file_of_packages_is_refused_shown_and_imported(look: str, open_page: Callable[..., Page]) -> None:
    site.package(code="pack")
    # Else colours would be measured while stock buttons fade into ours.
    page = open_page(look, reduced_motion="reduce")
    no_icon(page)
    page.goto(packages("import"))
    for content, heading in (("code,tokens\npack,many\n", "What is wrong"), ("code,tokens\npack,7\n", "What changes")):
        file = {"name": "packages.csv", "mimeType": "text/csv", "buffer": content.encode()}
        page.get_by_label("File").set_input_files([file])  # type: ignore[list-item]
        page.get_by_role("button", name="Show what changes").press("Enter")
        page.get_by_role("heading", name=heading).wait_for()
        assert not Axe().run(page).response["violations"]
    page.get_by_label("Reason").fill("New price list")
    page.get_by_role("button", name="Import").press("Enter")
    page.wait_for_url("**/tokenpackage/")
    assert "Changed: 1." in page.locator(".messagelist").inner_text()


@pytest.mark.parametrize("look", LOOKS)
def test_a_large_boost_is_asked_for_on_the_same_page(look: str, open_page: Callable[..., Page]) -> None:
    account = site.customer().account
    page = open_page(look, reduced_motion="reduce", java_script_enabled=look != "light")
    page.goto(site.deed(account, "boost"))
    page.get_by_role("textbox", name="Tokens").fill("200,000")
    page.get_by_label("Hours").fill("24")
    page.get_by_label("Reason").fill("The launch is today")
    page.get_by_role("button", name="Give boost").press("Enter")
    page.get_by_role("button", name="Ask for approval").wait_for()
    assert "A second person has to agree" in page.get_by_role("alert").inner_text()
    if look != "light":
        assert not Axe().run(page).response["violations"]
    page.get_by_role("button", name="Ask for approval").press("Enter")
    page.wait_for_url("**/approval/*/change/")
    assert tokens.balance(account).available < 200_000


def test_the_tooltip_shows_what_is_under_the_pointer_and_escape_hides_it(
    open_page: Callable[..., Page], addresses: dict[str, str]
) -> None:
    page = open_page("light")
    page.goto(addresses["account"])
    page.locator("[data-tip] .tp-hit").last.hover()
    tip = page.locator(".tp-tip")
    assert tip.is_visible()
    assert "<script>alert(1)</script>" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_pages_work_without_script_by_keyboard(open_page: Callable[..., Page], addresses: dict[str, str]) -> None:
    page = open_page("light", java_script_enabled=False)
    page.goto(addresses["filtered entries"])
    page.get_by_label("From").fill("2030-01-01")
    page.get_by_role("button", name="Apply").press("Enter")
    page.wait_for_url("**from=2030-01-01**")
    assert "0 ledger entries" in page.locator(".paginator").inner_text()
    page.goto(addresses["account"])
    page.get_by_text("Show as table").press("Enter")
    assert page.get_by_role("cell", name="100").first.is_visible()
    page.get_by_role("link", name="All entries").press("Enter")
    page.wait_for_url("**/ledgerentry/?account=*")


@pytest.mark.parametrize("look", LOOKS)
def test_a_limit_is_set_by_keyboard_and_says_what_it_does_first(look: str, open_page: Callable[..., Page]) -> None:
    user = world.new_user()
    page = open_page(look, reduced_motion="reduce")
    no_icon(page)
    page.goto(reverse("admin:django_token_pricing_limitrule_add"))
    page.get_by_label("For:", exact=True).select_option("user")
    page.get_by_label("User:").press_sequentially(user.get_username()[:6])
    page.locator(f'#id_user_known option[value="{user.get_username()}"]').wait_for(state="attached")
    page.get_by_label("User:").fill(user.get_username())
    page.get_by_label("Limit:", exact=True).fill("500")
    page.get_by_label("Reason").fill("Abuse")
    page.get_by_role("button", name="Set limit").press("Enter")
    page.get_by_role("heading", name="Try it on the last 30 days first").wait_for()
    assert not Axe().run(page).response["violations"]
    page.get_by_label("Save without trying it out").check()
    page.get_by_role("button", name="Set limit").press("Enter")
    page.wait_for_url("**/limitrule/*/change/")
    page.get_by_label("Limit:", exact=True).fill("5,000,000")
    page.get_by_label("Reason").fill("A large customer")
    page.get_by_role("button", name="Save").press("Enter")
    page.get_by_text("This needs a second person.").wait_for()
    assert not Axe().run(page).response["violations"]
    page.get_by_role("button", name="Ask for approval").press("Enter")
    page.wait_for_url("**/approval/*/change/")
    assert "You asked for this" in page.locator(".tp").first.inner_text()
    assert not Axe().run(page).response["violations"]
