from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TokenPricingConfig(AppConfig):
    name = "django_token_pricing"
    verbose_name = _("Token pricing")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_token_pricing import checks, notifications, receivers  # noqa: F401  registers them
