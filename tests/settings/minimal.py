"""The least a host can have: users, content types and this package. No admin, no sessions, no extras."""

from tests.settings.base import *  # noqa: F403

INSTALLED_APPS = [
    "tests.host",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_token_pricing",
]
MIDDLEWARE: list[str] = []
TEMPLATES: list[dict[str, object]] = []
ROOT_URLCONF = "tests.settings.minimal"
urlpatterns: list[object] = []
