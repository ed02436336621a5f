"""What people are told: warnings that rules raise, the inbox, mails, and notices of deeds on their tokens.

A scan (`warn`) finds who is to be warned and writes it down, once a period; `deliver` sends the mails. Neither needs
the other: what was written down is sent sooner or later, and a scan waits for no mail server.
"""

from django_token_pricing.notifications.anomalies import tell_anomalies
from django_token_pricing.notifications.delivery import TellUsers
from django_token_pricing.notifications.inbox import (
    Preference,
    inbox,
    mark_read,
    preferences,
    set_preference,
    unread,
)
from django_token_pricing.notifications.outbox import Delivery, deliver, retry
from django_token_pricing.notifications.warnings import Warned, warn
from django_token_pricing.notifications.wording import Words, described, with_names, words

__all__ = [
    "Delivery",
    "Preference",
    "TellUsers",
    "Warned",
    "Words",
    "deliver",
    "described",
    "inbox",
    "mark_read",
    "preferences",
    "retry",
    "set_preference",
    "tell_anomalies",
    "unread",
    "warn",
    "with_names",
    "words",
]
