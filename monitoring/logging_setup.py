"""Logging: one line per event as text or JSON, to the terminal and perhaps to a rotated file."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from queue import SimpleQueue
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
_LINES_WAITING = 10_000
_WRITTEN_WITHIN_S = 5.0
_DROPPED = "log lines dropped: %d; the terminal or LOG_FILE takes them too slowly"
_CHATTY_LOGGERS = ("httpx", "httpcore", "pydicom", "uvicorn.access", "uvicorn.error", "asyncio")
"""Loggers that write URLs with queries, or values of data elements, below WARNING."""
_UNSAFE = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))} | {
    number: f"\\u{number:04x}"
    for number in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters that begin a line, control a terminal (C0, C1), or change the direction of writing (bidi controls)."""
_UNSAFE_IN_JSON = {number: f"\\u{number:04x}" for number in _UNSAFE if number >= 0x7F}
"""JSON escapes the others itself; none of these occurs outside strings."""
_REPEATED_AFTER_S = 60.0
_MESSAGES_KNOWN = 256
_CAUSED_BY_CLIENTS = ("uvicorn.error", "asyncio")
_NO_DESCRIPTOR = "no file descriptor left: connections wait, tasks pause as out_of_descriptors"


def set_up_logging(settings: Settings) -> BatchListener:
    """Sets up the root logger, also for uvicorn and Python's warnings. Stop the listener before the process ends.

    Raises:
        ConfigurationError: LOG_FILE cannot be written.
    """
    targets: list[logging.Handler] = [TerminalHandler(sys.stderr)]
    if settings.log_file:
        targets.append(_file_handler(settings.log_file))
    formatter = json_formatter() if settings.log_format == "json" else TextFormatter(_TEXT, _TIME)
    formatter.converter = time.gmtime
    handler = BoundedQueueHandler()
    handler.setFormatter(formatter)
    listener = BatchListener(handler.queue, *targets)
    listener.start()
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging._srcfile = None  # caller, thread and process are in no line: see "Optimization" in Python's Logging HOWTO
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _CAUSED_BY_CLIENTS:
        logging.getLogger(name).addFilter(ONCE_PER_MINUTE)
    return listener


class BoundedQueueHandler(QueueHandler):
    """Queues each record as its line, and never waits. Lines beyond the limit are dropped and counted."""

    queue: SimpleQueue[str | None]

    def __init__(self, max_lines: int = _LINES_WAITING) -> None:
        super().__init__(SimpleQueue())
        self._max_lines = max_lines
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> str:
        return self.format(record)

    def enqueue(self, line: str) -> None:  # type: ignore[override]  # what :meth:`prepare` returns
        if self.queue.qsize() >= self._max_lines:
            self._dropped += 1
            return
        if self._dropped:
            gap = logging.LogRecord(__name__, logging.WARNING, __file__, 0, _DROPPED, (self._dropped,), None)
            self.queue.put(self.format(gap))
            self._dropped = 0
        self.queue.put(line)


class BatchListener(QueueListener):
    """Writes queued lines in a thread of its own. All that wait leave in one write, since a write costs a turn."""

    queue: SimpleQueue[str | None]

    def dequeue(self, block: bool) -> logging.LogRecord | None:  # type: ignore[override]  # None ends the thread
        """Waits for lines and returns them as one record; None is the sentinel."""
        lines: list[str] = []
        while not lines or (len(lines) < _LINES_AT_ONCE and self.queue.qsize()):
            line = self.queue.get()
            if line is None:
                if lines:
                    self.enqueue_sentinel()
                break
            lines.append(line)
        return logging.makeLogRecord({"msg": "\n".join(lines)}) if lines else None

    def stop(self) -> None:
        """Waits until what is queued is written, but not for ever: a terminal that hangs must not keep the process."""
        self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(_WRITTEN_WITHIN_S)


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Ignores that its terminal is gone, which must not end an import."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


class TextFormatter(logging.Formatter):
    """Writes one line per event: text from a file cannot begin another line."""

    _second = -1
    _shown = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Formats the time once for all lines of a second."""
        if self._second != int(record.created):
            self._shown = super().formatTime(record, datefmt)
            self._second = int(record.created)
        return self._shown

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if not record.message.isprintable():
            record.message = record.message.translate(_UNSAFE)
        return super().formatMessage(record)


class OncePerMinute(logging.Filter):
    """Passes each message of a library once a minute, since clients can cause any number of them.

    Defects always pass, with their traceback. A lack of descriptors is no defect, and loses its traceback.
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
    """Rotates if the file can be renamed, which Windows refuses while another program has it open.

    Otherwise it writes beyond the limit, and tries again a minute later. The older files stay as they are meanwhile.
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
        """Moves the current file aside first; the older ones move up only if that works."""
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
        """The last step of a rollover; takes the file that was moved aside."""
        super().rotate(self._aside, dest)

    def _put_back(self) -> None:
        if not os.path.exists(self.baseFilename):
            with suppress(OSError):  # then both files stay, and no line is lost
                os.rename(self._aside, self.baseFilename)


def _file_handler(path: str) -> logging.Handler:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        return RotatedFile(path, LOG_FILE_BYTES, LOG_FILES_KEPT)
    except OSError as error:
        raise ConfigurationError(f"LOG_FILE 无法写入：{path}（{error.strerror}）") from error
