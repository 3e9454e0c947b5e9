"""What the steps of a file's import learn reaches its outcome, also if a later step fails."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import Any

from errors import DemographicsMismatchError, UploadRejectedError
from importing.files.file_outcome import failed, uploaded
from importing.files.file_progress import FileProgress
from importing.naming.name_decision import NameDecision, NameState
from importing.uploads.image_upload import UploadedImages
from models import (
    DicomHeader,
    FileOutcome,
    FileWarning,
    ImageHeader,
    OutcomeKind,
    PatientHeader,
    ReadReply,
    RenderedImage,
    Sex,
    SourceFile,
    WindowSource,
    WindowUsed,
)
from tests.unit.test_history import an_image

HEADER_WARNING = FileWarning("header", "文件头")
RENDER_WARNING = FileWarning("render", "渲染")
ID_WARNING = FileWarning("id", "患者ID")
HEADER = DicomHeader(
    PatientHeader("P1", "王小东", Sex.MALE, None, "gb18030"),
    ImageHeader("1.2.3", "1.2.840.10008.1.2.1", "CT", 3, "正位X光片", "rule"),
    (HEADER_WARNING,),
)


def a_file() -> FileProgress:
    return FileProgress(SourceFile("/srv/2024-01/P1/a.dcm", "2024-01", "P1", 10, 20), time.monotonic(), "/out/x")


def a_read_file() -> FileProgress:
    reply = ReadReply(header=HEADER, warnings=(RENDER_WARNING,), stage_seconds={"parse": 1.0})
    return a_file().after_read(reply)


def test_each_warning_is_kept_once_in_the_order_of_the_steps() -> None:
    progress = a_read_file().warned([ID_WARNING, HEADER_WARNING]).warned([ID_WARNING])
    assert progress.warnings == (RENDER_WARNING, HEADER_WARNING, ID_WARNING)


def test_a_second_reading_adds_to_the_first_one() -> None:
    progress = a_read_file().after_read(ReadReply(stage_seconds={"parse": 2.0, "decode": 4.0}))
    assert progress.header is HEADER
    assert progress.stage_seconds == {"parse": 3.0, "decode": 4.0}


def test_a_failed_step_keeps_what_earlier_steps_learnt() -> None:
    outcome = failed(a_read_file().warned([ID_WARNING]), DemographicsMismatchError("不符"))
    assert (outcome.kind, outcome.code, outcome.held) == (OutcomeKind.FAILED, "demographics_mismatch", True)
    assert (outcome.sop_instance_uid, outcome.charset_source, outcome.frames_total) == ("1.2.3", "gb18030", 3)
    assert outcome.warnings == (RENDER_WARNING, HEADER_WARNING, ID_WARNING)


def test_every_field_of_an_outcome_is_filled() -> None:
    """``uploaded`` and ``failed`` make outcomes in one place; nothing is lost there."""
    window = WindowUsed(40.0, 400.0, WindowSource.FILE)
    image = HEADER.image
    new: dict[str, Any] = {field.name: "x" for field in fields(ImageHeader) if getattr(image, field.name) is None}
    header = replace(HEADER, image=replace(image, **new))
    reply = ReadReply(header=header, images=(RenderedImage(1, 8, 8, 80, window),), stage_seconds={"parse": 1.0})
    row = an_image(image_file_id=77)
    done = UploadedImages(new_frames=1, new_bytes=80, first=row, jpg_path="/out/a.jpg")
    progress = replace(a_file().after_read(reply), patient_id="P1", uploaded=done)
    outcome = failed(progress, DemographicsMismatchError("不符"))
    empty = [
        field.name for field in fields(FileOutcome) if getattr(outcome, field.name) in (None, field.default, (), {})
    ]
    assert not empty, "fill these in importing/files/file_outcome.py"


def test_frames_that_are_missing_are_named_and_those_that_arrived_are_counted() -> None:
    done = UploadedImages(new_frames=2, new_bytes=8, failure=UploadRejectedError("太大"), missing_frames=(2,))
    names = NameDecision(("a-0001", "a-0002", "a-0003"), (NameState.FREE,) * 3, suffixed=False)
    progress = FileProgress(a_file().source, 0.0, "/out/x", header=HEADER, uploaded=done)
    outcome = uploaded(progress, names, dry_run=False)
    assert (outcome.kind, outcome.code) == (OutcomeKind.FAILED, "upload_rejected")
    assert outcome.detail == "第 2 帧未上传（共 3 帧）：太大"
    assert (outcome.frames_uploaded, outcome.bytes_uploaded) == (2, 8)
