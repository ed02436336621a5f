"""All tables. Import them from here, not from the files inside."""

from django_token_pricing.models.accounts import PoolDraw, PoolMember, TokenAccount, TokenPool
from django_token_pricing.models.analytics import (
    AccountMonth,
    AccountRevenue,
    AnalyticsExport,
    ChartSlot,
    FlowDay,
    FoldQueue,
    RevenueDay,
    RollupState,
    UsageDay,
    UsageHour,
)
from django_token_pricing.models.approvals import Approval, ApprovalRule
from django_token_pricing.models.audit import AuditEvent
from django_token_pricing.models.boosts import BoostPolicy
from django_token_pricing.models.insights import Anomaly, AnomalyRule, Forecast, TierAdvice
from django_token_pricing.models.jobs import Job, JobFile, JobRow
from django_token_pricing.models.limits import LimitCounter, LimitOverage, LimitRule
from django_token_pricing.models.notifications import (
    Notification,
    NotificationPreference,
    WarningRule,
    WarningState,
    WarningTally,
)
from django_token_pricing.models.packages import Purchase, TokenPackage, TokenPackagePrice
from django_token_pricing.models.payments import (
    LIVE,
    PaymentEvent,
    PaymentMirror,
    SubscriptionEvent,
    SubscriptionMirror,
    SyncCursor,
)
from django_token_pricing.models.prices import ModelPrice
from django_token_pricing.models.renewals import Renewal, RenewalLot, RenewalPeriod, RenewalPolicy
from django_token_pricing.models.schedules import ScheduledRun
from django_token_pricing.models.summaries import AccountSummary, SummaryRefresh
from django_token_pricing.models.tokens import (
    DEFAULT_PRIORITY,
    KEY_LENGTH,
    TOKEN_COUNTS,
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
    "LIVE",
    "TOKEN_COUNTS",
    "AccountMonth",
    "AccountRevenue",
    "AccountSummary",
    "AnalyticsExport",
    "Anomaly",
    "AnomalyRule",
    "Approval",
    "ApprovalRule",
    "AuditEvent",
    "BoostPolicy",
    "ChartSlot",
    "FlowDay",
    "FoldQueue",
    "Forecast",
    "IdempotencyKey",
    "Job",
    "JobFile",
    "JobRow",
    "LedgerEntry",
    "LedgerPrune",
    "LimitCounter",
    "LimitOverage",
    "LimitRule",
    "ModelPrice",
    "Notification",
    "NotificationPreference",
    "PaymentEvent",
    "PaymentMirror",
    "PoolDraw",
    "PoolMember",
    "Purchase",
    "Renewal",
    "RenewalLot",
    "RenewalPeriod",
    "RenewalPolicy",
    "RevenueDay",
    "RollupState",
    "ScheduledRun",
    "SubscriptionEvent",
    "SubscriptionMirror",
    "SummaryRefresh",
    "SyncCursor",
    "TierAdvice",
    "TokenAccount",
    "TokenAllocation",
    "TokenHold",
    "TokenHoldLot",
    "TokenPackage",
    "TokenPackagePrice",
    "TokenPool",
    "TokenUsageLog",
    "UsageDay",
    "UsageHour",
    "WarningRule",
    "WarningState",
    "WarningTally",
]
