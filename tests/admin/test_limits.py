"""Limits in the admin: set and changed with a reason, tried out when tighter, agreed to by two when much looser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_token_pricing import approvals, jobs, tokens
from django_token_pricing.exceptions import InvalidInput
from django_token_pricing.models import Approval, ApprovalRule, AuditEvent, Job, LimitRule, TokenAccount
from django_token_pricing.tokens.limits import rules
from tests import world
from tests.admin import site

pytestmark = pytest.mark.django_db

Login = Callable[[Any], Client]
MAY_SET = ["view_limitrule", "add_limitrule", "change_limitrule", "replay_limitrule", "view_tokenaccount"]


@pytest.fixture
def setter(db: None) -> Any:
    return site.staff(*MAY_SET)


@pytest.fixture
def second(db: None) -> Any:
    return site.staff(*MAY_SET, "view_approval", "decide_approval")


def add() -> str:
    return reverse("admin:django_token_pricing_limitrule_add")


def form(**more: Any) -> dict[str, str]:
    given = {
        "key": uuid4(),
        "scope": "default",
        "metric": "tokens",
        "window": "day",
        "alignment": "calendar",
        "limit": "1,000",
        "mode": "hard",
        "counting": "ledger",
        "on_failure": "open",
        "reason": "Fair use",
        **more,
    }
    return {name: str(value) for name, value in given.items()}


def limit(**more: Any) -> LimitRule:
    return rules.set_limit(**{"scope": "default", "limit": 1_000, "reason": "Fair use", "actor": None, **more})


def text(response: Any) -> str:
    return str(response.content.decode())


def saved(client: Client, url: str, **more: Any) -> LimitRule:
    response = client.post(url, form(untried="on", **more))
    assert response.status_code == 302, response.context["errors"]
    return LimitRule.objects.latest("pk")


# The form


def test_a_limit_is_set_with_the_reason(as_: Login, setter: Any) -> None:
    user = world.new_user()
    rule = saved(as_(setter), add(), scope="user", user=user.get_username(), model="gpt-4o", limit="2,500")
    assert (rule.user, rule.model, rule.limit, rule.window) == (user, "gpt-4o", 2_500, "day")
    event = AuditEvent.objects.get(action="limits.set")
    assert (event.actor, event.reason, event.changes["tried_out"]) == (setter, "Fair use", [None, "no"])
    assert rule.history.get().history_change_reason == "Fair use"


def test_a_change_says_from_what_to_what_and_keeps_whom_it_is_for(as_: Login, setter: Any) -> None:
    rule = limit(scope="tier", tier="team")
    response = as_(setter).post(site.page(rule), form(scope="default", tier="", window="hour", limit="1,500"))
    assert response.status_code == 302, response.context["errors"]
    rule.refresh_from_db()
    assert (rule.scope, rule.tier, rule.window, rule.limit) == ("tier", "team", "day", 1_500)
    assert AuditEvent.objects.get(action="limits.change").changes == {"limit": [1_000, 1_500]}


def test_a_form_sent_without_a_change_leaves_no_trace(as_: Login, setter: Any) -> None:
    until = timezone.now() + timedelta(days=3, microseconds=7)
    rule = limit(ends_at=until, mode="grace", grace=5)
    shown = timezone.localtime(until).strftime("%Y-%m-%dT%H:%M:%S")
    response = as_(setter).post(site.page(rule), form(ends_at=shown, mode="grace", grace="5"))
    assert response.status_code == 302, response.context["errors"]
    assert AuditEvent.objects.count() == rule.history.count() == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"limit": "-1"}, "limit"),
        ({"limit": str(2**63)}, "limit"),
        ({"scope": "user"}, "user"),
        ({"scope": "user", "user": "nobody@example.com"}, "user"),
        ({"scope": "pool", "pool": "no such pool"}, "pool"),
        ({"scope": "tier"}, "tier"),
        ({"tier": "team"}, "tier"),
        ({"mode": "grace"}, "grace"),
        ({"grace": "5"}, "grace"),
        ({"ends_at": "2020-01-01T00:00"}, "ends_at"),
        ({"starts_at": "2031-01-02T00:00", "ends_at": "2031-01-01T00:00"}, "ends_at"),
        ({"time_zone": "Mars/Olympus"}, "__all__"),
        ({"window": "total", "alignment": "rolling"}, "__all__"),
        ({"window": "total", "mode": "throttle"}, "__all__"),
        ({"metric": "requests", "window": "request"}, "__all__"),
        ({"key": "nonsense"}, "key"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(wrong: dict[str, str], field: str, as_: Login, setter: Any) -> None:
    response = as_(setter).post(add(), form(untried="on", **wrong))
    assert response.status_code == 200
    assert set(response.context["form"].errors) == {field}
    assert not LimitRule.objects.exists()


def test_a_second_rule_for_the_same_leads_to_the_first(as_: Login, setter: Any) -> None:
    rule = limit()
    response = as_(setter).post(add(), form(untried="on"))
    assert f'<a href="{site.page(rule)}">Change limit {rule.pk} instead' in text(response)


def test_the_form_of_an_account_names_its_owner(as_: Login, setter: Any) -> None:
    pool = world.new_pool()
    tokens.grant(pool, 5, source="manual")
    client = as_(setter)
    account = TokenAccount.objects.get(user=site.customer().user)
    assert client.get(f"{add()}?account={account.pk}").context["form"].initial["user"] == account.user.get_username()
    assert client.get(f"{add()}?account={pool.account.pk}").context["form"].initial["pool"] == pool.name
    for nonsense in ("x", "999999", "9" * 30):
        assert client.get(f"{add()}?account={nonsense}").status_code == 200


def test_logins_and_pools_are_suggested_to_those_who_may_set_limits(as_: Login, setter: Any) -> None:
    pool, user = world.new_pool(), world.new_user()
    url = reverse("admin:django_token_pricing_limitrule_suggest")
    login = user.get_username()
    assert as_(setter).get(url, {"kind": "user", "term": login[:-4]}).json() == {"found": [login]}
    assert as_(setter).get(url, {"kind": "pool", "term": pool.name.upper()}).json() == {"found": [pool.name]}
    assert as_(setter).get(url, {"kind": "user", "term": ""}).json() == {"found": []}
    assert as_(site.staff("view_limitrule", "add_limitrule")).get(url, {"term": login}).status_code == 403


def test_who_may_only_look_sees_the_rule_and_no_form(as_: Login, viewer: Any) -> None:
    rule = limit()
    client = as_(viewer)
    assert "1,000 tokens" in text(client.get(site.page(rule)))
    assert client.post(site.page(rule), form()).status_code == 403
    assert client.post(add(), form()).status_code == 403


# Tighter


def test_a_tighter_limit_is_tried_out_first_or_said_not_to_be(as_: Login, setter: Any) -> None:
    client = as_(setter)
    response = client.post(add(), form())
    assert set(response.context["form"].errors) == {"untried"}
    assert "Try it on the last 30 days first" in text(response)
    assert not LimitRule.objects.exists()
    rule = saved(client, add())
    response = client.post(site.page(rule), form(limit="999"))
    assert set(response.context["form"].errors) == {"untried"}
    response = client.post(site.page(rule), form(limit="1,001"))
    assert response.status_code == 302


def test_a_result_for_exactly_these_values_lets_it_be_saved(as_: Login, setter: Any) -> None:
    customer = site.customer()
    client = as_(setter)
    given = form(scope="default", window="week", limit="50")
    response = client.post(add(), {**given, "_try": "1"})
    job = Job.objects.get(kind="limits.replay")
    assert site.page(job) in text(response)
    assert "It is being tried out." in text(response)
    jobs.work(job.pk)
    response = client.post(add(), {**given, "_try": "1"})
    assert "1 of 1 uses would have been refused, all of one account." in text(response)
    assert Job.objects.filter(kind="limits.replay").count() == 1
    other = client.post(add(), {**given, "limit": "51"})
    assert set(other.context["form"].errors) == {"untried"}
    unseen = client.post(add(), given)
    assert f'name="_seen" value="{job.pk}"' in text(unseen)
    assert not LimitRule.objects.filter(window="week").exists()
    response = client.post(add(), {**given, "_seen": str(job.pk)})
    assert response.status_code == 302, response.context["errors"]
    assert AuditEvent.objects.latest("pk").changes["tried_out"] == [None, f"job {job.pk}"]
    assert customer.account.usage.count() == 1


def test_what_cannot_be_tried_out_says_so(as_: Login, setter: Any) -> None:
    response = as_(setter).post(add(), form(window="concurrent", _try="1"))
    assert "cannot be tried out" in text(response)
    assert not Job.objects.exists()


def test_without_the_permission_nothing_is_tried_out(as_: Login) -> None:
    client = as_(site.staff("view_limitrule", "add_limitrule"))
    response = client.post(add(), form(_try="1"))
    assert 'name="_try"' not in text(response)
    assert not Job.objects.exists()


# Looser


def test_below_the_set_size_it_is_saved_at_once(as_: Login, setter: Any) -> None:
    rule = limit()
    assert as_(setter).post(site.page(rule), form(limit="1,001,000")).status_code == 302
    assert LimitRule.objects.get().limit == 1_001_000


def test_above_it_a_second_person_is_asked_and_does_it_in_the_name_of_the_first(
    as_: Login, setter: Any, second: Any
) -> None:
    rule = limit()
    given = form(limit="1,001,001", reason="Large customer")
    response = as_(setter).post(site.page(rule), given)
    assert "This needs a second person." in text(response)
    assert "It loosens by 1,000,001, and above 1,000,000" in text(response)
    assert not Approval.objects.exists()
    response = as_(setter).post(site.page(rule), {**given, "_ask": "1"})
    asked = Approval.objects.get()
    assert response["Location"] == site.page(asked)
    assert (asked.size, asked.target_id, asked.asked_by) == (1_000_001, str(rule.pk), setter)
    rule.refresh_from_db()
    assert rule.limit == 1_000
    approvals.approve(asked, actor=second)
    rule.refresh_from_db()
    assert rule.limit == 1_001_001
    event = AuditEvent.objects.get(action="limits.change")
    assert (event.actor, event.reason) == (setter, "Large customer")


@pytest.mark.parametrize(
    "looser",
    [
        {"mode": "soft"},
        {"ends_at": "2031-01-01T00:00"},
        {"starts_at": "2031-01-01T00:00"},
        {"counting": "cache"},
        {"mode": "grace", "grace": "1,000,001"},
    ],
)
def test_each_way_to_loosen_much_needs_a_second_person(looser: dict[str, str], as_: Login, setter: Any) -> None:
    rule = limit()
    assert "This needs a second person." in text(as_(setter).post(site.page(rule), form(**looser)))


def test_an_override_far_above_what_it_overrides_needs_a_second_person(as_: Login, setter: Any, second: Any) -> None:
    user = world.new_user()
    limit()
    given = form(scope="user", user=user.get_username(), limit="2,000,000")
    assert "This needs a second person." in text(as_(setter).post(add(), given))
    as_(setter).post(add(), {**given, "_ask": "1"})
    approvals.approve(Approval.objects.get(), actor=second)
    assert LimitRule.objects.get(scope="user").limit == 2_000_000


def test_a_first_limit_loosens_nothing(as_: Login, setter: Any) -> None:
    assert saved(as_(setter), add(), limit="5,000,000").limit == 5_000_000


def test_the_size_is_that_of_the_rule_for_approvals(as_: Login, setter: Any) -> None:
    ApprovalRule.objects.create(kind="limits.change", above=None)
    rule = limit()
    assert as_(setter).post(site.page(rule), form(limit="9,000,000")).status_code == 302


def asked(client: Client, rule: LimitRule, **more: Any) -> Approval:
    client.post(site.page(rule), form(_ask="1", **{"limit": "5,000,000", **more}))
    return Approval.objects.latest("pk")


def test_a_rule_that_changed_meanwhile_is_not_touched(as_: Login, setter: Any, second: Any) -> None:
    rule = limit()
    request = asked(as_(setter), rule)
    rules.set_limit(scope="default", limit=10, reason="Abuse", actor=None, rule=rule)
    with pytest.raises(InvalidInput, match="changed or retired meanwhile"):
        approvals.approve(request, actor=second)
    rule.refresh_from_db()
    request.refresh_from_db()
    assert (rule.limit, request.status) == (10, "waiting")


def test_a_rule_that_was_retired_meanwhile_stays_retired(as_: Login, setter: Any, second: Any) -> None:
    rule = limit()
    request = asked(as_(setter), rule)
    rules.retire_limit(rule, reason="Gone", actor=None)
    with pytest.raises(InvalidInput, match="changed or retired meanwhile"):
        approvals.approve(request, actor=second)


def test_an_override_is_refused_if_it_would_loosen_more_than_was_asked(as_: Login, setter: Any, second: Any) -> None:
    below = limit(limit=500_000)
    user = world.new_user()
    given = form(scope="user", user=user.get_username(), limit="2,000,000", _ask="1")
    as_(setter).post(add(), given)
    rules.set_limit(scope="default", limit=10, reason="Abuse", actor=None, rule=below)
    with pytest.raises(InvalidInput, match="loosen by more"):
        approvals.approve(Approval.objects.get(), actor=second)
    assert LimitRule.objects.count() == 1


# Retiring


def test_retiring_what_nothing_lies_beneath_needs_a_second_person(as_: Login, setter: Any, second: Any) -> None:
    rule = limit()
    url = site.deed(rule, "retire")
    assert "This needs a second person" in text(as_(setter).get(url))
    response = as_(setter).post(url, {"key": str(uuid4()), "reason": "Not needed"})
    request = Approval.objects.get()
    assert response["Location"] == site.page(request)
    rule.refresh_from_db()
    assert rule.retired_at is None
    approvals.approve(request, actor=second)
    rule.refresh_from_db()
    assert rule.retired_at is not None
    assert AuditEvent.objects.get(action="limits.retire").actor == setter


def test_an_override_that_gave_more_is_retired_at_once(as_: Login, setter: Any) -> None:
    limit()
    rule = limit(scope="user", user=world.new_user(), limit=5_000)
    response = as_(setter).post(site.deed(rule, "retire"), {"key": str(uuid4()), "reason": "Over"})
    assert response["Location"] == site.page(rule)
    rule.refresh_from_db()
    assert rule.retired_at is not None
    page = as_(setter).get(site.page(rule))
    assert "Retired" in text(page)
    assert 'name="reason"' not in text(page)


# The list


def found(client: Client, **query: str) -> set[int]:
    response = client.get(site.lists(LimitRule), query)
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


def test_the_list_is_filtered_and_searched(as_: Login, viewer: Any) -> None:
    now = timezone.now()
    customer = site.customer()
    own = LimitRule.objects.get(user=customer.user)
    tier = limit(scope="tier", tier="team", metric="requests", window="minute", model="gpt-4o")
    later = limit(starts_at=now + timedelta(days=1))
    over = limit(window="hour", ends_at=now + timedelta(days=1))
    LimitRule.objects.filter(pk=over.pk).update(ends_at=now)
    gone = rules.retire_limit(limit(window="month"), reason="Gone", actor=None)
    client = as_(viewer)
    assert found(client) == {own.pk, tier.pk, later.pk, over.pk}
    assert found(client, state="current") == {own.pk, tier.pk}
    assert found(client, state="scheduled") == {later.pk}
    assert found(client, state="ended") == {over.pk}
    assert found(client, state="retired") == {gone.pk}
    assert len(found(client, state="all")) == 5
    assert found(client, state="nonsense") == set()
    assert found(client, scope__exact="tier") == found(client, tier="team") == {tier.pk}
    assert found(client, metric__exact="requests") == found(client, window__exact="minute") == {tier.pk}
    assert found(client, account=str(customer.account.pk)) == {own.pk}
    for term in ("tea", "GPT", customer.user.get_username()[:-3]):
        assert found(client, q=term) == ({own.pk} if "@" in term else {tier.pk}), term


def test_a_list_is_taken_as_a_file(as_: Login, viewer: Any) -> None:
    limit(scope="tier", tier="=team")
    url = reverse("admin:django_token_pricing_limitrule_export")
    response = as_(viewer).post(url, {"key": str(uuid4()), "format": "csv", "reason": ""})
    lines = b"".join(response.streaming_content).decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("number,scope,user,pool,tier,model,feature,metric,window,alignment,time_zone,limit")
    assert ",tier,,,'=team,,,tokens,day,calendar,,1000,hard,0,ledger,open" in lines[1]
    assert AuditEvent.objects.latest("pk").action == "export.limitrule"


def test_the_form_takes_no_more_queries_where_there_are_more_rules(as_: Login, setter: Any) -> None:
    client = as_(setter)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            client.post(add(), form())
        return len(asked)

    limit(window="hour")
    one = queries()
    for number in range(20):
        limit(scope="tier", tier=f"tier {number}")
    assert queries() == one


# What is personal


def test_erasing_a_user_takes_name_and_reasons_out_of_requests(setter: Any) -> None:
    user, other = world.new_user(), world.new_user()
    tokens.grant(user, 5, source="manual")
    mine, theirs = (site.request(site.limit(of), setter) for of in (user, other))
    tokens.erase(user, reason="Asked by mail")
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.params["whom"], mine.reason) == ("", "")
    assert (theirs.params["whom"], theirs.reason) == (other.get_username(), "A large customer")
    reasons = dict(AuditEvent.objects.filter(action="approvals.ask").values_list("target_id", "reason"))
    assert reasons == {str(mine.pk): "", str(theirs.pk): "A large customer"}
