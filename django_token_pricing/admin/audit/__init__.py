"""The audit trail, to look at."""

from django_token_pricing.admin.audit.admins import AuditEventAdmin

__all__ = ["AuditEventAdmin"]
