"""What the service believes of a render process's reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dicom_processor import read_file
from models import (
    DicomHeader,
    Failure,
    FileWarning,
    ImageHeader,
    PatientHeader,
    ReadReply,
    ReadRequest,
    RenderedImage,
    RenderOptions,
    Sex,
    WindowSource,
    WindowUsed,
)
from render import ConfinementState
from render.protocol import (
    LENGTH,
    Defect,
    Done,
    OutOfMemory,
    Raised,
    Ready,
    ResultMessage,
    StartFailed,
    WorkerReply,
    encoded,
    framed_reply,
)
from render.replies import BadReplyError, result_of, start_message, worker_reply_to
from tests.dicom_files import a_dicom_file

REQUEST = ReadRequest("/in/a.dcm", named_dicom=True, output_prefix="/out/.partial/0f", render=RenderOptions())
IMAGE = RenderedImage(1, 512, 256, 40_000, WindowUsed(40.0, 400.5, WindowSource.FILE), storage_etag="ab-1")
HEADER = DicomHeader(
    PatientHeader("P1", "王小东", Sex.MALE, date(2000, 2, 29), "declared"),
    ImageHeader("1.2.3", "1.2.840.10008.1.2.1", "DX", 1, "正位X光片", "ap"),
    (FileWarning("a_warning", '"quoted"\n\x00 \\ 😀'),),
)
REPLY = ReadReply(
    header=HEADER,
    images=(IMAGE,),
    size_bytes=2**40,
    mtime_ns=-5,
    content_sha256="00" * 32,
    stage_seconds={"parse": 0.25, "decode": 1e-9, "encode": 1.0},
)


def received(outcome: Any, request: ReadRequest = REQUEST) -> ResultMessage:
    """What comes of an answer that crosses the pipe."""
    body = framed_reply(ResultMessage(7, outcome))
    assert LENGTH.unpack_from(body) == (len(body) - LENGTH.size,)
    return result_of(request, body[LENGTH.size :])


def test_a_reply_arrives_as_it_was_with_the_paths_that_the_request_says() -> None:
    answer = received(Done(REPLY, spent=True))
    placed = replace(REPLY, images=(replace(IMAGE, path="/out/.partial/0f-0001.jpg"),))
    assert answer == ResultMessage(7, Done(placed, spent=True))


@pytest.mark.parametrize("seconds", [-11_644_473_600, 13_569_465_600, -(2**63), 2**63 - 1])
def test_a_file_may_have_any_time_that_a_file_system_stores(seconds: int) -> None:
    """The years 1601 (no time, on SMB) and 2400, and the ends of a 64-bit ``time_t``."""
    reply = replace(REPLY, images=(), mtime_ns=seconds * 10**9)
    assert received(Done(reply)).outcome == Done(reply)


def test_no_path_is_sent() -> None:
    reply = replace(REPLY, images=(replace(IMAGE, path="/out/.partial/0f-0001.jpg"),))
    assert b"partial" not in encoded(Done(reply))


@pytest.mark.parametrize(
    "outcome",
    [
        Done(ReadReply(ignored="not_dicom")),
        Done(ReadReply(failure=Failure("pixel_decode_failed", "像素损坏"))),
        Done(replace(REPLY, images=(), failure=Failure("render_out_of_memory", "x"))),
        Raised("disk_full", "磁盘已满"),
        OutOfMemory(),
        Defect("TypeError render_jobs.py:12"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_outcomes_arrive_as_they_were(outcome: Any) -> None:
    assert received(outcome).outcome == outcome


@pytest.mark.parametrize("word", [*map(Ready, ConfinementState), StartFailed("ImportError: 无")])
def test_first_words_arrive_as_they_were(word: Ready | StartFailed) -> None:
    assert start_message(framed_reply(word)[LENGTH.size :]) == word


@pytest.mark.parametrize(("frames", "numbers"), [(None, (1, 2, 3)), ((2,), (2,)), ((3, 1), (3, 1))])
def test_images_are_those_of_the_frames_that_were_asked_for(
    frames: tuple[int, ...] | None, numbers: tuple[int, ...]
) -> None:
    header = replace(HEADER, image=replace(HEADER.image, frames=3))
    reply = replace(REPLY, header=header, images=tuple(replace(IMAGE, frame_number=number) for number in numbers))
    request = replace(REQUEST, frames=frames, render=RenderOptions(output_format="png"))
    found = received(Done(reply), request).outcome
    assert isinstance(found, Done)
    assert [image.path for image in found.reply.images] == [f"/out/.partial/0f-{n:04d}.png" for n in numbers]


def test_what_this_service_reads_of_a_file_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(a_dicom_file(frames=3))
    request = replace(REQUEST, path=str(path), output_prefix=str(tmp_path / "x"))
    assert received(Done(read := read_file(request)), request).outcome == Done(read)
    assert len(read.images) == 3


# --- what is not believed --------------------------------------------------------------------------------------------


def with_json(change: Callable[[Any], object]) -> bytes:
    """REPLY's message after a change of its JSON array."""
    kind, _, text = encoded(Done(REPLY), 7).partition(b"\n")
    message = json.loads(text)
    change(message)
    return kind + b"\n" + json.dumps(message).encode()


def at(*path: Any, value: object) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for step in path[:-1]:
            message = message[step]
        message[path[-1]] = value

    return change


REPLY_AT = (0, "reply")
IMAGE_AT = (*REPLY_AT, "images", 0)
HEADER_AT = (*REPLY_AT, "header")


@pytest.mark.parametrize(
    "change",
    [
        at(*IMAGE_AT, "path", value="/etc/passwd"),
        at(*IMAGE_AT, "path", value="../../data/history.db"),
        at(*IMAGE_AT, "frame_number", value=0),
        at(*IMAGE_AT, "frame_number", value=2),
        at(*IMAGE_AT, "frame_number", value="1"),
        at(*IMAGE_AT, "frame_number", value=1.0),
        at(*IMAGE_AT, "frame_number", value=True),
        at(*IMAGE_AT, "width_px", value=0),
        at(*IMAGE_AT, "height_px", value=-1),
        at(*IMAGE_AT, "size_bytes", value=2**63),
        at(*IMAGE_AT, "constant", value=1),
        at(*IMAGE_AT, "window", "source", value="nowhere"),
        at(*IMAGE_AT, "window", "center", value=float("nan")),
        at(*IMAGE_AT, "window", "width", value=float("inf")),
        at(*IMAGE_AT, "unknown", value=1),
        at(*REPLY_AT, "images", value={"0": 1}),
        at(*REPLY_AT, "size_bytes", value=-1),
        at(*REPLY_AT, "size_bytes", value=10**400),
        at(*REPLY_AT, "mtime_ns", value=2**95),
        at(*REPLY_AT, "stage_seconds", value={"parse": float("nan")}),
        at(*REPLY_AT, "stage_seconds", value={"parse": -1.0}),
        at(*REPLY_AT, "stage_seconds", value={"=cmd()": 1.0}),
        at(*REPLY_AT, "stage_seconds", value={f"a{n}": 1.0 for n in range(2000)}),
        at(*REPLY_AT, "warnings", value=[{"code": "Not A Code", "message": "x"}]),
        at(*REPLY_AT, "warnings", value=[{"code": "a", "message": "x" * 5000}]),
        at(*REPLY_AT, "warnings", value=[{"code": "a", "message": "x"}] * 1001),
        at(*REPLY_AT, "ignored", value="x\n"),
        at(*REPLY_AT, "failure", value={"code": "no_such_code", "detail": "x", "held": False}),
        at(*REPLY_AT, "failure", value={"code": "not_dicom", "detail": "x", "held": False}),
        at(*REPLY_AT, "content_sha256", value="x" * (2**20 + 1)),
        at(*HEADER_AT, value=None),
        at(*HEADER_AT, "patient", "patient_id", value=" P1"),
        at(*HEADER_AT, "patient", "patient_id", value="e\u0301"),
        at(*HEADER_AT, "patient", "sex", value="male"),
        at(*HEADER_AT, "patient", "name", value="\udcff"),
        at(*HEADER_AT, "patient", "birth_date", value="2000-02-30"),
        at(*HEADER_AT, "patient", "birth_date", value=0),
        at(*HEADER_AT, "image", "frames", value=0),
        at(*HEADER_AT, "image", "frames", value=2),
        at(1, value="7"),
        at(1, value=7.5),
        lambda message: message.append(1),
        lambda message: message.pop(),
        lambda message: message[0].pop("reply"),
    ],
)
def test_a_reply_that_cannot_be_is_refused(change: Callable[[Any], object]) -> None:
    with pytest.raises(BadReplyError):
        result_of(REQUEST, with_json(change))


def test_a_reply_that_no_change_was_made_to_is_believed() -> None:
    assert result_of(REQUEST, with_json(at(1, value=8))).number == 8


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\n", b"Done", b"Done\n", b"Done\n{}", b"Done\nnull", b"done\n[]", b"Ready\n[]"),
        *(b"Done\n" + b"[" * 100_000, b'Done\n[{"reply":{}},7]', b"\x80\x05N.", b"Done\n\xff"),
        b'Raised\n[{"code":"service_stopping","detail":""},7]',
        b'Raised\n[{"code":"host_error","detail":""},7]',
        b'Defect\n[{"place":"A b.py:1\\nERROR forged"},7]',
        b'OutOfMemory\n[{"x":1},7]',
    ],
)
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(BadReplyError):
        result_of(REQUEST, body)


@pytest.mark.parametrize(
    ("reply", "request_"),
    [
        (REPLY, replace(REQUEST, render=None)),
        (REPLY, replace(REQUEST, frames=(2,))),
        (replace(REPLY, images=(IMAGE, IMAGE)), REQUEST),
        (ReadReply(), REQUEST),
    ],
    ids=["unasked", "another-frame", "twice", "nothing"],
)
def test_a_reply_to_another_question_is_refused(reply: ReadReply, request_: ReadRequest) -> None:
    with pytest.raises(BadReplyError):
        received(Done(reply), request_)


# --- of a cluster's worker -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "-0123abcd", "-0123abcd+"])
def test_a_worker_says_what_it_has_added_to_the_name(mark: str) -> None:
    found = worker_reply_to(REQUEST, encoded(WorkerReply(REPLY, mark=mark)))
    assert found.reply is not None
    assert [image.path for image in found.reply.images] == [f"/out/.partial/0f{mark}-0001.jpg"]


@pytest.mark.parametrize("mark", ["/../x", "-0123abcd/", "-0123ABCD", "-0123abcd-0002.jpg", "\n"])
def test_a_worker_that_adds_anything_else_is_refused(mark: str) -> None:
    with pytest.raises(BadReplyError):
        worker_reply_to(REQUEST, encoded(WorkerReply(REPLY, mark=mark)))
