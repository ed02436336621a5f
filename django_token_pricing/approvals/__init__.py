"""Four eyes: deeds above a set size wait for a second person, who sees exactly what will be done.

Upper layers register the kinds of deeds; approving one does it in the transaction that records who agreed.
"""

from django_token_pricing.approvals.handlers import Deed, deed_of, deeds, register
from django_token_pricing.approvals.requests import (
    approve,
    ask,
    expire,
    is_needed,
    limit_of,
    may_decide,
    refuse,
    require,
    waiting_for,
    withdraw,
)

__all__ = [
    "Deed",
    "approve",
    "ask",
    "deed_of",
    "deeds",
    "expire",
    "is_needed",
    "limit_of",
    "may_decide",
    "refuse",
    "register",
    "require",
    "waiting_for",
    "withdraw",
]
