"""What waits for a second person, who decides about it, and from which size on one is needed."""

from django_token_pricing.admin.approvals import admins

__all__ = ["admins"]
