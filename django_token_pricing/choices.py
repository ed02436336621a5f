"""Choices shared by models, forms and API."""

from __future__ import annotations

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class Source(TextChoices):
    """Where a lot of tokens came from."""

    PLAN = "plan", _("Plan")
    MANUAL = "manual", _("Manual")
    PROMOTION = "promotion", _("Promotion")
    PURCHASE = "purchase", _("Purchase")
    EMERGENCY = "emergency", _("Emergency boost")
    ROLLOVER = "rollover", _("Rollover")
    IMPORT = "import", _("Import")
    REFERRAL = "referral", _("Referral")
    TRIAL = "trial", _("Trial")


class EntryKind(TextChoices):
    """What moved the tokens. The first three add to a lot, the others take from it."""

    GRANT = "grant", _("Granted")
    REFUND = "refund", _("Refunded")
    ROLLOVER_IN = "rollover_in", _("Carried over from")
    CONSUME = "consume", _("Consumed")
    SUBTRACT = "subtract", _("Subtracted")
    EXPIRE = "expire", _("Expired")
    ROLLOVER_OUT = "rollover_out", _("Carried over to")


class Verb(TextChoices):
    """The verbs that an idempotency key can belong to."""

    GRANT = "grant", _("Grant")
    SUBTRACT = "subtract", _("Subtract")
    SET_BALANCE = "set", _("Set balance")
    VOID = "void", _("Void")
    EXPIRE = "expire", _("Let expire")
    CONSUME = "consume", _("Consume")
    HOLD = "hold", _("Hold")
    REFUND = "refund", _("Refund")
    ROLLOVER = "rollover", _("Rollover")
    RECORD = "record", _("Record only")
    PURCHASE = "purchase", _("Purchase")


class HoldStatus(TextChoices):
    OPEN = "open", _("Open")
    SETTLED = "settled", _("Settled")
    RELEASED = "released", _("Released")
    EXPIRED = "expired", _("Expired")


class SubscriptionStatus(TextChoices):
    """The state of a host's subscription, in the words that most billing systems share."""

    TRIALING = "trialing", _("On trial")
    ACTIVE = "active", _("Active")
    PAST_DUE = "past_due", _("Past due")
    PAUSED = "paused", _("Paused")
    CANCELED = "canceled", _("Cancelled")
    EXPIRED = "expired", _("Expired")


class PaymentStatus(TextChoices):
    PENDING = "pending", _("Pending")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    REFUNDED = "refunded", _("Refunded")
    PARTLY_REFUNDED = "partly_refunded", _("Partly refunded")
    DISPUTED = "disputed", _("Disputed")


class JobStatus(TextChoices):
    """Where a piece of bulk work stands."""

    PREPARING = "preparing", _("Preparing")
    READY = "ready", _("Waiting for you")
    QUEUED = "queued", _("Waiting for a worker")
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    DONE = "done", _("Done")
    CANCELED = "canceled", _("Cancelled")
    FAILED = "failed", _("Failed")


class AccountState(TextChoices):
    """How an account stands, as its summary says."""

    EMPTY = "empty", _("Empty")
    LOW = "low", _("Low")
    OK = "ok", _("Enough")


class LimitScope(TextChoices):
    """Whom a limit is for, the most specific first."""

    USER = "user", _("One user")
    POOL = "pool", _("One pool")
    TIER = "tier", _("A tier")
    DEFAULT = "default", _("Everybody")


class LimitMetric(TextChoices):
    TOKENS = "tokens", _("Tokens")
    REQUESTS = "requests", _("Requests")


class LimitWindow(TextChoices):
    """What a limit is counted over."""

    REQUEST = "request", _("Per request")
    MINUTE = "minute", _("Per minute")
    HOUR = "hour", _("Per hour")
    DAY = "day", _("Per day")
    WEEK = "week", _("Per week")
    MONTH = "month", _("Per month")
    TOTAL = "total", _("In total")
    CONCURRENT = "concurrent", _("At the same time")


class LimitAlignment(TextChoices):
    """Where a window begins: with the calendar's minute, hour, day, week, month, or its own length ago."""

    CALENDAR = "calendar", _("Calendar")
    ROLLING = "rolling", _("Rolling")


class LimitMode(TextChoices):
    HARD = "hard", _("Refuse")
    SOFT = "soft", _("Allow and record")
    GRACE = "grace", _("Allow some more, then refuse")
    THROTTLE = "throttle", _("Refuse and say when to try again")


class LimitCounting(TextChoices):
    """Where a limit is counted: exactly, with the balance, or fast, before a request is served."""

    LEDGER = "ledger", _("Exactly, when tokens move")
    CACHE = "cache", _("Fast, in the cache")


class FailureMode(TextChoices):
    """What a limit in the cache does while the cache cannot be reached."""

    OPEN = "open", _("Let requests pass")
    CLOSED = "closed", _("Refuse requests")


class ApprovalStatus(TextChoices):
    WAITING = "waiting", _("Needs approval")
    APPROVED = "approved", _("Approved")
    REFUSED = "refused", _("Refused")
    WITHDRAWN = "withdrawn", _("Withdrawn")
    EXPIRED = "expired", _("Expired")


class PeriodUnit(TextChoices):
    DAY = "day", _("Days")
    MONTH = "month", _("Months")
    YEAR = "year", _("Years")


class RenewalAnchor(TextChoices):
    """From where periods are counted."""

    SUBSCRIPTION = "subscription", _("Start of the subscription")
    CALENDAR = "calendar", _("Calendar")


class GrantLasts(TextChoices):
    """How long the tokens of a period can be spent."""

    PERIOD = "period", _("Until the period ends")
    DAYS = "days", _("A number of days")
    ALWAYS = "always", _("Without end")


class Rollover(TextChoices):
    """What is carried over of what is left at the end of a period."""

    NONE = "none", _("Nothing")
    ALL = "all", _("All")
    PERCENT = "percent", _("A share")


class MissedPeriods(TextChoices):
    CATCH_UP = "catch_up", _("Grant each of them")
    SKIP = "skip", _("Grant the present one alone")


class OnUpgrade(TextChoices):
    """What a dearer plan gives in the middle of a period."""

    WAIT = "wait", _("Nothing before the next period")
    DIFFERENCE = "difference", _("The whole difference")
    PRORATED = "prorated", _("The difference for what is left of the period")


class OnDowngrade(TextChoices):
    """What a cheaper plan takes in the middle of a period."""

    KEEP = "keep", _("Nothing before the next period")
    PRORATED = "prorated", _("The difference for what is left of the period, as far as it is unspent")


class OnCancel(TextChoices):
    KEEP = "keep", _("Tokens stay until they expire")
    EXPIRE = "expire", _("Plan tokens go at once")


class OnPastDue(TextChoices):
    GRANT = "grant", _("Go on granting")
    WAIT = "wait", _("Wait until it is paid")


class RenewalState(TextChoices):
    """How the renewal of a subscription stands."""

    ACTIVE = "active", _("Active")
    WAITING = "waiting", _("Waiting for payment")
    ENDED = "ended", _("Ended")
    FAILED = "failed", _("Failed")


class PeriodOutcome(TextChoices):
    GRANTED = "granted", _("Granted")
    SKIPPED = "skipped", _("Skipped")


class WarningKind(TextChoices):
    LOW_PERCENT = "low_percent", _("Little left, as a share of what was granted")
    LOW_TOKENS = "low_tokens", _("Little left, in tokens")
    EXPIRING = "expiring", _("Tokens expire soon")
    EXPIRED = "expired", _("Tokens have expired")
    LIMIT = "limit", _("A limit is reached")


class NotificationKind(TextChoices):
    """What people choose to hear of, and how. Both warnings of little left are one."""

    LOW = "low", _("Little left")
    EXPIRING = "expiring", _("Tokens expire soon")
    EXPIRED = "expired", _("Tokens have expired")
    LIMIT = "limit", _("A limit is reached")
    ANOMALY = "anomaly", _("Usage or cost is odd")


class DeliveryStatus(TextChoices):
    """How the mail of a notification stands."""

    NONE = "none", _("Not by mail")
    WAITING = "waiting", _("Waiting")
    SENT = "sent", _("Sent")
    FAILED = "failed", _("Failed")


class RunOutcome(TextChoices):
    """How a run of a scheduled task went."""

    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class FoldKind(TextChoices):
    """The tables whose rows are rolled up."""

    USAGE = "usage", _("Usage")
    ENTRY = "entry", _("Ledger entries")


class RevenueKind(TextChoices):
    """What made revenue of money that was paid before."""

    USE = "use", _("Used")
    EXPIRE = "expire", _("Expired")
    REFUND = "refund", _("Refunded")


class ChartDimension(TextChoices):
    MODEL = "model", _("Model")
    FEATURE = "feature", _("Feature")
    TIER = "tier", _("Tier")


class PriceSource(TextChoices):
    MANUAL = "manual", _("Entered")
    GENAI_PRICES = "genai-prices", _("genai-prices")


class ForecastScope(TextChoices):
    SITE = "site", _("Site")
    TIER = "tier", _("Tier")
    MODEL = "model", _("Model")


class ForecastMetric(TextChoices):
    TOKENS = "tokens", _("Tokens")
    COST = "cost", _("Cost")


class AnomalyKind(TextChoices):
    SEASONAL = "seasonal", _("Unlike its hours and days")
    START = "start", _("Sudden start")
    SILENCE = "silence", _("Silence")
    COST_SPIKE = "cost_spike", _("Cost spike")
    NEW_MODEL = "new_model", _("New model")
    BURST = "burst", _("Burst of small requests")


class AnomalyScope(TextChoices):
    SITE = "site", _("The site")
    TIER = "tier", _("Each tier")
    MODEL = "model", _("Each model")
    ACCOUNT = "account", _("Each account")


class AnomalyState(TextChoices):
    OPEN = "open", _("Open")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    RESOLVED = "resolved", _("Resolved")
    MUTED = "muted", _("Muted")


class UsedShare(TextChoices):
    """How much of what an account had it used, in steps from nothing to all."""

    TENTH = "tenth", _("Less than 10%")
    HALF = "half", _("10 to 50%")
    MOST = "most", _("50 to 90%")
    ALL = "all", _("90% and more")
    DRY = "dry", _("Ran dry")
    NOTHING = "nothing", _("Had none")
