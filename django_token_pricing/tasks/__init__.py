"""Celery's tasks, imported here so that autodiscovery finds them: each is thin, and safe to run twice."""

from django_token_pricing.tasks import jobs, payments, tokens

__all__ = ["jobs", "payments", "tokens"]
