"""Exponential smoothing by statsmodels, where the extra `forecast` is installed. Importing it takes seconds."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django_token_pricing.lib.forecast import HIGH, LOW, WEEK, History, Point, recent_mean, seasonal_naive

logger = logging.getLogger(__name__)

NAME = "ets"
# Six weeks: fewer do not tell a season from chance.
LEAST_DAYS = 42


def is_installed() -> bool:
    return find_spec("statsmodels") is not None


def method(first: date) -> Callable[[History, int], list[float] | None]:
    """As a method of `lib.forecast`, for a history that begins on that day."""

    def told(history: History, days: int) -> list[float] | None:
        fitted = _fitted(history, first)
        if fitted is None:
            return None
        values = [float(value) for value in fitted[0].forecast(days)]
        return [value * fitted[1] for value in values] if all(map(math.isfinite, values)) else None

    return told


def points(history: History, first: date, days: int) -> list[Point] | None:
    """The days to come with the interval that the model itself gives; None where it could not be fitted."""
    fitted = _fitted(history, first)
    if fitted is None:
        return None
    result, unit = fitted
    start = len(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            frame = result.get_prediction(start=start, end=start + days - 1).summary_frame(alpha=1 - (HIGH - LOW))
        except (ValueError, ArithmeticError, IndexError, TypeError) as error:
            logger.warning("Exponential smoothing gave no interval: %s", error)
            return None
    rows = zip(frame["mean"], frame["pi_lower"], frame["pi_upper"], strict=True)
    found = []
    for value, low, high in rows:
        if not all(map(math.isfinite, (value, low, high))):
            return None
        shown = max(0.0, float(value) * unit)
        found.append(Point(shown, min(shown, max(0.0, float(low) * unit)), max(shown, float(high) * unit)))
    return found


def _fitted(history: History, first: date) -> tuple[Any, float] | None:
    """The model and the unit it counts in; None where there is too little history, or it does not converge."""
    if len(history) < LEAST_DAYS:
        return None
    values = _without_gaps(history)
    unit = max(abs(value) for value in values)
    if not unit:
        return None
    # Without types of their own, and in most environments not there at all.
    pandas: Any = import_module("pandas")
    ets: Any = import_module("statsmodels.tsa.exponential_smoothing.ets")

    days = pandas.date_range(first, periods=len(values), freq="D")
    series = pandas.Series([value / unit for value in values], index=days)
    with warnings.catch_warnings():
        # It warns where the last step of its search was not small enough; what it found is judged by the back-test.
        warnings.simplefilter("ignore")
        try:
            model = ets.ETSModel(
                series, error="add", trend="add", damped_trend=True, seasonal="add", seasonal_periods=WEEK
            )
            return model.fit(disp=False, maxiter=200), unit
        except (ValueError, ArithmeticError, IndexError, TypeError) as error:
            # LinAlgError is a ValueError.
            logger.warning("Exponential smoothing could not be fitted: %s", error)
            return None


def _without_gaps(history: Sequence[float | None]) -> list[float]:
    """What was not measured as on the same weekday before it: the model takes no gaps."""
    found: list[float] = []
    for place, value in enumerate(history):
        if value is None:
            guess = seasonal_naive(found, 1) or recent_mean(history[place:], 1) or [0.0]
            value = guess[0]
        found.append(value)
    return found
