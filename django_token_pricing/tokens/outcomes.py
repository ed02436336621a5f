"""What a metering path answers: a status and its facts, never an error, so that the host's transaction stays usable."""

from __future__ import annotations

from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """The columns of `tp_meter_1`, in their order.

    status: ok, replay, insufficient, cap, conflict, settled, released, unknown_key, unknown_owner,
    isolation, limit or throttled (the limit itself is in `cap`), and of the function alone windows: `detail` names the
    periods of which it was not told the windows at the moment `booked`.
    Which of the others are set depends on it: a deed that was done has account and booked, and usage or hold.
    """

    status: str
    detail: str | None = None
    account: Any = None
    amount: int = 0
    available: int = 0
    spendable: int = 0
    cap: int | None = None
    used: int = 0
    booked: Any = None
    usage: Any = None
    hold: Any = None
    expires: Any = None
    lots: list[int] | None = None
    shares: list[int] | None = None
    rule: int | None = None
    metric: str | None = None
    window: str | None = None
    wait: int | None = None
