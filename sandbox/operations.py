"""The stable names of what a request asks for, used by faults, limits and the journal."""

from __future__ import annotations

import re

_API = "/api/v1"

_EXACT = {
    ("POST", f"{_API}/auth/login"): "login",
    ("POST", f"{_API}/auth/refresh"): "refresh",
    ("GET", f"{_API}/auth/me"): "me",
    ("GET", f"{_API}/patients"): "search_patients",
    ("POST", f"{_API}/patients"): "create_patient",
    ("GET", f"{_API}/image-files"): "list_images",
    ("POST", f"{_API}/upload/single"): "upload_single",
    ("POST", f"{_API}/upload/sessions"): "create_session",
}

_PATTERNS = (
    ("GET", re.compile(rf"{_API}/image-files/patient/[^/]+"), "list_images"),
    ("GET", re.compile(rf"{_API}/image-files/[^/]+/download"), "download"),
    ("POST", re.compile(rf"{_API}/upload/sessions/([^/]+)/complete"), "complete_session"),
    ("GET", re.compile(rf"{_API}/upload/sessions/([^/]+)"), "get_session"),
    ("PUT", re.compile(r"/storage/.+"), "put_part"),
    ("GET", re.compile(r"/storage/.+"), "fetch_object"),
)


def operation_of(method: str, path: str) -> str:
    """`other` for what an importer never asks."""
    exact = _EXACT.get((method, path.rstrip("/")))
    if exact is not None:
        return exact
    for wanted, pattern, operation in _PATTERNS:
        if method == wanted and pattern.fullmatch(path):
            return operation
    return "other"
