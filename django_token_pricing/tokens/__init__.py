"""The token ledger: give tokens to users and pools, and meter their use exactly.

What this package lists is its promise; the modules inside are its own affair.
"""

from django_token_pricing.choices import Source
from django_token_pricing.exceptions import (
    AccountClosed,
    HoldExpired,
    IdempotencyConflict,
    InsufficientTokens,
    InvalidAmount,
    InvalidKey,
    InvalidMoment,
    InvalidUsage,
    LimitExceeded,
    MemberElsewhere,
    PoolCapReached,
    UnknownKey,
    UnknownOwner,
    UnsupportedIsolation,
)
from django_token_pricing.tokens import account_jobs, allocation_import  # noqa: F401  registers their jobs
from django_token_pricing.tokens.balances import balance, balances, statement
from django_token_pricing.tokens.bulk import GrantRow, grant_many
from django_token_pricing.tokens.corrections import refund, set_balance, subtract, void
from django_token_pricing.tokens.corrections_many import (
    BulkCorrection,
    expire_many,
    set_balance_many,
    subtract_many,
)
from django_token_pricing.tokens.expiry import expire
from django_token_pricing.tokens.grants import grant, rollover
from django_token_pricing.tokens.metering import Hold, Use, consume, consume_many, hold, release, settle
from django_token_pricing.tokens.pools import MembersChanged, add_members, remove_members, set_caps
from django_token_pricing.tokens.privacy import Erasure, Pruning, erase, prune
from django_token_pricing.tokens.reconciliation import Discrepancy, reconcile
from django_token_pricing.tokens.recording import Recorded, record_many
from django_token_pricing.tokens.results import (
    Balance,
    BulkGrant,
    Consumption,
    Expiry,
    Grant,
    Held,
    LotShare,
    Refund,
    Release,
    Subtraction,
)
from django_token_pricing.tokens.summaries import latest_refresh, refresh_summaries

__all__ = [
    "AccountClosed",
    "Balance",
    "BulkCorrection",
    "BulkGrant",
    "Consumption",
    "Discrepancy",
    "Erasure",
    "Expiry",
    "Grant",
    "GrantRow",
    "Held",
    "Hold",
    "HoldExpired",
    "IdempotencyConflict",
    "InsufficientTokens",
    "InvalidAmount",
    "InvalidKey",
    "InvalidMoment",
    "InvalidUsage",
    "LimitExceeded",
    "LotShare",
    "MemberElsewhere",
    "MembersChanged",
    "PoolCapReached",
    "Pruning",
    "Recorded",
    "Refund",
    "Release",
    "Source",
    "Subtraction",
    "UnknownKey",
    "UnknownOwner",
    "UnsupportedIsolation",
    "Use",
    "add_members",
    "balance",
    "balances",
    "consume",
    "consume_many",
    "erase",
    "expire",
    "expire_many",
    "grant",
    "grant_many",
    "hold",
    "latest_refresh",
    "prune",
    "reconcile",
    "record_many",
    "refresh_summaries",
    "refund",
    "release",
    "remove_members",
    "rollover",
    "set_balance",
    "set_balance_many",
    "set_caps",
    "settle",
    "statement",
    "subtract",
    "subtract_many",
    "void",
]
