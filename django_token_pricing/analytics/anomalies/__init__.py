"""What is odd in usage and cost: rules, the alerts that they raise, and what people make of these."""

from django_token_pricing.analytics.anomalies.deciding import acknowledge, mute, reopen, resolve
from django_token_pricing.analytics.anomalies.detecting import Finding, detect
from django_token_pricing.analytics.anomalies.finding import (
    SCOPES,
    Found,
    default_rules,
    find_anomalies,
    open_alerts,
    precision,
    require_possible,
)
from django_token_pricing.analytics.anomalies.replaying import (
    ReplayAnomalyRule,
    anomaly_replay_of,
    ask_anomaly_replay,
    terms,
)
from django_token_pricing.analytics.anomalies.surroundings import Around, around
from django_token_pricing.analytics.anomalies.wording import reason

__all__ = [
    "SCOPES",
    "Around",
    "Finding",
    "Found",
    "ReplayAnomalyRule",
    "acknowledge",
    "anomaly_replay_of",
    "around",
    "ask_anomaly_replay",
    "default_rules",
    "detect",
    "find_anomalies",
    "mute",
    "open_alerts",
    "precision",
    "reason",
    "reopen",
    "require_possible",
    "resolve",
    "terms",
]
