"""What a forecast is worth, in words: how wrong each method was, and whether the one shown beats a naive guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from django_token_pricing.admin.base.parts import Note
from django_token_pricing.admin.base.wording import NOTHING, number
from django_token_pricing.models import Forecast

ETS, SEASONAL, MEAN = "ets", "seasonal-naive", "recent-mean"
METHODS: dict[str, Any] = {
    ETS: gettext_lazy("Exponential smoothing (ETS)"),
    SEASONAL: gettext_lazy("Seasonal naive: as a week before"),
    MEAN: gettext_lazy("Naive: the mean of four weeks"),
}


def tenths(share: float) -> str:
    """A share with one decimal: methods are often that near to each other."""
    text = formats.number_format(round(share * 100, 1), decimal_pos=1, use_l10n=True)
    return pgettext("share", "%(number)s%%") % {"number": text}


def short_name(method: str) -> str:
    words = {ETS: _("ETS"), SEASONAL: _("Seasonal naive"), MEAN: _("Naive mean")}
    return words.get(method, NOTHING)


def errors(forecast: Forecast | None, told: Callable[[float], str]) -> Iterator[dict[str, Any]]:
    """A line for each method that was tested."""
    found = forecast.backtest["errors"] if forecast else {}
    for method, text in METHODS.items():
        if forecast is not None and method in found:
            one = found[method]
            yield {
                "name": str(text),
                "is_shown": method == forecast.method,
                "mae": told(one["mae"]),
                "wape": NOTHING if one["wape"] is None else tenths(one["wape"]),
                "mase": NOTHING if one["mase"] is None else formats.number_format(one["mase"], decimal_pos=2),
            }


def lead(forecast: Forecast | None) -> str:
    """How often they were asked, and over how many days."""
    if forecast is None or not forecast.backtest["origins"]:
        return ""
    days = next(iter(forecast.backtest["errors"].values()))["days"]
    counted = ngettext("%(count)s day", "%(count)s days", days) % {"count": number(days)}
    words = ngettext(
        "Each was asked once in the past for the days that came then, %(days)s in all.",
        "Each was asked %(count)s times in the past for the days that came then, %(days)s in all.",
        forecast.backtest["origins"],
    )
    return words % {"count": number(forecast.backtest["origins"]), "days": counted}


def verdict(forecast: Forecast | None) -> Note | None:
    """Whether it is better than what anybody could guess."""
    if forecast is None:
        return None
    if forecast.is_better:
        return Note("ok", _("It beats both naive guesses over the same days."))
    named = str(METHODS.get(forecast.method, ""))
    texts = {
        "short": ("info", _("Too little history."), _("A forecast needs two weeks of whole days with usage.")),
        "not_better": (
            "warn",
            _("Exponential smoothing does not beat the naive guesses here."),
            _("So the better of these is shown: %(method)s.") % {"method": named},
        ),
        "not_installed": (
            "info",
            _("This is a naive guess: %(method)s.") % {"method": named},
            _("Install the extra “forecast” (statsmodels) to have exponential smoothing tried as well."),
        ),
        "not_fitted": (
            "info",
            _("This is a naive guess: %(method)s.") % {"method": named},
            _("Exponential smoothing needs six weeks of history, and a series that it can be fitted to."),
        ),
    }
    return Note(*texts[forecast.note]) if forecast.note in texts else None
