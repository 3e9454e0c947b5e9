"""DICOM file → header values → pictures on disk. Pure and synchronous: knows no settings, HTTP or asyncio."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import pydicom.config
from pydicom.dataset import Dataset

from dicom_attributes import number_of_frames, text
from dicom_parsing import ParsedFile, parse
from dicom_text import read_patient
from errors import (
    DiskFullError,
    EmptyFileError,
    FileError,
    FileTooLargeError,
    MissingAttributeError,
    NotDicomError,
    RenderOutOfMemoryError,
    UnreadableFileError,
    UnstableFileError,
)
from exam_type import ExamRules, load_rules
from frame_rendering import RenderedFrame, StageClock, is_constant, render_frames
from models import (
    DicomHeader,
    Failure,
    FileWarning,
    ImageHeader,
    ReadReply,
    ReadRequest,
    RenderedImage,
    RenderOptions,
)
from patient_identity import same_patient_id
from picture_files import is_absurd, remove_quietly, scale_of, to_square, write_picture
from pixel_decoders import check_decoders

__all__ = ["check_decoders", "read_file"]

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_HASH_STEP_BYTES = 1 << 20
_MAX_HEADER_INFLATED_BYTES = 1 << 30


def read_file(request: ReadRequest) -> ReadReply:
    """Read one file and, where asked, make its pictures, in one parse.

    A file's failure is a value in the reply. Every picture that the reply lists is whole; where ``failure`` is set
    because of rendering, none of this file's pictures is left on disk.

    Raises:
        DiskFullError: no space left for pictures; the file is not to blame.
    """
    with _silent_libraries():
        return _Reading(request).run()


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """pydicom's warnings and log lines quote values, hence patients; nobody reads them here."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, slots=True)
class _Seen:
    """The file as the operating system shows it."""

    size_bytes: int
    mtime_ns: int


class _Reading:
    """One trip from path to reply; collects what is known so far, so that a failure keeps it."""

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self._clock = StageClock()
        self._seen = _Seen(0, 0)
        self._header: DicomHeader | None = None
        self._sha256: str | None = None
        self._images: list[RenderedImage] = []
        self._warnings: list[FileWarning] = []

    def run(self) -> ReadReply:
        """The reply; see :func:`read_file`."""
        try:
            self._seen = _look(self._request.path)
            self._require_sizes()
            self._read()
            if _look(self._request.path) != self._seen:
                raise UnstableFileError("读取期间文件发生了变化，将在任务末尾重试")
        except NotDicomError as error:
            self._discard()
            return self._ignored() if not self._request.named_dicom else self._failed(error)
        except _NotAPicture:
            return self._ignored()
        except EmptyFileError as error:
            return self._ignored() if not self._request.named_dicom else self._failed(error)
        except FileError as error:
            return self._failed(self._unstable() or error)
        except MemoryError:
            return self._failed(RenderOutOfMemoryError("渲染所需内存超过 RENDER_MEMORY_MB，已放弃该文件"))
        except DiskFullError:
            self._discard()
            raise
        return self._reply(None)
