"""The columns of files of allocations: an export writes and an import reads them, so the names never change."""

from __future__ import annotations

# What an import reads.
READ = [
    "owner",
    "amount",
    "source",
    "starts_at",
    "expires_at",
    "priority",
    "paid_amount",
    "paid_currency",
    "key",
    "reason",
]
# What an export tells beyond that.
TOLD = ["left", "booked_at", "number"]
