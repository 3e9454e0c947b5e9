"""Presigned URLs: signed over method, path and query exactly as written, so that a re-encoded one is refused."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote

from sandbox.storage import BUCKET

_SIGNATURE = "&X-Amz-Signature="


class LinkSigner:
    """Makes and checks the links of the object storage."""

    def __init__(self, secret: bytes, link_seconds: float) -> None:
        self._secret = secret
        self._link_seconds = link_seconds

    def url(self, base_url: str, method: str, object_key: str, extra_query: str = "") -> str:
        path = f"/storage/{BUCKET}/{quote(object_key)}"
        until = time.time() + self._link_seconds
        credential = "sandbox%2Fcn-north-1%2Fs3%2Faws4_request"
        query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}"
        query += f"&X-Amz-Expires-At={until:.3f}{extra_query}"
        return f"{base_url}{path}?{query}{_SIGNATURE}{self._sign(method, path, query)}"

    def refusal(self, method: str, raw_path: str, raw_query: str) -> tuple[int, str] | None:
        """Status and S3 error code of a link that doesn't hold, None of a good one."""
        query, separator, signature = raw_query.partition(_SIGNATURE)
        if not separator:
            return 403, "AccessDenied"
        if not hmac.compare_digest(self._sign(method, raw_path, query), signature):
            return 403, "SignatureDoesNotMatch"
        until = float(query.partition("X-Amz-Expires-At=")[2].partition("&")[0])
        return (403, "AccessDenied") if time.time() > until else None

    def _sign(self, method: str, path: str, query: str) -> str:
        return hmac.new(self._secret, f"{method}\n{path}\n{query}".encode(), hashlib.sha256).hexdigest()
