"""What was used, by whom, on what, at what cost; what comes next and what is odd.

It reads roll-ups, which it folds from usage and ledger, and writes nothing but these and its own findings.
"""

from django_token_pricing.analytics import anomalies, reports
from django_token_pricing.analytics.account_costs import AccountLines, margin_by_account, margin_of_account
from django_token_pricing.analytics.advice import Advised, advise
from django_token_pricing.analytics.anomalies import Finding, default_rules, detect, find_anomalies
from django_token_pricing.analytics.colours import Names, names
from django_token_pricing.analytics.costs import Breakdown, Earned, Line, Margin, added, margin, margin_by
from django_token_pricing.analytics.forecasting import (
    Forecasts,
    forecast_history,
    forecast_names,
    make_forecasts,
    newest_forecast,
)
from django_token_pricing.analytics.freshness import Held, Standing, held, standing
from django_token_pricing.analytics.movements import Flows, Moved, flows
from django_token_pricing.analytics.newest import MOST_READ, Live, Rate, live
from django_token_pricing.analytics.patterns import Part, Pattern, pattern
from django_token_pricing.analytics.periods import ALL, Period, Slice, today, zone
from django_token_pricing.analytics.repricing import Repriced, ask_repricing, months_to_reprice, repriceable_months
from django_token_pricing.analytics.rollups import (
    Folded,
    Rebuilt,
    RollupDifference,
    fold,
    rebuild,
    rollup_state,
    verify,
)
from django_token_pricing.analytics.top import Top, TopAccount, top_accounts
from django_token_pricing.analytics.unpriced import UnpricedModel, models_in_use, models_without_price
from django_token_pricing.analytics.usage import (
    Course,
    Group,
    Measures,
    Ranked,
    heat,
    last_days,
    ranking,
    series,
    totals,
    unit_of,
    units_of,
)
from django_token_pricing.analytics.utilisation import (
    Idle,
    Shares,
    Short,
    idle_accounts,
    months_from,
    running_dry,
    used_shares,
)
from django_token_pricing.exceptions import InvalidPeriod, RollupsElsewhere, RollupsPruned

__all__ = [
    "ALL",
    "MOST_READ",
    "AccountLines",
    "Advised",
    "Breakdown",
    "Course",
    "Earned",
    "Finding",
    "Flows",
    "Folded",
    "Forecasts",
    "Group",
    "Held",
    "Idle",
    "InvalidPeriod",
    "Line",
    "Live",
    "Margin",
    "Measures",
    "Moved",
    "Names",
    "Part",
    "Pattern",
    "Period",
    "Ranked",
    "Rate",
    "Rebuilt",
    "Repriced",
    "RollupDifference",
    "RollupsElsewhere",
    "RollupsPruned",
    "Shares",
    "Short",
    "Slice",
    "Standing",
    "Top",
    "TopAccount",
    "UnpricedModel",
    "added",
    "advise",
    "anomalies",
    "ask_repricing",
    "default_rules",
    "detect",
    "find_anomalies",
    "flows",
    "fold",
    "forecast_history",
    "forecast_names",
    "heat",
    "held",
    "idle_accounts",
    "last_days",
    "live",
    "make_forecasts",
    "margin",
    "margin_by",
    "margin_by_account",
    "margin_of_account",
    "models_in_use",
    "models_without_price",
    "months_from",
    "months_to_reprice",
    "names",
    "newest_forecast",
    "pattern",
    "ranking",
    "rebuild",
    "reports",
    "repriceable_months",
    "rollup_state",
    "running_dry",
    "series",
    "standing",
    "today",
    "top_accounts",
    "totals",
    "unit_of",
    "units_of",
    "used_shares",
    "verify",
    "zone",
]
