"""The command line, read once into a frozen value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.contracts import Contract

DEFAULT_PART_SIZE_BYTES = 8_388_608
MIN_PASSWORD_LENGTH = 6


@dataclass(frozen=True)
class Account:
    """An account that may log in; the first one of a sandbox is the superuser."""

    id: int
    username: str
    password: str
    is_superuser: bool


@dataclass(frozen=True)
class Options:
    """How one sandbox behaves. The times are XieHe's own unless a test shortens them."""

    contract: Contract
    data_dir: Path
    token: str
    accounts: tuple[Account, ...]
    host: str = "127.0.0.1"
    port: int = 0
    lease_seconds: float = 60.0
    link_seconds: float = 900.0
    cache_seconds: float = 60.0
    token_seconds: float = 43_200.0
    latency_ms: float = 0.0
    part_size_bytes: int = DEFAULT_PART_SIZE_BYTES
    rate_limit: bool = False
    watch_stdin: bool = False


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; argparse itself answers a wrong one."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if len(parsed.password) < MIN_PASSWORD_LENGTH:
        parser.error(f"--password: XieHe takes none shorter than {MIN_PASSWORD_LENGTH} characters")
    return Options(
        contract=Contract(parsed.contract),
        data_dir=parsed.data_dir,
        token=parsed.token,
        accounts=_accounts(parsed.user, parsed.password, parsed.account),
        host=parsed.host,
        port=parsed.port,
        lease_seconds=parsed.lease_seconds,
        link_seconds=parsed.link_seconds,
        cache_seconds=parsed.cache_seconds,
        token_seconds=parsed.token_seconds,
        latency_ms=parsed.latency_ms,
        part_size_bytes=parsed.part_size_bytes,
        rate_limit=parsed.rate_limit,
        watch_stdin=parsed.watch_stdin,
    )


def _accounts(user: str, password: str, others: Sequence[str]) -> tuple[Account, ...]:
    ordinary = (entry.partition(":") for entry in others)
    return (
        Account(1, user, password, is_superuser=True),
        *(Account(number, name, secret, is_superuser=False) for number, (name, _, secret) in enumerate(ordinary, 2)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A look-alike of the XieHe backend.")
    parser.add_argument("--contract", type=int, choices=[1, 2, 3, 4], default=4, help="point of XieHe's history")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port, which the ready line shows")
    parser.add_argument("--data-dir", type=Path, required=True, help="SQLite and stored files; survives a restart")
    parser.add_argument("--token", required=True, help="accepted as the superuser's token")
    parser.add_argument("--user", required=True, help="the superuser")
    parser.add_argument("--password", required=True, help="at least 6 characters, as in XieHe")
    parser.add_argument("--account", action="append", default=[], metavar="USER:PASSWORD", help="an ordinary account")
    parser.add_argument("--lease-seconds", type=float, default=60.0, help="C4: 409 after a failed complete")
    parser.add_argument("--link-seconds", type=float, default=900.0, help="C3/C4: life of presigned URLs")
    parser.add_argument("--cache-seconds", type=float, default=60.0, help="C3/C4: life of cached lists")
    parser.add_argument("--token-seconds", type=float, default=43_200.0, help="life of an access token from a log-in")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every API and storage request")
    parser.add_argument("--part-size-bytes", type=int, default=DEFAULT_PART_SIZE_BYTES)
    parser.add_argument("--rate-limit", action="store_true", help="limit rates as the deployment's nginx does")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input closes (parent died)")
    return parser
