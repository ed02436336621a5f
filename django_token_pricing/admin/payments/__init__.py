"""What the host told us of its subscriptions and payments, to look at."""

from django_token_pricing.admin.payments.admins import PaymentMirrorAdmin, SubscriptionMirrorAdmin

__all__ = ["PaymentMirrorAdmin", "SubscriptionMirrorAdmin"]
