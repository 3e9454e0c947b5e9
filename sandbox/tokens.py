"""JWTs as XieHe issues them, and who they stand for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.database import Database
from sandbox.options import Account

_REFRESH_SECONDS = 7 * 24 * 3600
_HEADER = b'{"alg":"HS256","typ":"JWT"}'


@dataclass(frozen=True)
class Identity:
    """The account behind a token, with the rights this very token gives."""

    id: int
    username: str
    is_superuser: bool


class Tokens:
    """Issues, checks and revokes. The fixed token of the command line is the superuser's and never expires."""

    def __init__(self, database: Database, fixed: str, accounts: Sequence[Account], access_seconds: float) -> None:
        self._database = database
        self._secret = database.secret()
        self._fixed = fixed
        self._accounts = {account.id: account for account in accounts}
        self._access_seconds = access_seconds
        self._generation = int(database.remembered("token_generation", "0"))
        self._fixed_revoked = database.remembered("fixed_revoked", "0") == "1"

    @property
    def access_seconds(self) -> float:
        return self._access_seconds

    def account(self, username: str, password: str) -> Account | None:
        for account in self._accounts.values():
            if account.username == username and hmac.compare_digest(account.password.encode(), password.encode()):
                return account
        return None

    def issue(self, account_id: int, is_superuser: bool) -> dict[str, Any]:
        """The answer's token fields."""
        lives = {"access": self._access_seconds, "refresh": float(_REFRESH_SECONDS)}
        signed = {kind: self._sign(account_id, is_superuser, kind, seconds) for kind, seconds in lives.items()}
        return {
            "access_token": signed["access"],
            "refresh_token": signed["refresh"],
            "token_type": "bearer",
            "expires_in": int(self._access_seconds),
        }

    def identity(self, token: str, kind: str = "access") -> Identity | None:
        """None for whatever is wrong with it: XieHe never says what."""
        if token == self._fixed and kind == "access":
            account = self._accounts[1]
            return None if self._fixed_revoked else Identity(1, account.username, True)
        claims = self._claims(token)
        if claims is None or claims["type"] != kind or claims["gen"] != self._generation or claims["exp"] < time.time():
            return None
        known = self._accounts.get(int(claims["sub"]))
        return None if known is None else Identity(known.id, known.username, bool(claims["is_superuser"]))

    def revoke_all(self, including_fixed: bool = True) -> None:
        """Every token issued until now is bad; a log-in gives a good one."""
        self._generation += 1
        self._fixed_revoked = self._fixed_revoked or including_fixed
        self._save()

    def restore_fixed(self) -> None:
        self._fixed_revoked = False
        self._save()

    def _save(self) -> None:
        self._database.remember("token_generation", str(self._generation))
        self._database.remember("fixed_revoked", "1" if self._fixed_revoked else "0")

    def _sign(self, account_id: int, is_superuser: bool, kind: str, seconds: float) -> str:
        now = time.time()
        claims = {
            "sub": str(account_id),
            "username": self._accounts[account_id].username,
            "is_superuser": is_superuser,
            "type": kind,
            "gen": self._generation,
            "iat": int(now),
            "exp": math.ceil(now + seconds),
            "jti": secrets.token_hex(8),
        }
        content = _encode(_HEADER) + "." + _encode(json.dumps(claims).encode())
        return content + "." + _encode(self._signature(content))

    def _claims(self, token: str) -> dict[str, Any] | None:
        content, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_decode(signature), self._signature(content)):
                return None
            claims: dict[str, Any] = json.loads(_decode(content.partition(".")[2]))
        except (ValueError, binascii.Error):
            return None
        return claims

    def _signature(self, content: str) -> bytes:
        return hmac.new(self._secret, content.encode(), hashlib.sha256).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
