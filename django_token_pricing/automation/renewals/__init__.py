"""Renewal: each period's tokens by the policy of the subscription's tier or plan, once, on the right day."""

from django_token_pricing.automation.renewals.policies import PeriodPreview, check, preview
from django_token_pricing.automation.renewals.runs import CHOSEN, KIND, start, start_chosen

__all__ = ["CHOSEN", "KIND", "PeriodPreview", "check", "preview", "start", "start_chosen"]
