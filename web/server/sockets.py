"""Takes the port before anything else is opened, so that a port in use is reported first."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from config import XIEHE_MODEL_PORT
from errors import ConfigurationError

_WORDS = {
    errno.EADDRINUSE: "已被占用：可能本服务已在运行，或另一个程序在用它。请停止占用者，或改用另一个 PORT",
    errno.EACCES: "不允许使用（小于 1024 的端口需要特权，Windows 也会保留某些端口）。请改用另一个 PORT",
    errno.EADDRNOTAVAIL: "不能使用：HOST 不是本机的地址。请把 HOST 改为本机的地址，例如 127.0.0.1 或 0.0.0.0",
}
_Address = tuple[socket.AddressFamily, tuple[str, int]]


@contextmanager
def listening_sockets(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets on HOST and PORT (``localhost`` has two), closed at the end. Connections wait until they are served.

    Raises:
        ConfigurationError: a socket cannot be bound.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_listen(address, host, port)) for address in _addresses(host, port)]


def _addresses(host: str, port: int) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"HOST={host} 无法解析：请填写本机的地址，例如 127.0.0.1 或 0.0.0.0") from error
    return list(dict.fromkeys((family, (str(name[0]), int(name[1]))) for family, _, _, _, name in found))


def _listen(address: _Address, host: str, port: int) -> socket.socket:
    family, name = address
    try:
        listener = socket.create_server(name, family=family)
        # Connections inherit it: an answer is two writes, and the second must not wait 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        number = _WINDOWS.get(error.errno or 0, error.errno)
        words = _WORDS.get(number or 0, f"不能使用（{error.strerror}）")
        if number == errno.EADDRINUSE and port == XIEHE_MODEL_PORT:
            words += "。XieHe 的 AP 模型服务也使用 8001 端口：若它在本机运行，请改用另一个 PORT，例如 PORT=8011"
        raise ConfigurationError(f"PORT={port}（HOST={host}）{words}") from error


_WINDOWS = {10048: errno.EADDRINUSE, 10013: errno.EACCES, 10049: errno.EADDRNOTAVAIL}
"""Winsock's numbers for the same."""
