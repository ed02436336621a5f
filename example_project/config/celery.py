"""The worker's app. It finds the tasks of every installed app, those of django_token_pricing among them."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("northwind")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
