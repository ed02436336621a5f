"""Asks to pass and says how often it may: `python -m tests.tokens.limits.throttling_worker PREFIX TIMES`."""

from __future__ import annotations

import sys


def main(prefix: str, times: str) -> None:
    import django
    from django.conf import settings

    from tests import redis_server

    django.setup()
    settings.CACHES = {"default": {**redis_server.cache(), "KEY_PREFIX": prefix}}
    from django.contrib.auth import get_user_model

    from django_token_pricing import tokens

    user = get_user_model()._base_manager.order_by("pk").first()
    passed = 0
    for _ in range(int(times)):
        try:
            passed += bool(tokens.throttle(user))
        except tokens.Throttled:
            continue
    sys.stdout.write(str(passed))


if __name__ == "__main__":
    main(*sys.argv[1:])
