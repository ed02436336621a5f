"""Rules by which tokens move without anybody at work: policies of renewal, and where each subscription stands."""

from django_token_pricing.admin.automation import admins

__all__ = ["admins"]
