"""Refusals of uploads, as errors."""

from __future__ import annotations

from errors import UploadRejectedError
from xiehe.http.responses import BackendResponse, hint_of, unread


def refused_upload(answer: BackendResponse) -> UploadRejectedError:
    """A refusal that repeating cannot change."""
    seen = unread(answer.evidence) if answer.is_page else answer.evidence
    return UploadRejectedError(f"XieHe 拒绝接收该图像（{seen}）。{hint_of(seen)}")
