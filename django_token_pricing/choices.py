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
