"""Our pages in the host's admin. Importing this registers them with the default site, as autodiscovery does."""

from django_token_pricing.admin import audit, payments, tokens

__all__ = ["audit", "payments", "tokens"]
