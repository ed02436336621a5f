"""How fresh the figures are, and what accounts have now: read from what roll-ups and summaries say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.db.models import JSONField, Subquery
from django.utils import timezone

from django_token_pricing.choices import HoldStatus
from django_token_pricing.models import RollupState, SummaryRefresh, TokenHold, UsageDay

# Open holds that are summed while somebody waits.
MOST_HOLDS = 2_000


@dataclass(frozen=True, slots=True)
class Standing:
    """When roll-ups and summaries were last brought up to date, and the totals that the summaries found.

    All is None or empty before the first time.
    """

    folded_at: datetime | None = None
    first_day: date | None = None
    refreshed_at: datetime | None = None
    totals: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> tuple[date | None, datetime | None]:
        return self.first_day, self.folded_at

    def available(self, tiers: tuple[str, ...] = ()) -> int | None:
        return self._sum("available", tiers)

    def accounts(self, tiers: tuple[str, ...] = ()) -> int | None:
        return self._sum("accounts", tiers)

    @property
    def expiring(self) -> tuple[int, int] | None:
        """How many accounts lose how many tokens within 7 days."""
        if "expiring_tokens" not in self.totals:
            return None
        return int(self.totals.get("expiring_accounts") or 0), int(self.totals["expiring_tokens"] or 0)

    def _sum(self, name: str, tiers: tuple[str, ...]) -> int | None:
        if self.refreshed_at is None or "tiers" not in self.totals:
            return None
        found = self.totals["tiers"]
        return sum(int(found[tier].get(name) or 0) for tier in found if not tiers or tier in tiers)


@dataclass(frozen=True, slots=True)
class Held:
    """Tokens in open holds; `is_cut` where there are more holds than were summed."""

    holds: int
    tokens: int
    is_cut: bool = False


def standing() -> Standing:
    """One query."""
    refresh = SummaryRefresh.objects.filter(finished_at__isnull=False).order_by("-finished_at")
    first = UsageDay.objects.order_by("day")
    row = (
        RollupState.objects.filter(pk=1)
        .annotate(
            first_day=Subquery(first.values("day")[:1]),
            refreshed_at=Subquery(refresh.values("started_at")[:1]),
            totals=Subquery(refresh.values("totals")[:1], output_field=JSONField()),
        )
        .values_list("folded_at", "first_day", "refreshed_at", "totals")
        .first()
    )
    if row is None:
        return Standing()
    folded_at, first_day, refreshed_at, totals = row
    return Standing(folded_at, first_day, refreshed_at, totals or {})


def held(*, as_of: datetime | None = None) -> Held:
    """What is held now. One query, however many holds there are."""
    rows = TokenHold.objects.filter(status=HoldStatus.OPEN, expires_at__gt=as_of or timezone.now())
    amounts = list(rows.order_by("expires_at").values_list("amount", flat=True)[: MOST_HOLDS + 1])
    return Held(min(len(amounts), MOST_HOLDS), sum(amounts[:MOST_HOLDS]), len(amounts) > MOST_HOLDS)
