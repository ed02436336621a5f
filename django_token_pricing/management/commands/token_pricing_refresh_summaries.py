from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import tokens
from django_token_pricing.tasks.runs import recorded


class Command(BaseCommand):
    help = "Computes anew what lists of accounts sort and filter by; run it every few minutes."

    def handle(self, *args: Any, **options: Any) -> None:
        with recorded("django_token_pricing.tokens.refresh_summaries") as result:
            run = tokens.refresh_summaries()
            result["accounts"] = run.accounts
        if run.finished_at is None:
            self.stdout.write(_("Another refresh is at work."))
            return
        count = run.accounts
        words = ngettext(
            "The summary of %(count)d account is fresh.", "The summaries of %(count)d accounts are fresh.", count
        )
        self.stdout.write(words % {"count": count})
