"""The notice of a task's end, and its signature."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from models import Counts, TaskRecord

_DELIVERIES = uuid.UUID("6f5f0d0e-5c1c-4f6e-9d7b-1a4c2b8e7f30")


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """A task at rest; ``failures_by_code`` counts its failed files."""

    record: TaskRecord
    counts: Counts
    failures_by_code: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Message:
    """One notice. Each attempt sends the same bytes and delivery id, also after a restart."""

    event: str
    delivery_id: str
    body: bytes


def message_of(end: TaskEnd, service: str, version: str) -> Message:
    """Only numbers, states and times: no path, no description, no patient."""
    record = end.record
    event = f"import.{record.status}"
    content = {
        "event": event,
        "task_id": record.task_id,
        "status": record.status,
        "result": record.result,
        "dry_run": record.options.dry_run,
        "started_at": _timestamp(record.started_at),
        "completed_at": _timestamp(record.completed_at),
        "duration_seconds": _seconds(record),
        "counters": asdict(end.counts),
        "failures_by_code": dict(sorted(end.failures_by_code.items())),
        "service": {"name": service, "version": version},
    }
    return Message(event, delivery_id_of(record.task_id), json.dumps(content, separators=(",", ":")).encode())


def delivery_id_of(task_id: str) -> str:
    """Derived from the task's id, so that a receiver recognises a repetition, even after a restart."""
    return str(uuid.uuid5(_DELIVERIES, task_id))


def headers_of(message: Message, secret: str, timestamp: int) -> dict[str, str]:
    """Headers of one attempt. The signature covers its time, so that a replay can be detected."""
    signed = f"{timestamp}.".encode() + message.body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Dicom-Import-Event": message.event,
        "X-Dicom-Import-Delivery": message.delivery_id,
        "X-Dicom-Import-Timestamp": str(timestamp),
        "X-Dicom-Import-Signature": f"sha256={digest}",
    }


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(record: TaskRecord) -> float | None:
    if record.started_at is None or record.completed_at is None:
        return None
    return (record.completed_at - record.started_at).total_seconds()
