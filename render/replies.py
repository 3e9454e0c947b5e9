"""Checks replies: their form by the declared types, their values by what the request allows.

A wrong reply costs the process that sent it and the file of its job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from domain.patient_identity import normal_patient_id
from errors import is_file_error
from models import DicomHeader, ReadReply, ReadRequest, RenderedImage, image_path
from render.protocol import (
    RAISED,
    RAISED_BY_PROCESSES,
    Defect,
    Done,
    OutOfMemory,
    Raised,
    Ready,
    ResultMessage,
    StartFailed,
    WorkerReply,
)

_MOST_CHARACTERS = 1 << 20
_MOST_WORDS = 4096
_MOST_ENTRIES = 1000
_LARGEST = (1 << 63) - 1
"""The largest integer of SQLite."""
_LATEST_NS = 1 << 94
"""Any file system's time: 64 bits of seconds. SMB writes 1601 for none; the history stores the nearest it can."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PLACE = re.compile(r"\w{1,80} [\w.<>-]{1,80}:\d{1,7}")
_MARK = re.compile(r"(-[0-9a-f]{8}\+{0,99})?")

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, str_max_length=_MOST_CHARACTERS)
_START_MESSAGES: Mapping[bytes, TypeAdapter[Any]] = {
    b"Ready": TypeAdapter(tuple[Ready], config=_STRICT),
    b"StartFailed": TypeAdapter(tuple[StartFailed], config=_STRICT),
}
_RESULTS: Mapping[bytes, TypeAdapter[Any]] = {
    b"Done": TypeAdapter(tuple[Done, int], config=_STRICT),
    b"Raised": TypeAdapter(tuple[Raised, int], config=_STRICT),
    b"OutOfMemory": TypeAdapter(tuple[OutOfMemory, int], config=_STRICT),
    b"Defect": TypeAdapter(tuple[Defect, int], config=_STRICT),
}
_WORKER_REPLY: Mapping[bytes, TypeAdapter[Any]] = {b"WorkerReply": TypeAdapter(tuple[WorkerReply], config=_STRICT)}


class BadReplyError(Exception):
    """A reply that cannot be true; the text names the problem and quotes nothing of the content."""


def start_message(body: bytes) -> Ready | StartFailed:
    """The first message of a process. Raises BadReplyError."""
    (message,) = _decoded(body, _START_MESSAGES)
    found: Ready | StartFailed = message
    return found


def result_of(request: ReadRequest, body: bytes) -> ResultMessage:
    """The result of a process's job, its images with their paths. Raises BadReplyError."""
    outcome, number = _decoded(body, _RESULTS)
    match outcome:
        case Done():
            outcome = replace(outcome, reply=_placed(outcome.reply, request))
        case Raised() if outcome.code not in RAISED_BY_PROCESSES:
            raise BadReplyError("a fault that no job has")
        case Defect() if not _PLACE.fullmatch(outcome.place):
            raise BadReplyError("a defect without a place")
    return ResultMessage(number, outcome)


def worker_reply_to(request: ReadRequest, body: bytes) -> WorkerReply:
    """The answer of a cluster's worker, its images with their paths. Raises BadReplyError."""
    (answer,) = _decoded(body, _WORKER_REPLY)
    found: WorkerReply = answer
    if not _MARK.fullmatch(found.mark):
        raise BadReplyError("images of another name")
    if found.raised is not None and found.raised.code not in RAISED:
        raise BadReplyError("a fault that no job has")
    if found.reply is None:
        return found
    own = replace(request, output_prefix=request.output_prefix + found.mark)
    return replace(found, reply=_placed(found.reply, own))


def _placed(reply: ReadReply, request: ReadRequest) -> ReadReply:
    """The reply with the paths that its images must have. Raises BadReplyError."""
    problem = next(_problems(reply, request), None)
    if problem is not None:
        raise BadReplyError(problem)
    if request.render is None or not reply.images:
        return reply
    prefix, kind = request.output_prefix, request.render.output_format
    images = (replace(image, path=image_path(prefix, image.frame_number, kind)) for image in reply.images)
    return replace(reply, images=tuple(images))


def _decoded(body: bytes, forms: Mapping[bytes, TypeAdapter[Any]]) -> tuple[Any, ...]:
    name, _, content = body.partition(b"\n")
    form = forms.get(name)
    if form is None:
        raise BadReplyError("a message of another kind")
    try:
        found: tuple[Any, ...] = form.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadReplyError(f"not of the declared form: {first['type']}") from None
    return found


def _problems(reply: ReadReply, request: ReadRequest) -> Iterator[str]:
    if reply.ignored is None and reply.header is None and reply.failure is None:
        yield "nothing in it"
    if reply.failure is not None and not is_file_error(reply.failure.code):
        yield "an unknown failure"
    if not all(_NAME.fullmatch(name) for name in _names(reply)):
        yield "a name that is none"
    warnings = (*reply.warnings, *(reply.header.warnings if reply.header else ()))
    words = (reply.failure.detail if reply.failure else "", *(warning.message for warning in warnings))
    if len(warnings) > _MOST_ENTRIES or max(map(len, words)) > _MOST_WORDS:
        yield "too many words"
    if not (0 <= reply.size_bytes <= _LARGEST and abs(reply.mtime_ns) <= _LATEST_NS):
        yield "an impossible size or time"
    if len(reply.stage_seconds) > _MOST_ENTRIES or any(seconds < 0 for seconds in reply.stage_seconds.values()):
        yield "impossible stages"
    if reply.header is not None:
        yield from _problems_of_header(reply.header)
    if reply.images:
        yield from _problems_of_images(reply, request)


def _names(reply: ReadReply) -> Iterator[str]:
    """The texts that programs read."""
    yield from reply.stage_seconds
    yield from (warning.code for warning in reply.warnings)
    if reply.ignored is not None:
        yield reply.ignored
    if reply.header is not None:
        yield from (warning.code for warning in reply.header.warnings)


def _problems_of_header(header: DicomHeader) -> Iterator[str]:
    patient_id = header.patient.patient_id
    if patient_id is not None and patient_id != normal_patient_id(patient_id):
        yield "a patient id that is not normal"
    if not 1 <= header.image.frames <= _LARGEST:
        yield "an impossible number of frames"


def _problems_of_images(reply: ReadReply, request: ReadRequest) -> Iterator[str]:
    """A reply has the images of all requested frames, or none."""
    numbers = tuple(image.frame_number for image in reply.images)
    if request.render is None or reply.header is None or reply.failure is not None:
        yield "images that were not requested"
    elif numbers != (request.frames or tuple(range(1, len(numbers) + 1))):
        yield "images of other frames"
    elif request.frames is None and len(numbers) != reply.header.image.frames:
        yield "another number of images than of frames"
    elif not all(map(_is_possible, reply.images)):
        yield "an impossible image"


def _is_possible(image: RenderedImage) -> bool:
    return not image.path and all(0 < n <= _LARGEST for n in (image.width_px, image.height_px, image.size_bytes))
