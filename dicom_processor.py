"""DICOM file or plain picture → header values → images on disk.

Synchronous. Knows no settings, no HTTP and no asyncio.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BufferedReader, FileIO

import pydicom.config
from pydicom.dataset import Dataset

from dicom.decoding.decoder_check import check_decoders
from dicom.exam.exam_type import decide_exam_type
from dicom.header.attributes import has_burned_in_text, is_for_processing, number_of_frames, window_is_unreadable
from dicom.header.parsing import ParsedFile, parse
from dicom.header.text import read_patient
from dicom.header.values import bounded, text
from dicom.plain.images import HEAD_BYTES, open_picture, plain_kind
from dicom.rendering.frame_rendering import RenderedFrame, StageClock, render_frames
from dicom.rendering.image_files import remove_quietly
from dicom.rendering.image_making import write_images
from domain.descriptors import check_descriptors
from domain.patient_identity import same_patient_id
from domain.regular_files import OutsideError, only_within
from errors import (
    EmptyFileError,
    FileError,
    FileTooLargeError,
    MissingAttributeError,
    MovedOutsideRootsError,
    NotAnImageError,
    NotDicomError,
    RenderOutOfMemoryError,
    UnreadableFileError,
    UnstableFileError,
)
from models import (
    DicomHeader,
    Failure,
    FileWarning,
    ImageHeader,
    PatientHeader,
    ReadReply,
    ReadRequest,
    RenderOptions,
    Sex,
)

__all__ = ["check_decoders", "read_file"]

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_NOT_DICOM = "not_dicom"
_BUFFER_BYTES = 1 << 16
_VANISHED = "文件在读取前已消失，将在任务末尾重试"
_OUTSIDE = "读取时该路径已指向允许的根目录之外（或 OUTPUT_DIR、DATA_DIR 之内），没有读取"
_IRREGULAR = "不是普通文件（管道、设备或套接字），不会读取"
_NOT_REGULAR = (errno.EINVAL, errno.ENXIO)  # only_within refuses all but regular files; a socket refuses open(2)
_SILENT = logging.CRITICAL + 1
_MAX_TEXT_CHARACTERS = 1000
_MAX_FRAMES = (1 << 63) - 1

_Frames = Callable[[RenderOptions, tuple[int, ...] | None, StageClock], Iterator[RenderedFrame]]


def read_file(request: ReadRequest) -> ReadReply:
    """Reads one file and, if requested, writes its images, in one parse.

    A file's failure is a value in the reply. Each image in the reply is complete on disk. If rendering fails, no image
    of this file stays on disk.

    Raises:
        HostError: this machine cannot continue, e.g. DiskFullError. The images written so far stay, so that the disk
            stays as full as it was found; the caller removes them.
    """
    clock, reply = StageClock(), ReadReply()
    with _silent_libraries():
        try:
            for reply in _replies(request, clock):  # noqa: B007 - the last one counts, also after an error
                pass
        except FileError as error:
            reply = _failed(request, reply, error)
        except MemoryError:
            reply = _failed(request, reply, RenderOutOfMemoryError("渲染所需内存超过 RENDER_MEMORY_MB，已放弃该文件"))
    return replace(reply, stage_seconds=dict(clock.seconds))


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Silences pydicom: its warnings and log lines quote values, hence patients."""
    logger = logging.getLogger("pydicom")
    if logger.level != _SILENT:  # setting it anew empties the caches of all loggers
        logger.setLevel(_SILENT)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _failed(request: ReadRequest, reply: ReadReply, error: FileError) -> ReadReply:
    """The reply of a file that failed; its images are removed.

    A file that is neither DICOM nor a picture is ignored, unless its name promises one of them.
    """
    for image in reply.images:
        remove_quietly(image.path)
    reply = replace(reply, images=())
    if isinstance(error, NotDicomError | EmptyFileError) and not (request.named_dicom or request.plain_image):
        return replace(reply, ignored=_NOT_DICOM)
    if isinstance(error, NotDicomError) and not request.named_dicom:
        error = NotAnImageError("文件名像图片，但内容不是 PNG、JPEG、TIFF、BMP，也不是 DICOM")
    return replace(reply, failure=Failure(error.code, _cut(error.detail)))


def _cut(words: str) -> str:
    """A message, which may quote a header value of any length, cut to a sane one."""
    return words if len(words) <= _MAX_TEXT_CHARACTERS else f"{words[:_MAX_TEXT_CHARACTERS]}…"


def _shortened(warnings: Iterable[FileWarning]) -> tuple[FileWarning, ...]:
    return tuple(replace(warning, message=_cut(warning.message)) for warning in warnings)


# --- the steps -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Content:
    """A parsed file.

    Attributes:
        ignored: why the file is not imported; ``header`` and ``frames`` are None then.
        sha256: of the file's bytes, only if they have to identify it.
        frames: renders frames, one at a time.
        warnings: about the rendered images.
    """

    ignored: str | None = None
    header: DicomHeader | None = None
    sha256: str | None = None
    frames: _Frames | None = None
    warnings: tuple[FileWarning, ...] = ()


def _replies(request: ReadRequest, clock: StageClock) -> Iterator[ReadReply]:
    """Yields the reply after each step. If the file has changed meanwhile, that replaces any other failure."""
    reply = _with_status(ReadReply(), _status(request.path))
    yield reply
    try:
        with _opened(request) as stream:
            for reply in _replies_of_open_file(request, stream, clock):
                yield reply
    except MovedOutsideRootsError:  # what is outside has another size and time
        raise
    except FileError:
        _require_unchanged(request.path, reply)
        raise
    if reply.ignored is None:
        _require_unchanged(request.path, reply)


def _replies_of_open_file(request: ReadRequest, stream: BufferedReader, clock: StageClock) -> Iterator[ReadReply]:
    try:
        reply = _with_status(ReadReply(), os.fstat(stream.fileno()))
        yield reply
        _require_readable_size(reply.size_bytes, request.max_file_bytes)
        started = time.perf_counter()
        content = _parse(request, stream, reply.size_bytes)
        reply = replace(reply, ignored=content.ignored, header=content.header, content_sha256=content.sha256)
        if content.ignored is None:
            clock.add("parse", started)
        yield reply
        if request.render is not None and content.frames is not None and _is_allowed(reply.header, request):
            frames = content.frames(request.render, request.frames, clock)
            images, found = write_images(frames, request.output_prefix, request.render, clock)
            yield replace(reply, images=images, warnings=_shortened((*content.warnings, *found)))
    except OSError as error:
        raise _unreadable(error) from error


def _with_status(reply: ReadReply, status: os.stat_result) -> ReadReply:
    return replace(reply, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def _status(path: str) -> os.stat_result:
    """Status of a regular file. Other kinds are refused unopened, since to open a device may have effects."""
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise UnstableFileError(_VANISHED) from error
    except OSError as error:
        raise _unreadable(error) from error
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableFileError(_IRREGULAR)
    return found


def _require_unchanged(path: str, reply: ReadReply) -> None:
    found = _status(path)
    if (found.st_size, found.st_mtime_ns) != (reply.size_bytes, reply.mtime_ns):
        raise UnstableFileError("文件在读取期间发生变化，将在任务末尾重试")


def _unreadable(error: OSError) -> UnreadableFileError:
    check_descriptors(error)
    reason = errno.errorcode.get(error.errno or 0, "未知错误")
    return UnreadableFileError(f"操作系统拒绝读取该文件（{reason}），请检查权限或存储设备")


def _require_readable_size(size: int, limit: int) -> None:
    if size == 0:
        raise EmptyFileError("文件为空（0 字节）")
    if size > limit:
        raise FileTooLargeError(f"文件大小 {size} 字节，超过上限 MAX_FILE_MB（{limit} 字节）")


def _opened(request: ReadRequest) -> BufferedReader:
    """The open file. Everything is read from this descriptor, since another file may take the path's place."""
    opener = partial(only_within, area=request.area)
    try:
        return BufferedReader(FileIO(request.path, "rb", opener=opener), _BUFFER_BYTES)
    except OutsideError as error:
        raise MovedOutsideRootsError(_OUTSIDE) from error
    except FileNotFoundError as error:
        raise UnstableFileError(_VANISHED) from error
    except BlockingIOError as error:
        raise UnstableFileError("文件正被其他程序占用，将在任务末尾重试") from error
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise UnreadableFileError(_IRREGULAR) from error
        raise _unreadable(error) from error


def _is_allowed(header: DicomHeader | None, request: ReadRequest) -> bool:
    """Whether the header's PatientID matches the requested one; true if either is absent."""
    own, requested = header.patient.patient_id if header else None, request.only_if_patient_id
    return own is None or requested is None or same_patient_id(own, requested)


# --- parsing -------------------------------------------------------------------------------------------------------


def _parse(request: ReadRequest, stream: BufferedReader, size: int) -> _Content:
    kind = plain_kind(stream.read(HEAD_BYTES)) if request.plain_image else None
    stream.seek(0)
    return _parse_dicom(request, stream, size) if kind is None else _parse_plain(stream, size, kind)


def _parse_dicom(request: ReadRequest, stream: BufferedReader, size: int) -> _Content:
    parsed = parse(stream, size)
    ds = parsed.dataset
    if parsed.sop_class == _MEDIA_DIRECTORY:
        return _Content(_NOT_DICOM)
    if request.skip_for_processing and is_for_processing(ds):
        return _Content("for_processing")
    header = _header(parsed, request.exam_rules_path)
    sha256 = _sha256(stream) if header.image.sop_instance_uid is None else None
    return _Content(None, header, sha256, partial(render_frames, parsed), tuple(_image_warnings(ds)))


def _parse_plain(stream: BufferedReader, size: int, kind: str) -> _Content:
    """A plain picture has no patient; the digest of its bytes is its identity."""
    picture = open_picture(stream, size, kind)
    no_patient = PatientHeader(None, None, Sex.UNKNOWN, None, None)
    header = DicomHeader(no_patient, ImageHeader(None, None, None, len(picture.pages)))
    return _Content(None, header, _sha256(stream), picture.frames)


def _header(parsed: ParsedFile, exam_rules_path: str | None) -> DicomHeader:
    ds = parsed.dataset
    patient, notes = read_patient(ds)
    exam = decide_exam_type(ds, exam_rules_path)
    image = ImageHeader(
        sop_instance_uid=bounded(text(ds, "SOPInstanceUID")),
        transfer_syntax=bounded(parsed.transfer_syntax),
        modality=bounded(text(ds, "Modality")),
        frames=_frames(ds),
        exam_type=exam.exam_type if exam else None,
        exam_rule=exam.rule if exam else None,
    )
    return DicomHeader(patient, image, _shortened((*notes, *_window_warnings(ds))))


def _frames(ds: Dataset) -> int:
    """Number of Frames for the report, 1 if unusable; rendering refuses that."""
    try:
        return min(number_of_frames(ds), _MAX_FRAMES)
    except MissingAttributeError:
        return 1


def _window_warnings(ds: Dataset) -> Iterator[FileWarning]:
    if window_is_unreadable(ds):
        message = "窗宽窗位（WindowCenter、WindowWidth）不是数字，已改用其他窗，请核对图像明暗"
        yield FileWarning("window_unreadable", message)


def _image_warnings(ds: Dataset) -> Iterator[FileWarning]:
    if is_for_processing(ds):
        message = "这是探测器的原始数据（FOR PROCESSING），不是供阅片的图像，通常旁边另有处理后的图像"
        yield FileWarning("for_processing", message)
    if has_burned_in_text(ds):
        yield FileWarning("burned_in_annotation", "文件头说明像素中印有文字，可能含患者信息，图片中保留原样")


def _sha256(stream: BufferedReader) -> str:
    """Of the whole file; the position in the stream stays."""
    position = stream.tell()
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(position)
    return digest
