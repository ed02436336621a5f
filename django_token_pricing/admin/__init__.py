"""Our pages in the host's admin. Importing this registers them with the default site, as autodiscovery does."""

from django_token_pricing.admin import audit, jobs, payments, tokens

__all__ = ["audit", "jobs", "payments", "tokens"]
