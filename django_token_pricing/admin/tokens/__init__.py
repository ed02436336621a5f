"""Accounts, pools, lots, entries, usage and holds, to look at; and the page of an account."""

from django_token_pricing.admin.tokens.admins import TokenAccountAdmin, TokenPoolAdmin
from django_token_pricing.admin.tokens.rows import (
    LedgerEntryAdmin,
    TokenAllocationAdmin,
    TokenHoldAdmin,
    TokenUsageLogAdmin,
)

__all__ = [
    "LedgerEntryAdmin",
    "TokenAccountAdmin",
    "TokenAllocationAdmin",
    "TokenHoldAdmin",
    "TokenPoolAdmin",
    "TokenUsageLogAdmin",
]
