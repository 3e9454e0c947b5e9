"""Values that no sound file has come over the pipe, so that the file ends in its own code, and costs no process."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from config import Settings
from dicom_processor import read_file
from domain.patient_identity import check_patient_id, same_patient_id
from errors import ConfigurationError, PatientIdTooLongError
from models import (
    DicomHeader,
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
from render.protocol import MAX_REPLY_BYTES, Done, Raised, WorkerReply, encoded
from render.replies import result_of, worker_reply_to
from render.worker_main import _outcome
from tests.unit.image_files import gradient, image, to_bytes

LONG = 1 << 20


def sent(path: Path, ds: Dataset, **request: Any) -> ReadReply:
    """What the service hears of a file."""
    path.write_bytes(to_bytes(ds))
    asked = ReadRequest(str(path), named_dicom=True, output_prefix=str(path.with_name("x")), render=RenderOptions())
    asked = replace(asked, **request)
    outcome = result_of(asked, encoded(_outcome(read_file, asked), 0)).outcome
    assert isinstance(outcome, Done)
    return outcome.reply


def raw(ds: Dataset, tag: int, value: bytes) -> Dataset:
    """With an element of any length, whatever its VR allows."""
    ds[tag] = DataElement(tag, "UN", value)
    return ds


def doubles(low: float, high: float) -> Dataset:
    ds = image(gradient())
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = 64
    values = np.linspace(0, 1, ds.Rows * ds.Columns)
    values[:2] = low, high
    ds.DoubleFloatPixelData = values.astype("<f8").tobytes()
    return ds


def rescaled(slope: str, intercept: str) -> Dataset:
    return image(gradient(top=255).astype(np.uint8), RescaleSlope=slope, RescaleIntercept=intercept)


@pytest.mark.parametrize(
    "ds", [doubles(-1.7e308, 1.7e308), rescaled("1e307", "0"), rescaled("-1e307", "0"), rescaled("6e305", "1e308")]
)
def test_a_window_that_no_double_holds_is_none(tmp_path: Path, ds: Dataset) -> None:
    (picture,) = sent(tmp_path / "a.dcm", ds).images
    assert picture.window is not None
    assert (picture.window.center, picture.window.width) == (None, None)


@pytest.mark.parametrize("count", [b"99999999999999999999", b"9223372036854775808", b"1e300"])
def test_more_frames_than_there_can_be_are_too_many(tmp_path: Path, count: bytes) -> None:
    reply = sent(tmp_path / "a.dcm", raw(image(gradient()), 0x00280008, count))
    assert reply.failure is not None
    assert reply.failure.code == "too_many_frames"
    assert reply.header is not None
    assert reply.header.image.frames == 2**63 - 1


@pytest.mark.parametrize("characters", [1001, 5000, 2 * LONG])
def test_a_colour_space_of_any_length_is_not_supported(tmp_path: Path, characters: int) -> None:
    reply = sent(tmp_path / "a.dcm", raw(image(gradient()), 0x00280004, b"X" * characters))
    assert reply.failure is not None
    assert reply.failure.code == "unsupported_image"


@pytest.mark.parametrize("value", [b"1" * (LONG + 2), b"1" + b" " * LONG + b"2", b"P\xe9" * LONG], ids=len)
def test_a_patient_id_of_any_length_is_too_long(tmp_path: Path, value: bytes) -> None:
    reply = sent(tmp_path / "a.dcm", raw(image(gradient()), 0x00100020, value))
    assert reply.header is not None
    patient_id = reply.header.patient.patient_id
    assert patient_id is not None
    with pytest.raises(PatientIdTooLongError):
        check_patient_id(patient_id)
    other = sent(tmp_path / "b.dcm", raw(image(gradient()), 0x00100020, value + b"9"))
    assert other.header is not None
    assert other.header.patient.patient_id is not None
    assert not same_patient_id(patient_id, other.header.patient.patient_id)


@pytest.mark.parametrize("tag", [0x00080018, 0x00080060, 0x00080005], ids=["instance", "modality", "charset"])
def test_other_texts_may_have_any_length(tmp_path: Path, tag: int) -> None:
    reply = sent(tmp_path / "a.dcm", raw(image(gradient()), tag, b"1" * 2 * LONG))
    assert reply.failure is None
    assert len(reply.images) == 1


@pytest.mark.parametrize("seconds", [-11_644_473_600, 13_569_465_600])
def test_a_file_of_the_year_1601_or_2400_is_read(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(to_bytes(image(gradient())))
    os.utime(path, (seconds, seconds))
    if os.stat(path).st_mtime_ns != seconds * 10**9:
        pytest.skip("this file system has no such time")
    asked = ReadRequest(str(path), named_dicom=True, output_prefix=str(tmp_path / "x"), render=RenderOptions())
    outcome = result_of(asked, encoded(_outcome(read_file, asked), 0)).outcome
    assert isinstance(outcome, Done)
    assert outcome.reply.mtime_ns == seconds * 10**9
    assert len(outcome.reply.images) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_process_without_descriptors_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.dcm"
    path.touch()
    asked = ReadRequest(str(path), named_dicom=True, output_prefix=str(tmp_path / "x"))
    monkeypatch.setattr("dicom_processor.FileIO", refuse)
    said = _outcome(read_file, asked)
    assert isinstance(said, Raised)
    assert said.code == "out_of_descriptors"
    assert result_of(asked, encoded(said, 0)).outcome == said
    worker = WorkerReply(raised=said)
    assert worker_reply_to(asked, encoded(worker)).raised == said


def test_the_reply_of_the_most_frames_that_may_be_allowed_is_short_enough() -> None:
    most = 10_000
    window = WindowUsed(-1.7976931348623157e308, 5.123456789012345e-321, WindowSource.PERCENTILE)
    picture = RenderedImage(most, 65_535, 65_535, 2**40, window, constant=False, storage_etag="0" * 40)
    header = DicomHeader(PatientHeader("1", "x" * 100, Sex.MALE, None, "declared"), ImageHeader("1", "1", "CT", most))
    reply = ReadReply(header=header, images=(picture,) * most)
    assert len(encoded(Done(reply), 0)) < MAX_REPLY_BYTES / 2
    assert Settings(_env_file=None, max_frames_per_file=most).max_frames_per_file == most
    with pytest.raises((ConfigurationError, ValueError)):
        Settings(_env_file=None, max_frames_per_file=most + 1)
