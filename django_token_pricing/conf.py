"""The one settings dict of the host, `TOKEN_PRICING`, read lazily with typed defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings


@dataclass(frozen=True, slots=True)
class Settings:
    """Every key with its type, default and meaning. Nothing here changes a migration."""

    SUBSCRIPTION_ADAPTER: str = field(
        default="django_token_pricing.adapters.builtin.NoSubscriptions",
        metadata={"help": "Dotted path of the class that tells us of the host's subscriptions."},
    )
    PAYMENT_ADAPTER: str = field(
        default="django_token_pricing.adapters.builtin.NoPayments",
        metadata={"help": "Dotted path of the class that tells us of the host's payments."},
    )
    NOTIFICATION_ADAPTER: str = field(
        default="django_token_pricing.adapters.builtin.Mail",
        metadata={"help": "Dotted path of the class that tells users what was done to their tokens."},
    )
    DEFAULT_CURRENCY: str = field(default="USD", metadata={"help": "ISO 4217 code of costs that name no currency."})
    REPORTING_ZONE: str = field(
        default="",
        metadata={
            "help": "The zone of the hours, days and months of analytics; empty means TIME_ZONE. "
            "A change needs `token_pricing_rollups rebuild`."
        },
    )
    EXCHANGE_RATES: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "What one unit of another currency is worth in DEFAULT_CURRENCY, as text: {“EUR”: “1.08”}. "
            "Revenue in currencies without a rate is shown beside the margin and not in it."
        },
    )
    HOLD_TIMEOUT: timedelta = field(
        default=timedelta(minutes=15), metadata={"help": "How long a hold lasts that names no ttl."}
    )
    LEDGER_PATH: str = field(
        default="auto",
        metadata={
            "help": "“auto” meters through the database function where it is installed (PostgreSQL); "
            "“portable” always takes the ORM path, which has the same contract and is slower."
        },
    )
    JOB_RETENTION: timedelta = field(
        default=timedelta(days=30),
        metadata={"help": "How long rows and files of finished bulk work are kept; the audit trail stays."},
    )
    JOB_PARALLEL: int = field(
        default=4,
        metadata={"help": "So many pieces of bulk work are done at a time, over all workers; others wait their turn."},
    )
    LOW_BALANCE_PERCENT: int = field(
        default=10,
        metadata={"help": "An account is low with no more than this share of what it was granted this month left."},
    )
    THROTTLE_CACHE: str = field(
        default="default", metadata={"help": "The cache, by its name in CACHES, that counts requests for throttles."}
    )


def current() -> Settings:
    """The settings as they are now: overridden settings count at once. The host's dict is replaced, never changed.

    Unknown keys are left to the system checks, which name the nearest known one.
    """
    global _last
    given = getattr(django_settings, "TOKEN_PRICING", _NOTHING)
    if given is not _last[0]:
        _last = given, Settings(**{name: given[name] for name in _NAMES if name in given})
    return _last[1]


_NAMES = tuple(entry.name for entry in fields(Settings))
_NOTHING: dict[str, Any] = {}
_last: tuple[dict[str, Any], Settings] = (_NOTHING, Settings())
