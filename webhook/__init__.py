"""Notices of tasks' ends to another system."""

from __future__ import annotations

from webhook.message import TaskEnd
from webhook.sender import Delivery, Webhook, WebhookOptions

__all__ = ["Delivery", "TaskEnd", "Webhook", "WebhookOptions"]
