"""Jobs of a render process that a hostile file has taken over, for test_hostile_worker; the file's name says how."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicom_processor import read_file
from errors import ConfigurationError, DiskFullError, HostError, OutputUnusableError
from models import Failure, FileWarning, ImageHeader, OutcomeKind, ReadReply, ReadRequest, RenderedImage
from render.protocol import LENGTH, Done, ResultMessage, encoded

SECRET = "secret.txt"
"""Beside the service's folders."""


def read(request: ReadRequest) -> ReadReply:
    """As the service's own job, but for files named ``evil-<deed>.dcm``."""
    name = os.path.basename(request.path)
    if not name.startswith("evil-"):
        return read_file(request)
    found: ReadReply = _DEEDS[name.removeprefix("evil-").removesuffix(".dcm")](request, read_file(request))
    return found


def _secret(request: ReadRequest) -> str:
    return str(Path(request.output_prefix).parents[2] / SECRET)


# --- replies of values that cannot be --------------------------------------------------------------------------------


def _with_image(reply: ReadReply, **changes: Any) -> ReadReply:
    return replace(reply, images=tuple(replace(image, **changes) for image in reply.images))


def _with_header(reply: ReadReply, **changes: Any) -> ReadReply:
    assert reply.header is not None
    image: ImageHeader = replace(reply.header.image, **changes)
    return replace(reply, header=replace(reply.header, image=image))


def _with_patient(reply: ReadReply, **changes: Any) -> ReadReply:
    assert reply.header is not None
    return replace(reply, header=replace(reply.header, patient=replace(reply.header.patient, **changes)))


def _twice(images: tuple[RenderedImage, ...]) -> tuple[RenderedImage, ...]:
    return (*images, *images)


# --- things at the place of the image --------------------------------------------------------------------------------


def _planted(request: ReadRequest, reply: ReadReply, plant: Callable[[str], None]) -> ReadReply:
    if request.render is not None:
        path = f"{request.output_prefix}-0001.jpg"
        os.unlink(path)
        plant(path)
    return reply


def _link_to_neighbour(path: str) -> None:
    """A link to an image that another process has made, or will."""
    neighbour = Path(path).with_name("0" * 32 + "-0001.jpg")
    neighbour.write_bytes(b"image of another patient")
    os.symlink(neighbour, path)


# --- bytes of its own choice -----------------------------------------------------------------------------------------


class _TurnedMember:
    """Whose unpickling makes a failure of the parent an upload."""

    def __reduce__(self) -> tuple[type[OutcomeKind], tuple[str], dict[str, str]]:
        return OutcomeKind, ("failed",), {"_value_": "uploaded"}


class _Command:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self._path,)


def _pickled(value: object) -> bytes:
    reply = ReadReply(ignored="not_dicom", content_sha256=value)  # type: ignore[arg-type]
    return pickle.dumps(ResultMessage(_number(), Done(reply)))


def _say(body: bytes, *, length: int | None = None) -> None:
    """Writes on the pipe of the replies, and waits to be killed."""
    pipe = next(fd for fd in range(3, 64) if _is_writable_pipe(fd))
    rest = memoryview(LENGTH.pack(len(body) if length is None else length) + body)
    while rest:
        rest = rest[os.write(pipe, rest) :]
    signal.pause()


def _is_writable_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False


def _number() -> int:
    """Of the job that this process is at."""
    frame: Any = sys._getframe()
    while "message" not in frame.f_locals:
        frame = frame.f_back
    number: int = frame.f_locals["message"].number
    return number


def _json(text: str) -> bytes:
    return text.replace("NUMBER", str(_number())).encode()


def _named(request: ReadRequest, reply: ReadReply) -> bytes:
    """The reply in its right form, but with a path."""
    body = encoded(Done(reply), _number()).decode()
    return body.replace('"storage_etag"', f'"path":{json.dumps(_secret(request))},"storage_etag"').encode()


def _raise(error: Exception) -> ReadReply:
    raise error


_DEEDS: dict[str, Callable[[ReadRequest, ReadReply], Any]] = {
    "path": lambda request, reply: _with_image(reply, path=_secret(request)),
    "type": lambda _, reply: replace(reply, size_bytes="5"),  # type: ignore[arg-type]
    "enum": lambda _, reply: _with_patient(reply, sex="MALE\n"),
    "huge": lambda _, reply: replace(reply, mtime_ns=10**400),
    "negative": lambda _, reply: _with_image(reply, size_bytes=-1),
    "nan": lambda _, reply: replace(reply, stage_seconds={"parse": float("nan")}),
    "surrogate": lambda _, reply: _with_header(reply, sop_instance_uid="1.2.\udc80"),
    "long": lambda _, reply: _with_header(reply, modality="x" * 4_000_000),
    "padded-id": lambda _, reply: _with_patient(reply, patient_id=" P001 "),
    "nothing": lambda _request, _reply: ReadReply(),
    "code": lambda _request, _reply: ReadReply(failure=Failure("no_such_code", "x")),
    "name": lambda _, reply: replace(reply, warnings=(FileWarning("a\nb", "x"),)),
    "frames": lambda _, reply: _with_header(reply, frames=3),
    "frame": lambda _, reply: _with_image(reply, frame_number=2),
    "twice": lambda _, reply: replace(reply, images=_twice(reply.images)),
    "no-image": lambda _, reply: replace(reply, images=()),
    "size": lambda _, reply: _with_image(reply, size_bytes=12),
    "full": lambda _request, _reply: _raise(DiskFullError("full")),
    "output": lambda _request, _reply: _raise(OutputUnusableError("unusable")),
    "host": lambda _request, _reply: _raise(HostError("host")),
    "rules": lambda _request, _reply: _raise(ConfigurationError("rules")),
    "link": lambda request, reply: _planted(request, reply, lambda path: os.symlink(_secret(request), path)),
    "pipe": lambda request, reply: _planted(request, reply, os.mkfifo),
    "folder": lambda request, reply: _planted(request, reply, os.mkdir),
    "neighbour": lambda request, reply: _planted(request, reply, _link_to_neighbour),
    "missing": lambda request, reply: _planted(request, reply, lambda _path: None),
    "pickled-member": lambda _request, _reply: _say(_pickled(_TurnedMember())),
    "pickled-command": lambda request, _reply: _say(_pickled(_Command(f"{_secret(request)}.made"))),
    "named": lambda request, reply: _say(_named(request, reply)),
    "garbage": lambda _request, _reply: _say(b"\x80\x05garbage\n[]"),
    "empty": lambda _request, _reply: _say(b""),
    "endless": lambda _request, _reply: _say(b"", length=2**32 - 1),
    "nested": lambda _request, _reply: _say(b"Done\n" + b"[" * 1_000_000),
    "other-kind": lambda _request, _reply: _say(_json('Ready\n[{"confinement":"confined"}]')),
    "other-number": lambda _request, _reply: _say(_json('Defect\n[{"place":"A b.py:1"},7777]')),
    "line-in-place": lambda _request, _reply: _say(_json('Defect\n[{"place":"A b.py:1\\nC d.py:1"},NUMBER]')),
    "stop": lambda _request, _reply: _say(_json('Raised\n[{"code":"service_stopping","detail":""},NUMBER]')),
}
DEEDS = tuple(_DEEDS)
