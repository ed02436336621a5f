"""Accounts, pools, packages, lots, entries, usage and holds; the page of an account, and the deeds at all of these."""

from django_token_pricing.admin.tokens import bulk_panels, undo_panel  # noqa: F401  register the pages of its jobs
from django_token_pricing.admin.tokens.admins import TokenAccountAdmin
from django_token_pricing.admin.tokens.boosts import BoostPolicyAdmin
from django_token_pricing.admin.tokens.packages import TokenPackageAdmin
from django_token_pricing.admin.tokens.pools import PoolMemberAdmin, TokenPoolAdmin
from django_token_pricing.admin.tokens.purchases import PurchaseAdmin
from django_token_pricing.admin.tokens.rows import (
    LedgerEntryAdmin,
    TokenAllocationAdmin,
    TokenHoldAdmin,
    TokenUsageLogAdmin,
)

__all__ = [
    "BoostPolicyAdmin",
    "LedgerEntryAdmin",
    "PoolMemberAdmin",
    "PurchaseAdmin",
    "TokenAccountAdmin",
    "TokenAllocationAdmin",
    "TokenHoldAdmin",
    "TokenPackageAdmin",
    "TokenPoolAdmin",
    "TokenUsageLogAdmin",
]
