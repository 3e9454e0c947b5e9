"""Log-in, refresh, and who am I."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from sandbox.backend import CallDep, backend_of, unauthorized
from sandbox.contracts import success
from sandbox.options import MIN_PASSWORD_LENGTH

router = APIRouter(prefix="/api/v1/auth")


class Login(BaseModel):
    username: str = Field(min_length=1, max_length=50)
    password: str = Field(min_length=MIN_PASSWORD_LENGTH, max_length=128)
    remember_me: bool = False


class Refresh(BaseModel):
    refresh_token: str


@router.post("/login")
async def login(request: Request, credentials: Login) -> Response:
    backend = backend_of(request)
    account = backend.tokens.account(credentials.username, credentials.password)
    if account is None:
        raise unauthorized()
    tokens = backend.tokens.issue(account.id, account.is_superuser)
    user = _user(account.id, account.username, account.is_superuser)
    return success(backend.contract, {**tokens, "user": user}, "登录成功")


@router.post("/refresh")
async def refresh(request: Request, body: Refresh) -> Response:
    """In C1/C2 the new token has lost the superuser's rights, as the real one forgets to carry them over."""
    backend = backend_of(request)
    identity = backend.tokens.identity(body.refresh_token, kind="refresh")
    if identity is None:
        raise unauthorized()
    tokens = backend.tokens.issue(identity.id, identity.is_superuser and backend.contract.has_sessions)
    return success(backend.contract, {"tokens": tokens}, "令牌刷新成功")


@router.get("/me")
async def me(call: CallDep) -> Response:
    caller = call.caller
    return success(call.contract, _user(caller.id, caller.username, caller.is_superuser))


def _user(user_id: int, username: str, is_superuser: bool) -> dict[str, Any]:
    return {
        "id": user_id,
        "username": username,
        "email": f"{username}@example.org",
        "full_name": username,
        "is_active": True,
        "is_superuser": is_superuser,
    }
