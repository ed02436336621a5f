from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from django_token_pricing import notifications
from django_token_pricing.tasks.runs import recorded


class Command(BaseCommand):
    help = "Fires the warnings that are due, and sends the mails that wait; run it every few minutes."

    def handle(self, *args: Any, **options: Any) -> None:
        with recorded("django_token_pricing.notifications.warn") as run:
            warned = notifications.warn()
            run.update(warnings=warned.warnings, notifications=warned.notifications)
        with recorded("django_token_pricing.notifications.deliver") as run:
            mails = notifications.deliver()
            run.update(sent=mails.sent, unreachable=mails.unreachable, waiting=mails.waiting, failed=mails.failed)
        self.stdout.write(
            _(
                "%(warnings)s warnings fired. %(sent)s mails were sent, %(unreachable)s have nobody to reach,"
                " %(waiting)s are tried again, %(failed)s are given up."
            )
            % {
                "warnings": warned.warnings,
                "sent": mails.sent,
                "unreachable": mails.unreachable,
                "waiting": mails.waiting,
                "failed": mails.failed,
            }
        )
