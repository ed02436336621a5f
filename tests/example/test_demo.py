"""The example project as a person starts it: in a process of its own, on a fresh SQLite file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="brings its own SQLite file: one round is enough")

MANAGE = Path(__file__).resolve().parents[2] / "example_project" / "manage.py"
OURS = ("DJANGO_", "TP_", "CELERY_", "DATABASE_URL", "NORTHWIND_")

QUESTIONS = """
import json
from billing.models import Payment, Subscription
from billing.token_pricing import Payments, Subscriptions
from customers.models import User
from django_token_pricing.models import (
    LedgerEntry, PaymentMirror, SubscriptionMirror, TokenAllocation, TokenHold
)

def different(model, field):
    return sorted(set(model.objects.values_list(field, flat=True)))

mirrors = {mirror.external_ref: mirror for mirror in SubscriptionMirror.objects.all()}
subscriptions = {str(row.pk): row for row in Subscription.objects.all()}
print(json.dumps({
    "users": User.objects.count(),
    "subscriptions": {ref: row.level for ref, row in subscriptions.items()},
    "subscriptions by reference": list(Subscriptions().current_refs()),
    "subscriptions by event": [event.facts.ref for event in Subscriptions().events(since=None)],
    "subscriptions in mirrors": {ref: mirror.tier for ref, mirror in mirrors.items()},
    "payments": {str(row.pk): row.total_cents for row in Payment.objects.all()},
    "payments by reference": list(Payments().current_refs()),
    "payments by event": [event.facts.ref for event in Payments().events(since=None)],
    "payments in mirrors": {row.external_ref: int(row.amount * 100) for row in PaymentMirror.objects.all()},
    "states": sorted({(row.state, mirrors[ref].status) for ref, row in subscriptions.items()}),
    "sources": different(TokenAllocation, "source"),
    "holds": different(TokenHold, "status"),
    "kinds": different(LedgerEntry, "kind"),
}))
"""

Environment = dict[str, str]


def manage(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(MANAGE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment of a short story that was written once."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    environment = {**inherited, "NORTHWIND_DATA_DIR": str(tmp_path_factory.mktemp("northwind"))}
    written = manage(environment, "demo", "--no-serve", "--users", "20", "--months", "2")
    assert written.returncode == 0, written.stderr
    return environment


@pytest.fixture(scope="module")
def told(demo: Environment) -> dict[str, Any]:
    """What the story's tables and adapters say, asked once."""
    answer = manage(demo, "shell", "--verbosity=0", "--command", QUESTIONS)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_the_books_of_the_story_agree(demo: Environment) -> None:
    proof = manage(demo, "token_pricing_reconcile")
    assert proof.returncode == 0, proof.stdout + proof.stderr


def test_a_second_start_keeps_the_story(demo: Environment, told: dict[str, Any]) -> None:
    again = manage(demo, "demo", "--no-serve")
    assert again.returncode == 0, again.stderr
    assert "in the database already" in again.stdout
    assert told["users"] == 20 + len(["owner", "operator", "viewer", "stranger"])


@pytest.mark.parametrize("kind", ["subscriptions", "payments"])
def test_the_adapters_give_the_facts_of_every_row(told: dict[str, Any], kind: str) -> None:
    rows = told[kind]
    assert rows
    assert sorted(rows) == sorted(told[f"{kind} by reference"]) == sorted(told[f"{kind} by event"])


@pytest.mark.parametrize("kind", ["subscriptions", "payments"])
def test_the_mirrors_say_what_the_host_says(told: dict[str, Any], kind: str) -> None:
    assert told[f"{kind} in mirrors"] == told[kind]


def test_the_states_of_the_host_come_through(told: dict[str, Any]) -> None:
    assert {
        ("trial", "trialing"),
        ("running", "active"),
        ("overdue", "past_due"),
        ("frozen", "paused"),
        ("stopped", "canceled"),
        ("run_out", "expired"),
    } == {tuple(pair) for pair in told["states"]}


def test_the_story_shows_each_kind_of_lot_hold_and_entry(told: dict[str, Any]) -> None:
    assert set(told["sources"]) >= {"plan", "purchase", "promotion", "manual", "emergency", "trial", "rollover"}
    assert told["holds"] == ["open", "released", "settled"]
    assert told["kinds"] == ["consume", "expire", "grant", "refund", "rollover_in", "rollover_out", "subtract"]


SHOPPING = """
from django.test import Client
from billing.models import Payment
from customers.models import User
from django_token_pricing import tokens
from django_token_pricing.models import Purchase

owner = User.objects.get(email="owner@example.com")
client = Client(headers={"host": "localhost"})
assert client.get("/shop/").status_code == 302
client.force_login(owner)
assert "Buy Top-up" in client.get("/shop/").content.decode()
before = tokens.balance(owner).available
page = client.post("/shop/", {"package": "top-up"}, follow=True).content.decode()
assert f"You have {before + 300_000:,} tokens now." in page, page
made = Purchase.objects.latest("pk")
payment = Payment.objects.latest("pk")
assert (made.payment_ref, made.amount * 100) == (f"payment:{payment.pk}", payment.total_cents)
page = client.post("/shop/", {"package": "launch-2025"}, follow=True).content.decode()
assert "not for sale any more" in page, page
assert Purchase.objects.latest("pk") == made
"""


def test_the_shop_sells_a_package_for_a_payment(demo: Environment, told: dict[str, Any]) -> None:
    answer = manage(demo, "shell", "--verbosity=0", "--command", SHOPPING)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.skipif(os.name != "posix", reason="stops the demo by a signal")
@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_the_worker_ends_with_the_server(demo: Environment, stop: signal.Signals) -> None:
    schedules = list(Path(demo["NORTHWIND_DATA_DIR"]).glob("beat-schedule*"))
    for schedule in schedules:
        schedule.unlink()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    # A session of its own: its number then stands for the server and all that it starts.
    server = subprocess.Popen(
        [sys.executable, str(MANAGE), "demo", address],
        env=demo,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(f"http://{address}/"), "the server answers")
        wait_until(lambda: any(Path(demo["NORTHWIND_DATA_DIR"]).glob("beat-schedule*")), "beat runs")
        server.send_signal(stop)
        assert server.wait(30) == 0
        wait_until(lambda: not runs(server.pid), "all that it started is gone")
    finally:
        if runs(server.pid):
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as page:  # noqa: S310 - a page of our own server
            return page.url.endswith("/admin/login/?next=/admin/") and page.status == 200
    except OSError:
        return False


def runs(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, f"after a minute it is not so that {what}"
        time.sleep(0.2)
