"""The same host with Django's stock user, whose key is an integer."""

from tests.settings.base import *  # noqa: F403
from tests.settings.base import INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "tests.host"]
AUTH_USER_MODEL = "auth.User"
