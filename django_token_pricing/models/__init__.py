"""All tables. Import them from here, not from the files inside."""

from django_token_pricing.models.accounts import PoolDraw, PoolMember, TokenAccount, TokenPool
from django_token_pricing.models.audit import AuditEvent
from django_token_pricing.models.jobs import Job, JobFile, JobRow
from django_token_pricing.models.packages import TokenPackage, TokenPackagePrice
from django_token_pricing.models.payments import (
    PaymentEvent,
    PaymentMirror,
    SubscriptionEvent,
    SubscriptionMirror,
    SyncCursor,
)
from django_token_pricing.models.summaries import AccountSummary, SummaryRefresh
from django_token_pricing.models.tokens import (
    DEFAULT_PRIORITY,
    KEY_LENGTH,
    IdempotencyKey,
    LedgerEntry,
    LedgerPrune,
    TokenAllocation,
    TokenHold,
    TokenHoldLot,
    TokenUsageLog,
)

__all__ = [
    "DEFAULT_PRIORITY",
    "KEY_LENGTH",
    "AccountSummary",
    "AuditEvent",
    "IdempotencyKey",
    "Job",
    "JobFile",
    "JobRow",
    "LedgerEntry",
    "LedgerPrune",
    "PaymentEvent",
    "PaymentMirror",
    "PoolDraw",
    "PoolMember",
    "SubscriptionEvent",
    "SubscriptionMirror",
    "SummaryRefresh",
    "SyncCursor",
    "TokenAccount",
    "TokenAllocation",
    "TokenHold",
    "TokenHoldLot",
    "TokenPackage",
    "TokenPackagePrice",
    "TokenPool",
    "TokenUsageLog",
]
