"""Jobs: the list of all bulk work, and the page of each, from its preview to its result."""

from django_token_pricing.admin.jobs.admins import JobAdmin
from django_token_pricing.admin.jobs.exports import ExportPanel
from django_token_pricing.admin.jobs.panels import Panel, register

__all__ = ["ExportPanel", "JobAdmin", "Panel", "register"]
