"""Limits: rules as a list and a form, what they do when they change, and who else has to agree."""

from django_token_pricing.admin.limits import admins, replay_panel

__all__ = ["admins", "replay_panel"]
