"""The token ledger: give tokens to users and pools, and meter their use exactly.

What this package lists is its promise; the modules inside are its own affair.
"""

from django_token_pricing.choices import Source
from django_token_pricing.exceptions import (
    AccountClosed,
    BoostRefused,
    HoldExpired,
    IdempotencyConflict,
    InsufficientTokens,
    InvalidAmount,
    InvalidKey,
    InvalidMoment,
    InvalidUsage,
    LimitExceeded,
    LimitTaken,
    MemberElsewhere,
    PackageUnavailable,
    PaymentMismatch,
    PoolCapReached,
    PurchaseCapReached,
    Throttled,
    ThrottleUnavailable,
    UnknownKey,
    UnknownOwner,
    UnsupportedIsolation,
)
from django_token_pricing.tokens import account_jobs, allocation_import  # noqa: F401  registers their jobs
from django_token_pricing.tokens.balances import balance, balances, statement
from django_token_pricing.tokens.boosts import ask_boost, boost
from django_token_pricing.tokens.bulk import GrantRow, grant_many
from django_token_pricing.tokens.carrying import Carry, Withdraw, rollover_many, withdraw_many
from django_token_pricing.tokens.corrections import refund, set_balance, subtract, void
from django_token_pricing.tokens.corrections_many import (
    BulkCorrection,
    expire_many,
    set_balance_many,
    subtract_many,
)
from django_token_pricing.tokens.expiry import expire
from django_token_pricing.tokens.grants import grant, rollover
from django_token_pricing.tokens.limits import approval  # noqa: F401  registers its kind of deed
from django_token_pricing.tokens.limits.replay import ask_replay, replay_of
from django_token_pricing.tokens.limits.rules import retire_limit, set_limit
from django_token_pricing.tokens.limits.states import LimitState, limits
from django_token_pricing.tokens.limits.throttling import ThrottleState, throttle
from django_token_pricing.tokens.metering import Hold, Use, consume, consume_many, hold, release, settle
from django_token_pricing.tokens.pools import MembersChanged, add_members, remove_members, set_caps
from django_token_pricing.tokens.privacy import Erasure, Pruning, erase, prune
from django_token_pricing.tokens.purchases import (
    Offer,
    PurchaseRefund,
    PurchaseResult,
    packages_for,
    purchase,
    refund_purchase,
)
from django_token_pricing.tokens.reconciliation import Discrepancy, reconcile
from django_token_pricing.tokens.recording import Recorded, record_many
from django_token_pricing.tokens.results import (
    Balance,
    BulkGrant,
    BulkRollover,
    BulkWithdrawal,
    Carried,
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
    "BoostRefused",
    "BulkCorrection",
    "BulkGrant",
    "BulkRollover",
    "BulkWithdrawal",
    "Carried",
    "Carry",
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
    "LimitState",
    "LimitTaken",
    "LotShare",
    "MemberElsewhere",
    "MembersChanged",
    "Offer",
    "PackageUnavailable",
    "PaymentMismatch",
    "PoolCapReached",
    "Pruning",
    "PurchaseCapReached",
    "PurchaseRefund",
    "PurchaseResult",
    "Recorded",
    "Refund",
    "Release",
    "Source",
    "Subtraction",
    "ThrottleState",
    "ThrottleUnavailable",
    "Throttled",
    "UnknownKey",
    "UnknownOwner",
    "UnsupportedIsolation",
    "Use",
    "Withdraw",
    "add_members",
    "ask_boost",
    "ask_replay",
    "balance",
    "balances",
    "boost",
    "consume",
    "consume_many",
    "erase",
    "expire",
    "expire_many",
    "grant",
    "grant_many",
    "hold",
    "latest_refresh",
    "limits",
    "packages_for",
    "prune",
    "purchase",
    "reconcile",
    "record_many",
    "refresh_summaries",
    "refund",
    "refund_purchase",
    "release",
    "remove_members",
    "replay_of",
    "retire_limit",
    "rollover",
    "rollover_many",
    "set_balance",
    "set_balance_many",
    "set_caps",
    "set_limit",
    "settle",
    "statement",
    "subtract",
    "subtract_many",
    "throttle",
    "void",
    "withdraw_many",
]
