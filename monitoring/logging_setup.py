"""Logging: one line per event, ids not names, as text or JSON, to the terminal and perhaps to a rotated file."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from logging.handlers import RotatingFileHandler
from typing import TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from config import Settings
from domain.descriptors import ran_out
from errors import ConfigurationError

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NAMES_IN_JSON = {"asctime": "time", "levelname": "level", "name": "logger"}
LOG_FILE_BYTES = 20 * 1024 * 1024
"""LOG_FILE is rotated at this size."""
LOG_FILES_KEPT = 5
_TRY_AGAIN_S = 60.0
_LINES_AT_ONCE = 1_000
_TOO_TALKATIVE = ("httpx", "httpcore", "pydicom", "uvicorn.access", "uvicorn.error", "asyncio")
"""Loggers that would write URLs with queries, or values of data elements, below WARNING."""
_UNSAFE = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))} | {
    number: f"\\u{number:04x}"
    for number in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What begins a line, steers a terminal (C0, C1), or turns the direction of writing (Unicode's bidi controls)."""
_UNSAFE_IN_JSON = {number: f"\\u{number:04x}" for number in _UNSAFE if number >= 0x7F}
"""JSON has the others escaped already; outside of strings none of these stands."""
_REPEATED_AFTER_S = 60.0
_MESSAGES_KNOWN = 256
_CAUSED_BY_STRANGERS = ("uvicorn.error", "asyncio")
_NO_DESCRIPTOR = "no file descriptor left: connections wait, tasks pause as out_of_descriptors"


def set_up_logging(settings: Settings) -> None:
    """Sets up the root logger, which uvicorn's loggers and Python's warnings go to as well.

    Raises:
        ConfigurationError: LOG_FILE cannot be written.
    """
    handlers: list[logging.Handler] = [TerminalHandler(sys.stderr)]
    if settings.log_file:
        handlers.append(_file_handler(settings.log_file))
    formatter = json_formatter() if settings.log_format == "json" else TextFormatter(_TEXT, _TIME)
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level, handlers=handlers, force=True)
    logging.captureWarnings(True)
    _leave_out_what_no_line_shows()
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _CAUSED_BY_STRANGERS:
        logging.getLogger(name).addFilter(ONCE_PER_MINUTE)


def _leave_out_what_no_line_shows() -> None:
    """Caller, thread and process of each record: a third of its cost (Python's Logging HOWTO, "Optimization")."""
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class TerminalHandler(logging.StreamHandler[TextIO]):
    """What is logged in one turn of the event loop leaves in one write at its end: a re-import tells hundreds of files
    at once, and a write costs more than the line. Other threads' lines leave at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of logging's own does
            self.handleError(record)
            return
        self._lines.append(line + self.terminator)
        if not self._is_flushed_later():
            self.flush()

    def _is_flushed_later(self) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # this thread runs none
            return False
        if len(self._lines) == 1:
            loop.call_soon(self.flush)
        return len(self._lines) < _LINES_AT_ONCE

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if not lines:
                return
            try:
                self.stream.write("".join(lines))
                self.stream.flush()
            except (OSError, ValueError):  # nobody reads any more; that must not end an import
                return


class TextFormatter(logging.Formatter):
    """One event, one line: what came out of a file cannot begin a line of its own."""

    _second = -1
    _shown = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Worked out once for all lines of a second."""
        if self._second != int(record.created):
            self._shown = super().formatTime(record, datefmt)
            self._second = int(record.created)
        return self._shown

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if not record.message.isprintable():
            record.message = record.message.translate(_UNSAFE)
        return super().formatMessage(record)


class OncePerMinute(logging.Filter):
    """Lets each message of a library through once a minute: strangers cause them, as often as they like.

    Defects pass always, with their traceback. That no descriptor is left is no defect, and needs no traceback.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._last_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not ran_out(error):
            return True
        if error is not None:
            record.msg, record.args, record.exc_info = _NO_DESCRIPTOR, (), None
        now = self._now()
        if now - self._last_s.get(str(record.msg), -_REPEATED_AFTER_S) < _REPEATED_AFTER_S:
            return False
        if len(self._last_s) >= _MESSAGES_KNOWN:
            self._last_s.clear()
        self._last_s[str(record.msg)] = now
        return True


ONCE_PER_MINUTE = OncePerMinute()


class _JsonLines(JsonFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(_UNSAFE_IN_JSON)


def json_formatter() -> logging.Formatter:
    """One JSON object per line: time, level, logger, message, and what the event was logged with (``extra=``)."""
    return _JsonLines(
        _TEXT,
        _TIME,
        rename_fields=_NAMES_IN_JSON,
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's, with codes for terminals
        json_ensure_ascii=False,
    )


class RotatedFile(RotatingFileHandler):
    """Rotates where it can. On Windows a file that another program holds open cannot be renamed.

    Then writing goes on in the same file, beyond the limit, and renaming is tried again a minute later; the older files
    stay as they are meanwhile.
    """

    def __init__(self, path: str, max_bytes: int, keep: int, try_again_s: float = _TRY_AGAIN_S) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8")
        self._try_again_s = try_again_s
        self._aside = f"{self.baseFilename}.rotating"
        self._not_before = 0.0

    def shouldRollover(self, record: logging.LogRecord) -> int:  # noqa: N802 - logging's name
        if time.monotonic() < self._not_before:
            return 0
        return super().shouldRollover(record)

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        """The current file is moved aside first: whether that works decides whether the others move up."""
        if self.stream:
            self.stream.close()
        try:
            os.replace(self.baseFilename, self._aside)
            super().doRollover()
        except OSError:
            self._not_before = time.monotonic() + self._try_again_s
            self._put_back()
            self.stream = self._open()

    def rotate(self, source: str, dest: str) -> None:
        """The last step of a rollover, with the file that was moved aside."""
        super().rotate(self._aside, dest)

    def _put_back(self) -> None:
        if not os.path.exists(self.baseFilename):
            with suppress(OSError):  # then both stay: nothing is lost
                os.rename(self._aside, self.baseFilename)


def _file_handler(path: str) -> logging.Handler:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        return RotatedFile(path, LOG_FILE_BYTES, LOG_FILES_KEPT)
    except OSError as error:
        raise ConfigurationError(f"LOG_FILE 无法写入：{path}（{error.strerror}）") from error
