"""The service, with signals sent to it by itself: ``signal_at.py SIGTERM name [name ...]``.

At the first call of each named function (its qualified name) in the main thread, in this order, the signal comes.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> int:
    from main import main as serve  # noqa: PLC0415 - once the path is set

    number, moments = signal.Signals[sys.argv[1]], sys.argv[2:]

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and moments and frame.f_code.co_qualname == moments[0]:
            print("signal at", moments.pop(0), file=sys.stderr, flush=True)  # noqa: T201 - what the test looks for
            os.kill(os.getpid(), number)

    sys.setprofile(look)
    return serve()


if __name__ == "__main__":
    raise SystemExit(main())
