"""Roll-ups of usage, revenue and the ledger's movements: folded from the rows, checked against them, made anew."""

from django_token_pricing.analytics.rollups.checking import Rebuilt, RollupDifference, rebuild, verify
from django_token_pricing.analytics.rollups.folding import Folded, fold
from django_token_pricing.analytics.rollups.state import rollup_state

__all__ = ["Folded", "Rebuilt", "RollupDifference", "fold", "rebuild", "rollup_state", "verify"]
