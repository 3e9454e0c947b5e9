"""The crowd of the benchmarks: what it asks, what it understands, and how its figures are counted."""

from __future__ import annotations

import pytest

from benchmarks.crowd import Import, Round
from benchmarks.crowd_clients import (
    Crowd,
    Met,
    Order,
    is_whole,
    live_seq,
    request,
    status_of,
    websocket_request,
)
from benchmarks.service_tasks import Ended

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n"


def an_import(seconds: float, uploaded: int = 100, result: str = "success", met: Met | None = None) -> Import:
    return Import("small", 100, Ended({"new_images_uploaded": uploaded}, seconds, result), [0.01], 1.0, 80.0, met)


def an_answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("received", "whole"),
    [
        (b"", False),
        (HEAD[:20], False),
        (HEAD[:-1], False),
        (HEAD, False),
        (HEAD + b"1234", False),
        (HEAD + b"12345", True),
        (b"HTTP/1.1 503 x\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_an_answer_is_whole_when_its_body_has_come(received: bytes, whole: bool) -> None:
    assert is_whole(received) is whole


@pytest.mark.parametrize(
    ("answer", "seq"),
    [
        (an_answer(b'{"seq": 7, "completed_at": null}'), 7),
        (an_answer(b'{"seq": 8, "completed_at": "2026-11-28T00:00:00Z"}'), None),
        (an_answer(b'{"code": "too_many_clients"}', "503 Service Unavailable"), None),
    ],
    ids=["running", "ended", "refused"],
)
def test_only_a_task_that_runs_is_asked_for_news(answer: bytes, seq: int | None) -> None:
    assert live_seq(answer) == seq


@pytest.mark.parametrize(("answer", "status"), [(HEAD, "200"), (b"HTTP/1.1 101 x", "101"), (b"\x00", "no HTTP")])
def test_a_status_is_read(answer: bytes, status: str) -> None:
    assert status_of(answer) == status


def test_requests_are_http() -> None:
    assert request("/a", "close") == b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in websocket_request("/import/ws")


def test_an_order_survives_its_line() -> None:
    order = Order(8001, "/import/a/status", "/import/b/report", ("/p/1", "/p/2"), Crowd(idle=3))
    assert Order.from_json(order.to_json()) == order


@pytest.mark.parametrize(
    ("uploaded", "result", "missing"), [(100, "success", 0), (98, "success", 2), (100, "partial", 100)]
)
def test_what_is_missing_is_counted(uploaded: int, result: str, missing: int) -> None:
    assert an_import(10, uploaded, result).missing == missing


def test_the_ratio_is_that_of_the_rates() -> None:
    """10 s alone, 12.5 s beside a crowd that takes 5 of the 25 CPU seconds of two cores."""
    round_ = Round(an_import(10.0), an_import(12.5, met=Met(cpu_s=5.0)))
    assert round_.ratio == pytest.approx(0.8)
    assert round_.beside.crowd_share(cores=2) == pytest.approx(0.2)
    assert round_.ratio_elsewhere(cores=2) == pytest.approx(1.0)
