"""A real nginx in front of the service; nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.integration.service_process import free_port
from tests.waiting import until

_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /nginx-is-up {{ return 204; }}
{locations}
    }}
}}
"""
PASSED_ON = """
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_buffering off;
            proxy_read_timeout 75s;
"""
"""What docs/operations.md says in its example, but for the prefix."""


class NginxMissingError(Exception):
    """No nginx on this machine; the message says how to get one."""


def nginx_path() -> str:
    """NGINX from the environment, or ``nginx`` where servers lie.

    Raises:
        NginxMissingError: there is none.
    """
    found = os.environ.get("NGINX") or shutil.which("nginx", path=_PLACES)
    if found is None:
        raise NginxMissingError(
            "the sub-path's tests need nginx: run `make browser` (as root on Debian or Ubuntu), "
            "install it otherwise, or set NGINX=/path/to/nginx"
        )
    return found


@contextmanager
def running_nginx(folder: Path, locations: str) -> Iterator[str]:
    """Its address, ``http://127.0.0.1:port``; ``locations`` are blocks of nginx's language."""
    folder.mkdir(parents=True)
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, locations=locations), "utf-8")
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            [nginx_path(), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _is_up(url, process, folder))
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _is_up(url: str, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "output.log").read_text("utf-8", "replace")
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/nginx-is-up", trust_env=False).status_code == 204
    return False
