"""DICOM file, or plain picture → header values → pictures on disk.

Pure and synchronous: knows no settings, HTTP or asyncio.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedReader, FileIO

import pydicom.config
from pydicom.dataset import Dataset

from dicom.decoding.decoder_check import check_decoders
from dicom.exam.exam_type import load_rules
from dicom.header.attributes import has_burned_in_text, is_for_processing, number_of_frames, window_is_unreadable
from dicom.header.parsing import ParsedFile, parse
from dicom.header.text import read_patient
from dicom.header.values import bounded, text
from dicom.plain.images import HEAD_BYTES, PlainImage, plain_kind
from dicom.rendering.frame_rendering import StageClock, render_frames
from dicom.rendering.image_files import remove_quietly
from dicom.rendering.image_making import ImageMaker
from domain.descriptors import check_descriptors
from domain.patient_identity import same_patient_id
from domain.regular_files import OutsideError, only_within
from errors import (
    EmptyFileError,
    FileError,
    FileTooLargeError,
    HostError,
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
    RenderedImage,
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
_NOT_REGULAR = (errno.EINVAL, errno.ENXIO)
"""From opening: only_within refuses all but files; a socket refuses itself."""
_SILENT = logging.CRITICAL + 1
_MOST_WORDS = 1000
_MOST_FRAMES = (1 << 63) - 1


def read_file(request: ReadRequest) -> ReadReply:
    """Read one file and, where asked, make its pictures, in one parse.

    A file's failure is a value in the reply. Every picture that the reply lists is whole; where ``failure`` is set
    because of rendering, none of this file's pictures is left on disk.

    Raises:
        HostError: no space left for pictures (DiskFullError), say; the file is not to blame. The pictures made so far
            stay, so that the disk is as full to whoever looks; the caller removes them.
    """
    with _silent_libraries():
        return _run(_Reading(request))


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """pydicom's warnings and log lines quote values, hence patients; nobody reads them here."""
    logger = logging.getLogger("pydicom")
    if logger.level != _SILENT:  # setting it anew empties the caches of all loggers
        logger.setLevel(_SILENT)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _IgnoredError(Exception):
    """A DICOM file that is none to import.

    Attributes:
        reason: stable name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Seen:
    """The file as the operating system shows it."""

    size_bytes: int
    mtime_ns: int


@dataclass(slots=True)
class _Reading:
    """What is known of the file so far; a failure keeps it."""

    request: ReadRequest
    seen: _Seen = _Seen(0, 0)
    header: DicomHeader | None = None
    sha256: str | None = None
    images: list[RenderedImage] = field(default_factory=list)
    warnings: tuple[FileWarning, ...] = ()
    clock: StageClock = field(default_factory=StageClock)

    def reply(self, failure: Failure | None = None, *, ignored: str | None = None) -> ReadReply:
        """The reply with what is known."""
        return ReadReply(
            ignored=ignored,
            header=self.header,
            images=tuple(self.images),
            failure=failure,
            warnings=_shortened(self.warnings),
            size_bytes=self.seen.size_bytes,
            mtime_ns=self.seen.mtime_ns,
            content_sha256=self.sha256,
            stage_seconds=dict(self.clock.seconds),
        )

    def discard_pictures(self) -> None:
        """Leave none of this file's pictures on disk."""
        for image in self.images:
            remove_quietly(image.path)
        self.images.clear()


def _run(reading: _Reading) -> ReadReply:
    try:
        return _attempt(reading)
    except (NotDicomError, EmptyFileError) as error:
        return _without_image(reading, error)
    except _IgnoredError as error:
        return reading.reply(ignored=error.reason)
    except FileError as error:
        reading.discard_pictures()
        return reading.reply(_failure(error))
    except MemoryError:
        reading.discard_pictures()
        error_class = RenderOutOfMemoryError
        return reading.reply(Failure(error_class.code, "渲染所需内存超过 RENDER_MEMORY_MB，已放弃该文件"))
    except HostError:
        raise
    except BaseException:
        reading.discard_pictures()
        raise


def _without_image(reading: _Reading, error: FileError) -> ReadReply:
    """What is nothing that we read is a failure where its name promises more."""
    request = reading.request
    if request.plain_image and not request.named_dicom and isinstance(error, NotDicomError):
        error = NotAnImageError("文件名像图片，但内容不是 PNG、JPEG、TIFF、BMP，也不是 DICOM")
    named = request.named_dicom or request.plain_image
    return reading.reply(_failure(error)) if named else reading.reply(ignored=_NOT_DICOM)


def _failure(error: FileError) -> Failure:
    return Failure(error.code, _cut(error.detail))


def _shortened(warnings: Iterable[FileWarning]) -> tuple[FileWarning, ...]:
    return tuple(replace(warning, message=_cut(warning.message)) for warning in warnings)


def _cut(words: str) -> str:
    """Words for people, which may quote a header at any length."""
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"


def _attempt(reading: _Reading) -> ReadReply:
    """Read the file; a change under our hands outweighs whatever came of the reading."""
    path = reading.request.path
    reading.seen = _look(path)
    try:
        _read(reading)
    except MovedOutsideRootsError:  # what is out there has another size and time
        raise
    except FileError as error:
        if _look(path) != reading.seen:
            raise _changed() from error
        raise
    if _look(path) != reading.seen:
        raise _changed()
    return reading.reply()


def _look(path: str) -> _Seen:
    """Size and time of a regular file; to open a device may have effects."""
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise UnstableFileError(_VANISHED) from error
    except OSError as error:
        raise _unreadable(error) from error
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableFileError(_IRREGULAR)
    return _Seen(found.st_size, found.st_mtime_ns)


def _changed() -> UnstableFileError:
    return UnstableFileError("文件在读取期间发生变化，将在任务末尾重试")


def _unreadable(error: OSError) -> UnreadableFileError:
    check_descriptors(error)
    reason = errno.errorcode.get(error.errno or 0, "未知错误")
    return UnreadableFileError(f"操作系统拒绝读取该文件（{reason}），请检查权限或存储设备")


def _require_readable_size(reading: _Reading) -> None:
    size, limit = reading.seen.size_bytes, reading.request.max_file_bytes
    if size == 0:
        raise EmptyFileError("文件为空（0 字节）")
    if size > limit:
        raise FileTooLargeError(f"文件大小 {size} 字节，超过上限 MAX_FILE_MB（{limit} 字节）")


def _read(reading: _Reading) -> None:
    with _opened(reading.request) as stream:
        try:
            found = os.fstat(stream.fileno())
            reading.seen = _Seen(found.st_size, found.st_mtime_ns)
            _require_readable_size(reading)
            _read_stream(reading, stream)
        except OSError as error:
            raise _unreadable(error) from error


def _opened(request: ReadRequest) -> BufferedReader:
    """The file, all of which is read from this one descriptor; something else may be in its place by now."""
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


def _read_stream(reading: _Reading, stream: BufferedReader) -> None:
    """Header, then pictures where they are asked for and allowed."""
    kind = plain_kind(stream.read(HEAD_BYTES)) if reading.request.plain_image else None
    stream.seek(0)
    if kind is None:
        _read_dicom(reading, stream)
    else:
        _read_plain(reading, stream, kind)


def _read_dicom(reading: _Reading, stream: BufferedReader) -> None:
    request = reading.request
    started = time.perf_counter()
    parsed = parse(stream, reading.seen.size_bytes)
    if parsed.sop_class == _MEDIA_DIRECTORY:
        raise _IgnoredError(_NOT_DICOM)
    if request.skip_for_processing and is_for_processing(parsed.dataset):
        raise _IgnoredError("for_processing")
    reading.header = _header(parsed, request.exam_rules_path)
    if reading.header.image.sop_instance_uid is None:
        reading.sha256 = _sha256(stream)
    reading.clock.add("parse", started)
    if request.render is not None and _is_allowed(reading.header, request.only_if_patient_id):
        frames = render_frames(parsed, request.render, request.frames, reading.clock)
        of_pictures = _maker(reading, request.render).make(frames, reading.clock)
        reading.warnings = (*_warnings(parsed.dataset), *of_pictures)


def _warnings(ds: Dataset) -> Iterator[FileWarning]:
    """What the header says of the pictures, and a person should know before they are used."""
    if is_for_processing(ds):
        message = "这是探测器的原始数据（FOR PROCESSING），不是供阅片的图像，通常旁边另有处理后的图像"
        yield FileWarning("for_processing", message)
    if has_burned_in_text(ds):
        yield FileWarning("burned_in_annotation", "文件头说明像素中印有文字，可能含患者信息，图片中保留原样")


def _read_plain(reading: _Reading, stream: BufferedReader, kind: str) -> None:
    """A picture that is no DICOM: it says nothing of a patient, and its bytes are its identity."""
    request = reading.request
    started = time.perf_counter()
    image = PlainImage.open(stream, reading.seen.size_bytes, kind)
    nobody = PatientHeader(None, None, Sex.UNKNOWN, None, None)
    reading.header = DicomHeader(nobody, ImageHeader(None, None, None, len(image.pages)))
    reading.sha256 = _sha256(stream)
    reading.clock.add("parse", started)
    if request.render is not None:
        frames = image.frames(request.render, request.frames, reading.clock)
        of_pictures = _maker(reading, request.render).make(frames, reading.clock)
        reading.warnings = (*image.warnings, *of_pictures)


def _maker(reading: _Reading, options: RenderOptions) -> ImageMaker:
    return ImageMaker(reading.request.output_prefix, options, reading.images)


def _is_allowed(header: DicomHeader, patient_id: str | None) -> bool:
    """Whether the header's PatientID is the wanted one, as far as there is one of each."""
    own = header.patient.patient_id
    return patient_id is None or own is None or same_patient_id(own, patient_id)


def _header(parsed: ParsedFile, exam_rules_path: str | None) -> DicomHeader:
    ds = parsed.dataset
    patient, notes = read_patient(ds)
    exam = load_rules(exam_rules_path).decide(ds)
    image = ImageHeader(
        sop_instance_uid=bounded(text(ds, "SOPInstanceUID")),
        transfer_syntax=bounded(parsed.transfer_syntax),
        modality=bounded(text(ds, "Modality")),
        frames=_frames(ds),
        exam_type=exam.exam_type if exam else None,
        exam_rule=exam.rule if exam else None,
    )
    return DicomHeader(patient, image, _shortened((*notes, *_window_warnings(ds))))


def _window_warnings(ds: Dataset) -> tuple[FileWarning, ...]:
    if not window_is_unreadable(ds):
        return ()
    message = "窗宽窗位（WindowCenter、WindowWidth）不是数字，已改用其他窗，请核对图像明暗"
    return (FileWarning("window_unreadable", message),)


def _frames(ds: Dataset) -> int:
    """Number of Frames for the report; rendering refuses what is no number, and more than there can be."""
    try:
        return min(number_of_frames(ds), _MOST_FRAMES)
    except MissingAttributeError:
        return 1


def _sha256(stream: BufferedReader) -> str:
    """Of the file's bytes, which stand in for a missing SOP Instance UID. The position in the stream stays."""
    position = stream.tell()
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(position)
    return digest
