from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_token_pricing import tokens


class Command(BaseCommand):
    help = "Proves that the books agree, in one snapshot: names every row that does not, and repairs nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        for discrepancy in tokens.reconcile():
            self.stdout.write(str(discrepancy))
            count += 1
        if count:
            raise CommandError(
                ngettext("%(count)d row disagrees.", "%(count)d rows disagree.", count) % {"count": count}
            )
        self.stdout.write(_("All books agree."))
