"""The host's subscriptions and payments, mirrored: adapters feed the mirrors, rules read nothing else."""

from django_token_pricing.payments.sync import SyncResult, sync_payments, sync_subscriptions

__all__ = ["SyncResult", "sync_payments", "sync_subscriptions"]
