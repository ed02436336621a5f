"""What a client is told: 429 with when to come again, 402, and nothing of what others did."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from django_token_pricing import tokens
from django_token_pricing.exceptions import (
    InsufficientTokens,
    LimitExceeded,
    PoolCapReached,
    Throttled,
    UnknownKey,
)
from django_token_pricing.tokens.limits import rules, throttle_rules
from django_token_pricing.views.limits import LimitMiddleware, limit_response, limited
from tests import world

FACTS = {"rule": 7, "scope": "user", "metric": "requests", "window": "minute", "limit": 10, "used": 9, "requested": 2}


@pytest.fixture(autouse=True)
def private_cache(settings: Any, db: None) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "views"}}
    from django.core.cache import cache

    cache.clear()
    throttle_rules.forget()


def request_of(user: Any = None, **headers: str) -> HttpRequest:
    request = RequestFactory().get("/", headers=headers)
    if user is not None:
        request.user = user
    return request


def test_a_throttle_is_answered_with_429_and_when_to_come_again() -> None:
    response = limit_response(Throttled(**FACTS, retry_after=29.2))
    assert response.status_code == 429
    assert response["Retry-After"] == "30"
    assert response["RateLimit-Policy"] == '"requests-minute";q=10;w=60'
    assert response["RateLimit"] == '"requests-minute";r=1;t=30'
    assert (response["X-RateLimit-Limit"], response["X-RateLimit-Remaining"]) == ("10", "1")
    assert re.fullmatch(r"\d{10}", response["X-RateLimit-Reset"])
    assert response["Cache-Control"] == "no-store"
    body = json.loads(response.content)
    assert sorted(body) == ["code", "detail", "limit", "retry_after", "used"]
    assert (body["code"], body["limit"], body["used"], body["retry_after"]) == ("throttled", 10, 9, 30)


def test_where_waiting_does_not_help_nothing_is_said_of_it() -> None:
    response = limit_response(LimitExceeded(**FACTS, retry_after=None))
    assert response.status_code == 429
    assert "Retry-After" not in response
    assert "X-RateLimit-Reset" not in response


def test_tokens_that_are_not_there_are_402_and_a_cap_is_429() -> None:
    facts = {"requested": 5, "available": 1, "spendable": 1}
    response = limit_response(InsufficientTokens(**facts))
    assert response.status_code == 402
    assert "RateLimit" not in response
    cap = {"rule": None, "metric": "tokens", "window": "month", "limit": 5, "used": 5, "retry_after": 60}
    response = limit_response(PoolCapReached(**cap, **facts))
    assert (response.status_code, response["Retry-After"]) == (429, "60")
    assert response["RateLimit-Policy"] == '"tokens-month";q=5;w=2592000'


@pytest.mark.parametrize(
    ("accepts", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/html,*/*;q=0.8", "text/plain; charset=utf-8"),
        ("application/json", "application/json"),
    ],
)
def test_a_client_gets_what_it_accepts(accepts: str, kind: str) -> None:
    request = request_of(**({"accept": accepts} if accepts else {}))
    response = limit_response(Throttled(**FACTS, retry_after=1), request)
    assert response["Content-Type"] == kind
    assert response["Vary"] == "Accept"


def test_other_errors_are_no_affair_of_it() -> None:
    with pytest.raises(TypeError):
        limit_response(UnknownKey(key="k"))


def test_what_other_members_of_a_pool_used_is_not_told() -> None:
    pool = world.new_pool()
    rule = rules.set_limit(
        scope="pool", pool=pool, metric="requests", window="day", limit=12345, reason="r", actor=None
    )
    facts = {**FACTS, "used": 4711, "rule": rule.pk}
    del facts["scope"]
    for shared in ({**FACTS, "used": 4711, "scope": "pool"}, facts):
        for kind in (Throttled, LimitExceeded):
            for accepts in ("text/plain", "application/json"):
                response = limit_response(kind(**shared, retry_after=5), request_of(accept=accepts))
                assert b"4711" not in response.content
                assert "4711" not in str(response.headers)
                assert "X-RateLimit-Remaining" not in response


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse("done")


async def answer_later(request: HttpRequest) -> HttpResponse:
    return HttpResponse("done")


def asked(view: Any, request: HttpRequest) -> HttpResponse:
    found = view(request)
    if not asyncio.iscoroutine(found):
        return found

    async def served() -> HttpResponse:
        try:
            return await found
        finally:
            # The thread in which the view asks the database would keep its connection.
            await sync_to_async(connections.close_all)()

    # A browser of other tests may have left its event loop running in this thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, served()).result()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("view", [answer, answer_later])
def test_a_limited_view_counts_and_says_how_it_stands(view: Any) -> None:
    user = world.new_user()
    rules.set_limit(
        scope="default", metric="requests", window="hour", limit=2, counting="cache", reason="r", actor=None
    )
    guarded = limited(view)
    first, second, third = (asked(guarded, request_of(user)) for _ in range(3))
    assert (first.status_code, first["X-RateLimit-Remaining"]) == (200, "1")
    assert second["RateLimit"].startswith('"requests-hour";r=0;t=')
    assert (third.status_code, third.content[:1]) == (429, b"{")
    assert asked(guarded, request_of()).status_code == 200


def test_a_limited_view_answers_for_limits_that_it_meets_itself() -> None:
    person = world.new_user()

    @limited(requests=0)
    def spend(request: HttpRequest) -> HttpResponse:
        tokens.consume(request.user, 5, key=None)
        return HttpResponse("done")

    assert spend(request_of(person)).status_code == 402


def test_a_pools_limit_is_not_told_on_answers_that_pass() -> None:
    person = world.new_user()
    pool = world.new_pool(person)
    terms = {"metric": "requests", "window": "hour", "limit": 9, "counting": "cache", "reason": "r", "actor": None}
    rules.set_limit(scope="pool", pool=pool, **terms)
    assert "X-RateLimit-Remaining" not in limited(answer)(request_of(person))


def test_the_middleware_answers_for_what_views_let_through() -> None:
    middleware = LimitMiddleware(answer)
    response = middleware.process_exception(request_of(), Throttled(**FACTS, retry_after=1))
    assert response is not None
    assert response.status_code == 429
    assert middleware.process_exception(request_of(), ValueError()) is None
    assert middleware(request_of()).status_code == 200
