"""Run as a process of its own, since a broken decoder may crash it: prints the decoders, or what is wrong with one."""

from __future__ import annotations

import json

from dicom_processor import check_decoders
from errors import ConfigurationError

if __name__ == "__main__":
    try:
        answer: dict[str, object] = {"decoders": check_decoders()}
    except ConfigurationError as error:
        answer = {"problem": error.detail}
    print(json.dumps(answer))  # noqa: T201 - the parent reads it
