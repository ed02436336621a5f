"""Every address of ours, asked by four people with GET and POST: who is let in is said here and forgotten nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse

from django_token_pricing.models import (
    Anomaly,
    AnomalyRule,
    Approval,
    ApprovalRule,
    AuditEvent,
    BoostPolicy,
    Job,
    LedgerEntry,
    LimitRule,
    ModelPrice,
    Notification,
    PoolMember,
    Purchase,
    Renewal,
    RenewalPolicy,
    ScheduledRun,
    TokenAccount,
    TokenAllocation,
    TokenHold,
    TokenPackage,
    TokenPool,
    TokenUsageLog,
    WarningRule,
)
from tests.admin import site

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the same on every database; runs with SQLite"),
]

VIEW, NOBODY, EVERYBODY = "view", "", "staff"
# What each page needs beside the right to view the model; NOBODY is for pages that stock admin has and we close.
STOCK = {"changelist": VIEW, "change": VIEW, "history": VIEW, "add": NOBODY, "delete": NOBODY}
PAGES: dict[type[Any], dict[str, str]] = {
    TokenAccount: {
        "grant": "grant_tokens",
        "subtract": "subtract_tokens",
        "set_balance": "set_balance",
        "many_grant": "grant_tokens",
        "many_subtract": "subtract_tokens",
        "many_set": "set_balance",
        "many_expire": "expire_tokens",
        "export": "export_tokenaccount",
        "boost": "boost_tokens",
        "analytics": "view_analytics",
    },
    TokenPool: {
        "add": "add_tokenpool",
        "add_members": "manage_members",
        "remove_members": "manage_members",
        "set_caps": "manage_members",
        "boost": "boost_tokens",
    },
    PoolMember: {"change_cap": "manage_members", "remove": "manage_members"},
    TokenPackage: {
        "add": "add_tokenpackage",
        "delete": "delete_tokenpackage",
        "switch_on": "change_tokenpackage",
        "switch_off": "change_tokenpackage",
        "delete_chosen": "delete_tokenpackage",
        "import": "import_tokenpackage",
        "process_import": "import_tokenpackage",
        "export": "export_tokenpackage",
    },
    Purchase: {"take_back": "take_back_purchase", "export": "export_purchase"},
    BoostPolicy: {"add": "add_boostpolicy", "delete": "delete_boostpolicy"},
    LimitRule: {
        "add": "add_limitrule",
        "suggest": "add_limitrule",
        "retire": "change_limitrule",
        "export": VIEW,
    },
    TokenAllocation: {
        "void": "change_lots",
        "change_dates": "change_lots",
        "import": "import_tokenallocation",
        "import_template": "import_tokenallocation",
        "import_errors": "import_tokenallocation",
        "export": "export_tokenallocation",
    },
    LedgerEntry: {"export": "export_ledgerentry"},
    TokenUsageLog: {"refund": "refund_usage", "export": "export_tokenusagelog"},
    TokenHold: {"release": "release_holds"},
    # That of the site's sample, which grants. Its file is for who asked for it.
    Job: {
        "confirm": "grant_tokens",
        "pause": "grant_tokens",
        "resume": "grant_tokens",
        "cancel": "grant_tokens",
        "undo": "change_lots",
        "progress": VIEW,
        "errors": VIEW,
        "download": NOBODY,
    },
    ScheduledRun: {"run": "run_tasks"},
    # Who asked can withdraw, and nobody of these has.
    Approval: {"approve": "decide_approval", "refuse": "decide_approval", "withdraw": NOBODY},
    ApprovalRule: {"add": "add_approvalrule"},
    RenewalPolicy: {"add": "add_renewalpolicy"},
    Renewal: {"renew": "renew_subscriptions"},
    # Everybody has an inbox, with what is one's own.
    Notification: {"inbox": EVERYBODY},
    WarningRule: {"add": "add_warningrule"},
    AuditEvent: {"export": "export_auditevent"},
    # To import takes the right to add as well, and to work costs out anew that to see costs.
    ModelPrice: {
        "add": "add_modelprice",
        "delete": "delete_modelprice",
        "import": "change_modelprice",
        "reprice": "change_modelprice",
    },
    Anomaly: dict.fromkeys(("acknowledge", "resolve", "mute", "reopen"), "decide_anomaly"),
    AnomalyRule: {"add": "add_anomalyrule", "defaults": "add_anomalyrule"},
}
# Who may view these may send their stock form only with the right to change them.
WRITTEN = {
    TokenPool: "change_tokenpool",
    TokenPackage: "change_tokenpackage",
    BoostPolicy: "change_boostpolicy",
    LimitRule: "change_limitrule",
    ApprovalRule: "change_approvalrule",
    RenewalPolicy: "change_renewalpolicy",
    WarningRule: "change_warningrule",
    ModelPrice: "change_modelprice",
    AnomalyRule: "change_anomalyrule",
}
# Addresses that take one method alone.
POST_ONLY = {"process_import", "renew", "defaults"}
GET_ONLY = {"analytics"}
PEOPLE = ["nobody", "viewer", "operator", "owner"]


def addresses() -> Iterator[tuple[type[Any], str, str]]:
    for model in site.MODELS:
        row = model.objects.order_by("-pk").first()
        seen = set()
        for pattern in admin.site._registry[model].get_urls():
            if pattern.name is None or pattern.name in seen:
                continue
            seen.add(pattern.name)
            page = pattern.name.removeprefix(f"django_token_pricing_{model._meta.model_name}_")
            of = Job.objects.get(kind="tokens.import") if page == "import_errors" else row
            given = {"object_id": of.pk, "extension": "csv"}
            wanted = {name: given[name] for name in pattern.pattern.converters}
            url = reverse(f"admin:{pattern.name}", kwargs=wanted)
            if page.startswith("many_"):
                url += f"?accounts={TokenAccount.objects.filter(pool=None).latest('pk').pk}"
            yield model, page, url


@pytest.fixture(autouse=True)
def rows(db: None) -> None:
    Job.objects.create(kind="tokens.import", status="failed")
    site.customer()


def needed(model: type[Any], page: str, method: str) -> str:
    pages = {**STOCK, **PAGES.get(model, {})}
    assert page in pages, f"say in this file who may open {model.__name__}: {page}"
    if page == "change" and method == "POST":
        return WRITTEN.get(model, NOBODY)
    if page in GET_ONLY and method == "POST":
        return NOBODY
    if page == "history" and method == "POST":
        return VIEW
    return pages[page]


def is_let_in(user: Any, model: type[Any], codename: str) -> bool:
    if codename == EVERYBODY:
        return True
    sees = user.has_perm(f"django_token_pricing.view_{model._meta.model_name}")
    return bool(sees and codename and (codename == VIEW or user.has_perm(f"django_token_pricing.{codename}")))


@pytest.mark.parametrize("who", PEOPLE)
def test_every_address_lets_in_whom_it_should_and_nobody_else(
    who: str, client: Client, owner: Any, operator: Any, viewer: Any, staff_without_permission: Any
) -> None:
    user = {"nobody": staff_without_permission, "viewer": viewer, "operator": operator, "owner": owner}[who]
    client.force_login(user)
    wrong = []
    for model, page, url in list(addresses()):
        for method in ("GET", "POST"):
            if (page in POST_ONLY and method == "GET") or model.objects.count() == 0:
                continue
            ask: Callable[..., Any] = client.get if method == "GET" else client.post
            response = ask(url)
            let_in = response.status_code not in (403, 404, 405)
            if let_in != is_let_in(user, model, needed(model, page, method)):
                wrong.append((method, model.__name__, page, response.status_code))
    assert not wrong


@pytest.mark.parametrize("who", ["nobody", "viewer"])
def test_who_may_only_look_changes_nothing_anywhere(
    who: str, client: Client, viewer: Any, staff_without_permission: Any
) -> None:
    client.force_login({"nobody": staff_without_permission, "viewer": viewer}[who])
    before = {model: list(model.objects.order_by("pk").values()) for model in site.MODELS}
    for _model, _page, url in list(addresses()):
        client.post(url, {"reason": "x", "amount": "5", "source": "manual", "priority": "1", "post": "yes"})
    assert {model: list(model.objects.order_by("pk").values()) for model in site.MODELS} == before
