"""Reading ``exp`` out of a token that nobody verified, and hiding credentials."""

from __future__ import annotations

import base64
import json

import pytest

from xiehe.http.options import Credentials
from xiehe.http.tokens import token_expiry


def _jwt(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.c2ln"


def test_expiry_is_read_from_a_jwt() -> None:
    assert token_expiry(_jwt(json.dumps({"exp": 1_700_000_000}).encode())) == 1_700_000_000


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b",
        "a.b.c.d",
        "..",
        "a.!!!.c",
        _jwt(b"no json"),
        _jwt(b"[]"),
        _jwt(b"{}"),
        _jwt(b'{"exp": "soon"}'),
        _jwt(b"\xff"),
    ],
)
def test_anything_else_has_no_expiry(token: str) -> None:
    assert token_expiry(token) is None


def test_credentials_hide_in_repr() -> None:
    assert not any(secret in repr(Credentials("tok", "user", "pass")) for secret in ("tok", "user", "pass"))
