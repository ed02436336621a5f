"""Limits in HTTP: errors become 429 and 402, and a client is told how it stands and when to come again.

`limit_response` makes the answer, `limited` throttles a view, `LimitMiddleware` answers for every view that lets such
an error through. The headers are those of the IETF draft “RateLimit header fields for HTTP” (its version 10), and the
older ones that many clients read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext as _

from django_token_pricing import tokens
from django_token_pricing.choices import LimitScope
from django_token_pricing.exceptions import InsufficientTokens, LimitExceeded, TokenPricingError
from django_token_pricing.lib import windows
from django_token_pricing.models import LimitRule

REFUSALS = (LimitExceeded, InsufficientTokens)
# Integers of structured fields (RFC 9651) have fifteen digits.
MOST = 10**15 - 1

View = Callable[..., Any]


def limit_response(error: TokenPricingError, request: HttpRequest | None = None) -> HttpResponse:
    """429 for a limit, 402 for tokens that are not there; as JSON, or as text where the client asks for that.

    It says what concerns whoever asks: what others have used of a limit that a pool shares stays out of it.
    Raises TypeError for other errors.
    """
    if not isinstance(error, REFUSALS):
        raise TypeError(f"{type(error).__name__} is no refusal.")
    is_limit = isinstance(error, LimitExceeded)
    facts = error.facts
    is_shared = _is_shared(facts)
    body: dict[str, Any] = {
        "code": error.code,
        "detail": _shared_detail(facts) if is_shared else error.message,
        "limit": facts.get("limit"),
        "used": None if is_shared else facts.get("used"),
        "retry_after": _seconds(facts.get("retry_after")),
    }
    status = 429 if is_limit else 402
    response: HttpResponse
    if request is not None and request.get_preferred_type(["application/json", "text/html", "text/plain"]) in (
        "text/html",
        "text/plain",
    ):
        response = HttpResponse(body["detail"], content_type="text/plain; charset=utf-8", status=status)
    else:
        response = JsonResponse(body, status=status)
    patch_vary_headers(response, ["Accept"])
    response["Cache-Control"] = "no-store"
    if is_limit:
        if body["retry_after"] is not None:
            response["Retry-After"] = str(body["retry_after"])
        _say(
            response,
            metric=facts.get("metric", ""),
            window=facts.get("window", ""),
            limit=facts.get("limit"),
            used=body["used"],
            reset=body["retry_after"],
        )
    return response


def _is_shared(facts: dict[str, Any]) -> bool:
    """Whether others count in it. Where that cannot be found out, nothing is told of what was used."""
    if "scope" in facts or facts.get("rule") is None:
        return facts.get("scope") == LimitScope.POOL
    try:
        return LimitRule.objects.filter(pk=facts["rule"], scope=LimitScope.POOL).exists()
    except (DatabaseError, SynchronousOnlyOperation):
        return True


def _shared_detail(facts: dict[str, Any]) -> str:
    retry_after = _seconds(facts.get("retry_after"))
    if retry_after is None:
        return _("The limit that you share with others would be passed.")
    return _("The limit that you share with others is reached. Try again in %(retry_after)s seconds.") % {
        "retry_after": retry_after
    }


def _seconds(value: Any) -> int | None:
    """Whole ones, rounded up: who comes earlier is refused again."""
    return None if value is None else max(-int(-value // 1), 0)


def _say(
    response: HttpResponseBase, *, metric: str, window: str, limit: int | None, used: int | None, reset: int | None
) -> None:
    """What is not known is left out; a header that the view has set stays."""
    if limit is None:
        return
    name = f'"{"-".join(part for part in (metric, window) if part)}"'
    policy = f"{name};q={min(limit, MOST)}"
    if window in windows.LENGTHS:
        policy += f";w={int(windows.LENGTHS[window].total_seconds())}"
    given = {"RateLimit-Policy": policy, "X-RateLimit-Limit": str(limit)}
    if used is not None:
        remaining = max(limit - used, 0)
        given["RateLimit"] = f"{name};r={min(remaining, MOST)}" + ("" if reset is None else f";t={reset}")
        given["X-RateLimit-Remaining"] = str(remaining)
    if reset is not None:
        given["X-RateLimit-Reset"] = str(int(time.time()) + reset)
    for header, value in given.items():
        response.headers.setdefault(header, value)


def signed_in(request: HttpRequest) -> Any:
    """The user of the request; None for whoever is not signed in."""
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def limited(
    view: View | None = None,
    *,
    owner: Callable[[HttpRequest], Any] = signed_in,
    tokens: int = 0,
    requests: int = 1,
    model: str = "",
    feature: str = "",
) -> Any:
    """Throttle a view, sync or async: `@limited`, or `@limited(feature="chat")`.

    What `tokens.throttle` refuses, and limits that the view itself meets, are answered by `limit_response`; other
    answers carry headers that say how the tightest throttle stands. `owner` gives whom to count it for; None, as for
    those who are not signed in, is not counted.
    """
    terms = {"tokens": tokens, "requests": requests, "model": model, "feature": feature}

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def asynchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    state = await sync_to_async(_throttled)(request, owner, terms)
                    answer: Awaitable[HttpResponseBase] = view(request, *args, **kwargs)
                    return _marked(await answer, state)
                except REFUSALS as error:
                    return await sync_to_async(limit_response)(error, request)

            return asynchronous

        @wraps(view)
        def synchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                state = _throttled(request, owner, terms)
                return _marked(view(request, *args, **kwargs), state)
            except REFUSALS as error:
                return limit_response(error, request)

        return synchronous

    return decorate if view is None else decorate(view)


def _throttled(
    request: HttpRequest, owner: Callable[[HttpRequest], Any], terms: dict[str, Any]
) -> tokens.ThrottleState | None:
    subject = owner(request)
    return None if subject is None else tokens.throttle(subject, **terms)


def _marked(response: HttpResponseBase, state: tokens.ThrottleState | None) -> HttpResponseBase:
    if state and not state.is_shared:
        _say(
            response,
            metric=state.metric,
            window=state.window,
            limit=state.limit,
            used=state.used,
            reset=state.reset_after,
        )
    return response


class LimitMiddleware(MiddlewareMixin):
    """Answers 429 and 402 for limits and shortages that a view did not catch."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return limit_response(exception, request) if isinstance(exception, REFUSALS) else None
