"""Notices of tasks' ends to another system."""

from __future__ import annotations

from webhook.message import TaskEnd
from webhook.sender import Webhook, WebhookDelivery, WebhookOptions

__all__ = ["TaskEnd", "Webhook", "WebhookDelivery", "WebhookOptions"]
