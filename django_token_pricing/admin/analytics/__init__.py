"""Token analytics: the dashboards of the section and the files of their charts, alerts and their rules, prices."""

from django_token_pricing.admin.analytics.admins import UsageDayAdmin
from django_token_pricing.admin.analytics.anomalies import AnomalyAdmin
from django_token_pricing.admin.analytics.anomaly_rules import AnomalyRuleAdmin
from django_token_pricing.admin.analytics.prices import ModelPriceAdmin

__all__ = ["AnomalyAdmin", "AnomalyRuleAdmin", "ModelPriceAdmin", "UsageDayAdmin"]
