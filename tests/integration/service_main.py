"""``python main.py`` with other client options: no setting changes the client's waits, and tests need short ones.

The first argument is JSON: fields of ``RetryPolicy``, and ``read_timeout_s``.
"""

from __future__ import annotations

import json
import runpy
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def use_client_options(changes: dict[str, Any]) -> None:
    """From now on, each XieHe client of this process is opened with these changes of its options."""
    from api_client import ClientOptions, XieHeClient  # noqa: PLC0415 - found only if REPOSITORY is in sys.path

    open_client = XieHeClient.open
    retry = {name: value for name, value in changes.items() if name != "read_timeout_s"}
    timeout_s = changes.get("read_timeout_s")

    def open_changed(options: ClientOptions) -> AbstractAsyncContextManager[XieHeClient]:
        read_timeout_s = options.read_timeout_s if timeout_s is None else timeout_s
        return open_client(replace(options, retry=replace(options.retry, **retry), read_timeout_s=read_timeout_s))

    XieHeClient.open = open_changed  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY)
    use_client_options(json.loads(sys.argv.pop(1)))
    runpy.run_path(str(REPOSITORY / "main.py"), run_name="__main__")
