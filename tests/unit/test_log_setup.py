"""Log lines: one event, one line, in text and in JSON; rotation that loses nothing where a file cannot be renamed."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitoring.logging_setup import (
    BatchListener,
    BoundedQueueHandler,
    OncePerMinute,
    RotatedFile,
    TerminalHandler,
    TextFormatter,
    json_formatter,
)
from tests.waiting import PATIENCE_S, until


def a_record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("importing.files.outcome_log", logging.INFO, __file__, 1, message, args, None)
    record.__dict__.update(extra)
    return record


@pytest.mark.parametrize(
    "breaker", ["\n", "\r\n", "\u2028", "\x85", "\x1b[2J", "\x9b2J", "\x9d0;x\x9c", "\u202e", "\u2066", "\u200f"]
)
def test_what_a_file_says_cannot_forge_a_line_of_the_text_log(breaker: str) -> None:
    line = TextFormatter("%(message)s").format(a_record("sop=%s", f"1.2{breaker}2026-01-01 ERROR forged"))

    assert line.splitlines() == [line]
    assert "\x1b" not in line
    assert line.isprintable()


@pytest.mark.parametrize("steering", ["\x7f", "\x80", "\x85", "\x9b31m", "\x9f", "\u2028", "\u202e", "\u2069"])
def test_what_a_file_says_cannot_steer_a_terminal_that_shows_the_json_log(steering: str) -> None:
    line = json_formatter().format(a_record("sop=%s", f"影像{steering}1"))

    assert line.isprintable()
    assert json.loads(line)["message"] == f"sop=影像{steering}1"


def test_what_strangers_cause_is_told_once_a_minute_and_defects_always() -> None:
    now = [1000.0]
    log = OncePerMinute(lambda: now[0])

    def passes(message: str, error: BaseException | None = None) -> bool:
        record = a_record(message)
        record.exc_info = (type(error), error, None) if error else None
        return log.filter(record)

    assert [passes("Invalid HTTP request received.") for _ in range(3)] == [True, False, False]
    assert passes("Exceeded concurrency limit.")
    now[0] += 59.9
    assert not passes("Invalid HTTP request received.")
    now[0] += 0.2
    assert passes("Invalid HTTP request received.")
    assert [passes("Exception in ASGI application\n", ValueError()) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_no_descriptor_is_one_line_a_minute_without_a_traceback(number: int) -> None:
    log = OncePerMinute(lambda: 1000.0)
    error = OSError(number, os.strerror(number))
    records = [a_record(f"socket.accept() out of system resource\nsocket: {each}") for each in range(1000)]
    for record in records:
        record.exc_info = (OSError, error, None)

    told = [record for record in records if log.filter(record)]

    assert len(told) == 1
    lines = TextFormatter("%(message)s").format(told[0]).splitlines()
    assert len(lines) == 1
    assert "out_of_descriptors" in lines[0]


def test_a_traceback_stays_readable_in_the_text_log() -> None:
    record = a_record("it broke")
    try:
        raise ValueError("for the test")
    except ValueError:
        record.exc_info = sys.exc_info()

    lines = TextFormatter("%(message)s").format(record).splitlines()

    assert lines[0] == "it broke"
    assert lines[-1] == "ValueError: for the test"


def test_a_json_line_holds_the_event_and_its_fields() -> None:
    formatter = json_formatter()
    formatter.converter = time.gmtime
    record = a_record("task=%s 完成\n下一行", "t1", task="t1", seconds=0.25, color_message="\x1b[31mno\x1b[0m")
    record.created = 0.0

    line = formatter.format(record)

    assert line.splitlines() == [line]
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00Z",
        "level": "INFO",
        "logger": "importing.files.outcome_log",
        "message": "task=t1 完成\n下一行",
        "task": "t1",
        "seconds": 0.25,
    }


def write_lines(log: RotatedFile, *numbers: int) -> None:
    for number in numbers:
        log.emit(a_record("line %03d", number))


def lines_of(folder: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().split("\n")[:-1] for path in sorted(folder.iterdir()) if path.is_file()}


def test_the_newest_files_are_kept_and_older_ones_go(tmp_path: Path) -> None:
    log = RotatedFile(str(tmp_path / "a.log"), max_bytes=20, keep=2)
    write_lines(log, *range(10))
    log.close()

    kept = lines_of(tmp_path)

    assert list(kept) == ["a.log", "a.log.1", "a.log.2"]
    assert kept["a.log.2"] + kept["a.log.1"] + kept["a.log"] == [f"line {number:03}" for number in range(10)][-6:]


def block(path: Path) -> Path:
    """A folder where a file has to go: as on Windows with a file that is open elsewhere, renaming fails."""
    path.mkdir()
    (path / "occupied").touch()
    return path


@pytest.mark.parametrize("blocked", ["a.log.rotating", "a.log.3"])
def test_where_a_file_cannot_be_renamed_writing_goes_on_and_nothing_is_lost(tmp_path: Path, blocked: str) -> None:
    log = RotatedFile(str(tmp_path / "a.log"), max_bytes=20, keep=3)
    write_lines(log, *range(6))
    before = {name: lines for name, lines in lines_of(tmp_path).items() if name != "a.log"}
    block(tmp_path / blocked)

    write_lines(log, *range(6, 14))
    log.close()

    after = lines_of(tmp_path)
    assert after.pop("a.log") == [f"line {number:03}" for number in range(4, 14)]
    assert after == before


def test_rotation_goes_on_once_the_file_is_free_again(tmp_path: Path) -> None:
    log = RotatedFile(str(tmp_path / "a.log"), max_bytes=20, keep=9, try_again_s=0.0)
    held = block(tmp_path / "a.log.rotating")
    write_lines(log, *range(4))
    (held / "occupied").unlink()
    held.rmdir()

    write_lines(log, 4, 5)
    log.close()

    kept = lines_of(tmp_path)
    assert kept["a.log.1"] == [f"line {number:03}" for number in range(4)]
    assert kept["a.log"] == ["line 004", "line 005"]


class Terminal(io.StringIO):
    """Remembers each write; takes none while it hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.takes = threading.Event()
        self.takes.set()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        assert self.takes.wait(PATIENCE_S)
        self.writes.append(text)
        return super().write(text)


@contextmanager
def logging_to(terminal: Terminal, max_lines: int = 10_000) -> Iterator[BoundedQueueHandler]:
    handler = BoundedQueueHandler(max_lines)
    handler.setFormatter(TextFormatter("%(message)s"))
    listener = BatchListener(handler.queue, TerminalHandler(terminal))
    listener.start()
    try:
        yield handler
    finally:
        terminal.takes.set()
        listener.stop()


def test_what_is_queued_at_the_end_is_written_in_order() -> None:
    terminal = Terminal()
    with logging_to(terminal) as log:
        for number in range(5_000):
            log.handle(a_record("%d", number))
    assert terminal.getvalue().splitlines() == [str(number) for number in range(5_000)]


def test_a_terminal_that_hangs_holds_nothing_up_and_what_waits_leaves_in_one_write() -> None:
    terminal = Terminal()
    terminal.takes.clear()
    with logging_to(terminal) as log:
        log.handle(a_record("first"))
        assert terminal.asked.wait(PATIENCE_S)
        for number in range(3):
            log.handle(a_record("%d", number))
        assert terminal.writes == []
    assert terminal.writes == ["first\n", "0\n1\n2\n"]


def test_lines_beyond_the_limit_are_dropped_and_counted() -> None:
    terminal = Terminal()
    terminal.takes.clear()
    with logging_to(terminal, max_lines=2) as log:
        log.handle(a_record("first"))
        assert terminal.asked.wait(PATIENCE_S)
        for number in range(5):
            log.handle(a_record("%d", number))
        assert log.queue.qsize() == 2
        terminal.takes.set()
        until(lambda: not log.queue.qsize())
        log.handle(a_record("later"))
    assert terminal.getvalue().splitlines() == [
        *("first", "0", "1"),
        "log lines dropped: 3; the terminal or LOG_FILE takes them too slowly",
        "later",
    ]


def test_a_terminal_that_hangs_for_good_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.logging_setup._WRITTEN_WITHIN_S", 0.01)
    terminal = Terminal()
    terminal.takes.clear()
    log = BoundedQueueHandler()
    listener = BatchListener(log.queue, TerminalHandler(terminal))
    listener.start()
    log.handle(a_record("first"))
    assert terminal.asked.wait(PATIENCE_S)
    listener.stop()
    assert terminal.writes == []
    terminal.takes.set()


def test_a_traceback_reaches_the_terminal_whole() -> None:
    terminal = Terminal()
    record = a_record("it broke")
    record.exc_info = (ValueError, ValueError("for the test"), None)
    with logging_to(terminal) as log:
        log.handle(record)
    assert terminal.getvalue().splitlines() == ["it broke", "ValueError: for the test"]


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    terminal = Terminal()
    terminal.close()
    TerminalHandler(terminal).handle(a_record("lost"))


def test_a_line_that_cannot_be_formatted_does_not_end_its_caller(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with logging_to(terminal) as log:
        log.handle(a_record("%d", "no number"))
        log.handle(a_record("next"))
    assert terminal.getvalue() == "next\n"
    assert "no number" in capsys.readouterr().err
