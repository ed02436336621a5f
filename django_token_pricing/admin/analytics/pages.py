"""The dashboards of the section that hang on the roll-up of days. Others are lists of their own models."""

from __future__ import annotations

from django_token_pricing.admin.analytics.base import DashboardView
from django_token_pricing.admin.analytics.costs import CostsView
from django_token_pricing.admin.analytics.exports import ExportsView
from django_token_pricing.admin.analytics.forecast import ForecastView
from django_token_pricing.admin.analytics.live import LiveView
from django_token_pricing.admin.analytics.overview import OverviewView
from django_token_pricing.admin.analytics.utilisation import UtilisationView

# The overview is the list of the model; each other page has its name as its address.
PAGES: list[type[DashboardView]] = [OverviewView, LiveView, CostsView, UtilisationView, ForecastView, ExportsView]
