"""Celery's tasks, imported here so that autodiscovery finds them: each is thin, and safe to run twice."""

from django_token_pricing.tasks import analytics, approvals, automation, jobs, notifications, payments, tokens

__all__ = ["analytics", "approvals", "automation", "jobs", "notifications", "payments", "tokens"]
