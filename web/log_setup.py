"""Logging: one line per event, ids not names, to the terminal and perhaps to a rotated file."""

from __future__ import annotations

import logging
import os
import sys
import time
from logging.handlers import RotatingFileHandler

from config import Settings
from errors import ConfigurationError

_FORMAT = "%(asctime)sZ %(levelname)s %(name)s %(message)s"
_FILE_BYTES = 20 * 1024 * 1024
_FILES_KEPT = 5
_TOO_TALKATIVE = ("httpx", "httpcore", "pydicom", "uvicorn.access", "asyncio")
"""Loggers that would write URLs with queries, or values of data elements, below WARNING."""


def set_up_logging(settings: Settings) -> None:
    """Sets up the root logger.

    Raises:
        ConfigurationError: LOG_FILE cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_file:
        handlers.append(_file_handler(settings.log_file))
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level, handlers=handlers, force=True)
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _file_handler(path: str) -> logging.Handler:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        return RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"LOG_FILE 无法写入：{path}（{error.strerror}）") from error
