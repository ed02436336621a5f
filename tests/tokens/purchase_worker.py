"""A shop whose process is killed: `python -m tests.tokens.purchase_worker USER`. It says which payment it is at."""

from __future__ import annotations

import sys

PAYMENTS = 60


def main(user: str) -> None:
    import django

    django.setup()
    from django.contrib.auth import get_user_model

    from django_token_pricing import tokens

    buyer = get_user_model()._base_manager.get(pk=user)
    for number in range(PAYMENTS):
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        tokens.purchase(buyer, "pack", payment_ref=f"pay-{number}", currency="EUR")


if __name__ == "__main__":
    main(sys.argv[1])
