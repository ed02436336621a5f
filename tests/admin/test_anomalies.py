"""Alerts and anomaly rules in the admin: who sees what, deeds, trying a rule out, the usual rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import jobs
from django_token_pricing.models import Anomaly, AnomalyRule, AuditEvent, Job
from tests.admin import site
from tests.analytics import hours
from tests.analytics.test_anomalies import account_with

pytestmark = pytest.mark.django_db
Login = Callable[[Any], Client]
LIST = "admin:django_token_pricing_anomaly_changelist"
RULES = "admin:django_token_pricing_anomalyrule_changelist"
ADD = "admin:django_token_pricing_anomalyrule_add"
SEE = ("view_anomaly", "view_anomalyrule", "view_analytics")


def rule(**fields: Any) -> AnomalyRule:
    given = {"name": "Usage", "kind": "seasonal", "scope": "site", **fields}
    return AnomalyRule.objects.create(**given)


def alert(number: int = 0, **fields: Any) -> Anomaly:
    at = timezone.now() - timedelta(hours=number + 3)
    of = fields.pop("rule", None) or AnomalyRule.objects.first() or rule()
    given = {
        "kind": of.kind,
        "scope": of.scope,
        "starts_at": at,
        "ends_at": at + timedelta(hours=1),
        "value": 12_000,
        "expected": 500,
        "score": 9,
        "found_at": at,
        "facts": {"unit": "tokens", "side": "spike", "hours": 1, "low": 200, "high": 900},
    }
    return Anomaly.objects.create(rule=of, **{**given, **fields})


def text(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, response
    return response.content.decode()


def test_without_a_rule_the_list_says_that_nothing_is_looked_for(owners_client: Client) -> None:
    page = text(owners_client, reverse(LIST))

    assert "Nothing is looked for: there is no active rule." in page


def test_with_rules_and_nothing_found_the_list_says_that(owners_client: Client) -> None:
    rule()

    assert "Nothing odd was found yet." in text(owners_client, reverse(LIST))


def test_the_list_says_what_was_odd_and_how_odd(owners_client: Client) -> None:
    alert()
    page = text(owners_client, reverse(LIST))

    assert "Unusual usage" in page
    assert "12k tokens, usual 500" in page
    assert "The site" in page


def test_alerts_are_found_by_tier_model_and_owner(owners_client: Client) -> None:
    of = rule(scope="account")
    account = account_with({0: (1, 1)}, timezone.now())
    mine = alert(rule=of, account=account, target=str(account.pk))
    model = alert(rule=rule(scope="model"), target="gpt-4o")

    def found(term: str) -> list[Any]:
        return [row.pk for row in owners_client.get(reverse(LIST), {"q": term}).context["cl"].result_list]

    assert found(account.user.get_username()) == [mine.pk]
    assert found("GPT") == [model.pk]
    assert found("%") == []


@pytest.mark.parametrize("number", [1, 30])
def test_the_list_asks_the_same_however_many_there_are(
    owners_client: Client, number: int, django_assert_max_num_queries: Any
) -> None:
    of = rule(scope="account")
    for place in range(number):
        account = account_with({0: (1, 1)}, timezone.now())
        alert(place, rule=of, account=account, target=str(account.pk))
    owners_client.get(reverse(LIST))
    with django_assert_max_num_queries(site.MOST_QUERIES):
        owners_client.get(reverse(LIST))


def test_the_page_has_the_reason_and_the_series_around_it(owners_client: Client) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    hours.fill(since=now - timedelta(days=6), until=now)
    hours.folded(now)
    page = text(owners_client, site.page(alert()))

    assert "12,000 tokens in an hour, where about 500 were expected and up to 900 are usual" in page
    assert "tp-around" in page


def test_the_page_of_an_account_has_its_days(owners_client: Client) -> None:
    account = account_with({0: (1, 900), 3: (2, 50)}, timezone.now())
    page = text(owners_client, site.page(alert(rule=rule(scope="account"), account=account, target=str(account.pk))))

    assert "by the day" in page
    assert "tp-around" in page


def test_alerts_of_costs_are_for_who_may_see_costs(as_: Login) -> None:
    one = alert(rule=rule(kind="cost_spike"), facts={"unit": "cost", "hours": 1, "high": 4})
    client = as_(site.staff(*SEE))
    assert "Cost spike</" not in text(client, reverse(LIST)).split("changelist-filter")[0]
    assert client.get(site.page(one)).status_code == 302
    client = as_(site.staff(*SEE, "view_costs"))
    assert "It cost USD 12,000.00" in text(client, site.page(one))


def test_who_may_not_see_alerts_gets_nothing(as_: Login) -> None:
    one = alert()
    client = as_(site.staff("view_analytics", "decide_anomaly"))
    for url in (reverse(LIST), site.page(one), site.deed(one, "resolve"), reverse(RULES), reverse(ADD)):
        assert client.get(url).status_code == 403
    assert client.post(site.deed(one, "resolve"), {}).status_code == 403


# Deeds


def decide(client: Client, one: Anomaly, name: str, **given: Any) -> Any:
    return client.post(site.deed(one, name), {"key": uuid4(), "reason": "Seen", **given})


def test_acknowledging_asks_whether_it_was_right_to_tell(as_: Login) -> None:
    one, actor = alert(), site.staff(*SEE, "decide_anomaly")
    assert decide(as_(actor), one, "acknowledge", is_real="no").status_code == 302
    one.refresh_from_db()

    assert (one.state, one.is_real, one.decided_by, one.note) == ("acknowledged", False, actor, "Seen")
    assert AuditEvent.objects.filter(action="anomalies.acknowledge", actor_id=actor.pk).exists()


def test_muting_asks_until_when(owners_client: Client) -> None:
    one = alert()
    assert "Until" in text(owners_client, site.deed(one, "mute"))
    assert decide(owners_client, one, "mute", until="2001-01-01T00:00:00").status_code == 200
    assert decide(owners_client, one, "mute", until="2199-01-01T00:00:00").status_code == 302
    one.refresh_from_db()
    assert one.state == "muted"


def test_an_alert_can_be_resolved_and_reopened(owners_client: Client) -> None:
    one = alert()
    decide(owners_client, one, "resolve")
    one.refresh_from_db()
    assert one.state == "resolved"
    decide(owners_client, one, "reopen")
    one.refresh_from_db()
    assert one.state == "open"


def test_who_may_only_look_decides_nothing(as_: Login) -> None:
    one = alert()
    client = as_(site.staff(*SEE))
    assert decide(client, one, "resolve").status_code == 403
    page = text(client, reverse(LIST))
    assert "worth_it" not in page
    client.post(reverse(LIST), {"action": "resolve", "_selected_action": [one.pk]})
    one.refresh_from_db()
    assert one.state == "open"


@pytest.mark.parametrize(
    ("action", "state", "is_real"),
    [("worth_it", "acknowledged", True), ("false_alarm", "acknowledged", False), ("resolve", "resolved", None)],
)
def test_many_can_be_decided_on_at_once(owners_client: Client, action: str, state: str, is_real: bool | None) -> None:
    rows = [alert(number) for number in range(3)]
    owners_client.post(reverse(LIST), {"action": action, "_selected_action": [row.pk for row in rows[:2]]})

    assert list(Anomaly.objects.order_by("-starts_at").values_list("state", "is_real")) == [
        (state, is_real),
        (state, is_real),
        ("open", None),
    ]


# Rules


def test_the_rules_say_how_often_they_were_right(owners_client: Client) -> None:
    of = rule()
    for number, is_real in enumerate([True, True, True, False, None]):
        alert(number, rule=of, is_real=is_real)

    assert "75% of 4" in text(owners_client, reverse(RULES))


def test_where_there_is_no_rule_the_usual_ones_are_offered_and_added_once(owners_client: Client) -> None:
    assert "Add the usual rules" in text(owners_client, reverse(RULES))
    url = reverse("admin:django_token_pricing_anomalyrule_defaults")
    assert owners_client.get(url).status_code == 405
    owners_client.post(url)
    owners_client.post(url)

    assert AnomalyRule.objects.count() == 7
    assert AuditEvent.objects.filter(action="anomaly_rules.add").count() == 7
    assert "Add the usual rules" not in text(owners_client, reverse(RULES))


def test_the_usual_rules_are_for_who_may_add_rules(as_: Login) -> None:
    client = as_(site.staff(*SEE))
    assert client.post(reverse("admin:django_token_pricing_anomalyrule_defaults")).status_code == 403
    assert "Add the usual rules" not in text(client, reverse(RULES))


def values(**given: Any) -> dict[str, Any]:
    fields = {"name": "Usage", "kind": "seasonal", "scope": "site", "sensitivity": 5, "least": "1,000"}
    return {"key": str(uuid4()), **fields, "is_active": "on", "reason": "Try", **given}


def test_a_rule_is_saved_after_it_was_tried_out_and_the_result_was_seen(owners_client: Client) -> None:
    sent = values()
    page = owners_client.post(reverse(ADD), sent).content.decode()
    assert "Try the rule out first" in page
    page = owners_client.post(reverse(ADD), {**sent, "_try": "1"}).content.decode()
    assert "It is being tried out." in page
    job = Job.objects.get(kind="analytics.anomaly_replay")
    jobs.work(job.pk)
    page = owners_client.post(reverse(ADD), sent).content.decode()
    assert "It would have told 0 alerts in 30 days: 0 a week." in page
    assert not AnomalyRule.objects.exists()
    assert owners_client.post(reverse(ADD), {**sent, "_seen": job.pk}).status_code == 302
    saved = AnomalyRule.objects.get()
    assert (saved.least, saved.sensitivity) == (1_000, 5)
    assert AuditEvent.objects.get(action="anomaly_rules.add").changes["tried"] == [None, str(job.pk)]


def test_a_trial_of_other_values_does_not_count(owners_client: Client) -> None:
    sent = values()
    owners_client.post(reverse(ADD), {**sent, "_try": "1"})
    job = Job.objects.get(kind="analytics.anomaly_replay")
    jobs.work(job.pk)
    owners_client.post(reverse(ADD), {**sent, "sensitivity": 9, "_seen": job.pk})

    assert not AnomalyRule.objects.exists()


def test_a_rule_can_be_saved_untried_and_the_audit_trail_says_so(owners_client: Client) -> None:
    assert owners_client.post(reverse(ADD), values(untried="on")).status_code == 302
    assert AuditEvent.objects.get(action="anomaly_rules.add").changes["tried"] == [None, "no"]


def test_a_new_name_needs_no_trial(owners_client: Client) -> None:
    of = rule()
    assert owners_client.post(site.page(of), values(name="Other")).status_code == 302
    of.refresh_from_db()

    assert of.name == "Other"
    assert of.history.count() == 2


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "silence", "scope": "account"},
        {"sensitivity": 11},
        {"sensitivity": 0},
        {"least": -1},
        {"least": "9" * 30},
        {"name": ""},
        {"name": "x" * 101},
        {"reason": ""},
        {"kind": "x"},
    ],
)
def test_what_cannot_be_is_refused_at_its_field(owners_client: Client, given: dict[str, Any]) -> None:
    response = owners_client.post(reverse(ADD), values(untried="on", **given))

    assert response.status_code == 200
    assert not AnomalyRule.objects.exists()


def test_who_may_only_look_cannot_change_a_rule(as_: Login) -> None:
    of = rule()
    client = as_(site.staff(*SEE))
    assert client.get(site.page(of)).status_code == 200
    assert client.post(site.page(of), values(untried="on", name="Other")).status_code == 403
    assert client.get(reverse(ADD)).status_code == 403


def test_the_page_of_a_trial_says_what_would_have_been_told(owners_client: Client) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    at = now - timedelta(days=9)
    hours.fill(
        lambda moment: hours.day_and_night(moment) * (20 if moment == at else 1),
        since=now - timedelta(days=60),
        until=now,
    )
    hours.folded(now)
    owners_client.post(reverse(ADD), {**values(least="1"), "_try": "1"})
    job = Job.objects.get(kind="analytics.anomaly_replay")
    jobs.work(job.pk)
    page = text(owners_client, site.page(job))

    assert "What it would have told" in page
    assert "tokens in an hour, where about" in page


def test_rules_have_a_history(owners_client: Client) -> None:
    of = rule()

    assert owners_client.get(reverse("admin:django_token_pricing_anomalyrule_history", args=[of.pk])).status_code == 200


@pytest.mark.parametrize("term", ["%", "_", "\\", "'", "nobody", "9" * 40, "-1", "💥"])
def test_odd_terms_find_nothing(term: str, owners_client: Client) -> None:
    alert(rule=rule(scope="model"), target="gpt-4o")
    for name in (LIST, RULES):
        assert not owners_client.get(reverse(name), {"q": term}).context["cl"].result_list
