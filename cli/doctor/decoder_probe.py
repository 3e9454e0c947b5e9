"""Run as a process of its own, since a broken decoder may crash it: prints the decoders, or what is wrong with one."""

from __future__ import annotations

import json
import sys

from dicom_processor import check_decoders
from errors import ConfigurationError


def main() -> int:
    """0 where all are sound."""
    try:
        answer = {"decoders": check_decoders()}
    except ConfigurationError as error:
        answer = {"problem": (error.detail,)}
    sys.stdout.write(json.dumps(answer))
    return 0 if "decoders" in answer else 1


if __name__ == "__main__":
    raise SystemExit(main())
