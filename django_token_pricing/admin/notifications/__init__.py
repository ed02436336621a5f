"""Warnings that operators set, all notifications with the state of their mails, and the inbox of who is logged in."""

from django_token_pricing.admin.notifications.admins import NotificationAdmin, WarningRuleAdmin

__all__ = ["NotificationAdmin", "WarningRuleAdmin"]
