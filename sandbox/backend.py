"""Everything one running sandbox consists of, and what each request needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from sandbox.clock import Clock
from sandbox.contracts import Contract, Refusal
from sandbox.database import Database
from sandbox.faults import FaultBook
from sandbox.journal import Entry, Journal
from sandbox.links import LinkSigner
from sandbox.list_cache import ListCache
from sandbox.options import Options
from sandbox.rate_limit import RateLimiter
from sandbox.storage import Storage
from sandbox.tokens import Identity, Tokens


@dataclass(frozen=True)
class Backend:
    """The parts, which don't know each other."""

    options: Options
    database: Database
    storage: Storage
    tokens: Tokens
    links: LinkSigner
    lists: ListCache
    faults: FaultBook
    journal: Journal
    clock: Clock
    limiter: RateLimiter | None

    @property
    def contract(self) -> Contract:
        return self.options.contract


def open_backend(options: Options) -> Backend:
    options.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(options.data_dir / "sandbox.sqlite3")
    clock = Clock()
    return Backend(
        options=options,
        database=database,
        storage=Storage(options.data_dir, clock),
        tokens=Tokens(database, options.token, options.accounts, options.token_seconds),
        links=LinkSigner(database.secret(), options.link_seconds),
        lists=ListCache(options.cache_seconds if options.contract.has_sessions else 0.0),
        faults=FaultBook(),
        journal=Journal(),
        clock=clock,
        limiter=RateLimiter(options.contract, clock) if options.rate_limit else None,
    )


@dataclass(frozen=True)
class Call:
    """One request of a logged-in account."""

    backend: Backend
    request: Request
    caller: Identity

    @property
    def contract(self) -> Contract:
        return self.backend.contract

    @property
    def database(self) -> Database:
        return self.backend.database

    @property
    def fault(self) -> str | None:
        """A fault that the handler itself has to act out, such as `storage_fault`."""
        fault: str | None = self.request.scope.get("sandbox.fault")
        return fault

    @property
    def base_url(self) -> str:
        return f"http://{self.request.headers.get('host', '127.0.0.1')}"

    def note(self, filename: str | None = None, patient_id: str | None = None) -> None:
        """Tell the journal what this request is about."""
        entry: Entry = self.request.scope["sandbox.entry"]
        entry.filename = filename or entry.filename
        entry.patient_id = patient_id or entry.patient_id


def backend_of(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


def unauthorized() -> Refusal:
    """Missing, malformed, expired or revoked: one answer, so that a client cannot tell which."""
    return Refusal(401, "认证失败", "AUTH_FAILED")


async def authenticated(request: Request) -> Call:
    """The caller, or 401. Async, since FastAPI runs a plain function in a thread, which is slow."""
    backend = backend_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    identity = backend.tokens.identity(token.strip()) if scheme.lower() == "bearer" else None
    if identity is None:
        raise unauthorized()
    return Call(backend, request, identity)


CallDep = Annotated[Call, Depends(authenticated)]
