"""Telling users what was done to their tokens, through the host's adapter."""

from django_token_pricing.notifications.delivery import TellUsers

__all__ = ["TellUsers"]
