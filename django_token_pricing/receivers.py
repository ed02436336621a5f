"""Reactions to signals."""

from django.db.models.signals import post_migrate

from django_token_pricing.tokens import postgresql

post_migrate.connect(postgresql.forget, dispatch_uid="django_token_pricing.tokens.postgresql.forget")
