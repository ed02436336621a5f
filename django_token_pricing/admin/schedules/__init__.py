"""Schedules: what runs regularly, how its last run went, and the log of all runs."""

from django_token_pricing.admin.schedules.admins import ScheduledRunAdmin

__all__ = ["ScheduledRunAdmin"]
