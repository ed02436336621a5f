"""What a preview of an import says: how much, to how many, from when to when, and lines that show every case."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from django_token_pricing.models import TokenAccount
from django_token_pricing.tokens.allocation_columns import MOST_SHOWN
from django_token_pricing.tokens.allocation_lines import Line
from django_token_pricing.tokens.balances import balances


@dataclass(slots=True)
class Summary:
    """Counted line by line. `same` lines were granted before, of which `same_since` is the first moment; `equal` ones
    say what an earlier line of the file says, and are granted as well.
    """

    rows: int = 0
    new: int = 0
    same: int = 0
    bad: int = 0
    problems: int = 0
    tokens: int = 0
    equal: int = 0
    repeated_lately: int = 0
    never_expire: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    same_since: str = ""
    first_expiry: datetime | None = None
    last_expiry: datetime | None = None
    # A line of each case, the first that came, but for the largest.
    sample: dict[str, Line] = field(default_factory=dict)
    seen: set[tuple[bool, ...]] = field(default_factory=set)

    def add(self, line: Line) -> None:
        self.rows += 1
        if line.problems:
            self.bad += 1
            self.problems += len(line.problems)
            self.codes.update(problem["code"] for problem in line.problems)
        elif line.same_as:
            self.same += 1
            if not line.same_as.startswith("line") and (not self.same_since or line.same_as < self.same_since):
                self.same_since = line.same_as
            self.sample.setdefault("same", line)
        else:
            self._add_new(line)

    def _add_new(self, line: Line) -> None:
        self.new += 1
        self.tokens += line.amount
        self.by_source[line.source] += line.amount
        ends = line.expires_at
        if ends is None:
            self.never_expire += 1
        else:
            self.first_expiry = ends if self.first_expiry is None else min(ends, self.first_expiry)
            self.last_expiry = ends if self.last_expiry is None else max(ends, self.last_expiry)
        sample = self.sample
        if "largest" not in sample or line.amount > sample["largest"].amount:
            sample["largest"] = line
        owner = line.owner
        assert owner is not None  # noqa: S101 - a line without one has a problem
        cases = (
            owner.owner.pool is not None,
            owner.account is None,
            ends is not None,
            line.starts_at is not None,
            line.reason != "",
            line.paid_amount is not None,
        )
        # Most lines are as those before.
        if cases not in self.seen:
            self.seen.add(cases)
            for name, is_so in zip(_CASES, cases, strict=True):
                if is_so:
                    sample.setdefault(name, line)
            sample.setdefault("usual", line)

    def as_json(self, using: str) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "new": self.new,
            "same": self.same,
            "bad": self.bad,
            "problems": self.problems,
            "codes": dict(self.codes.most_common()),
            "tokens": self.tokens,
            "equal": self.equal,
            "repeated_lately": self.repeated_lately,
            "never_expire": self.never_expire,
            "by_source": dict(self.by_source.most_common()),
            "same_since": self.same_since,
            "first_expiry": self.first_expiry and self.first_expiry.isoformat(),
            "last_expiry": self.last_expiry and self.last_expiry.isoformat(),
            "sample": self._sample(using),
        }

    def _sample(self, using: str) -> list[dict[str, Any]]:
        lines = sorted({line.number: line for line in self.sample.values()}.items())
        accounts = {line.owner.account for _number, line in lines if line.owner and line.owner.account}
        found = balances(TokenAccount.objects.using(using).filter(pk__in=accounts))
        available = {account.pk: balance.available for account, balance in found.items()}
        now = timezone.now()
        return [_shown(line, available, now) for _number, line in lines]


_CASES = ("pool", "opens", "expires", "starts", "reason", "paid")


def _shown(line: Line, available: dict[int, int], now: datetime) -> dict[str, Any]:
    owner = line.owner
    assert owner is not None  # noqa: S101 - a line without one has a problem
    free = available.get(owner.account, 0) if owner.account is not None else None
    counts = not line.same_as and (line.starts_at is None or line.starts_at <= now)
    return {
        "line": line.number,
        "name": owner.name[:MOST_SHOWN],
        "account": owner.account,
        "result": "same" if line.same_as else "new",
        "same_as": line.same_as,
        "now": free,
        "after": (free or 0) + (line.amount if counts else 0),
        "tokens": line.amount,
        "source": line.source,
        "starts_at": line.starts_at and line.starts_at.isoformat(),
        "expires_at": line.expires_at and line.expires_at.isoformat(),
        "reason": line.reason,
    }
