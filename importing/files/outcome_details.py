"""The outcome code of a file that is in XieHe, and its detail in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from domain import outcome_codes as codes
from importing.naming.name_decision import NameDecision
from importing.uploads.image_upload import UploadedImages
from models import OutcomeKind

FRAMES_NAMED = 10
"""Frame numbers that a detail names. Further ones are counted."""

KIND_OF_CODE: Mapping[str, OutcomeKind] = MappingProxyType(
    {
        codes.UPLOADED: OutcomeKind.UPLOADED,
        codes.UPLOADED_RENAMED: OutcomeKind.UPLOADED,
        codes.WOULD_UPLOAD: OutcomeKind.WOULD_UPLOAD,
        codes.WOULD_UPLOAD_RENAMED: OutcomeKind.WOULD_UPLOAD,
        codes.DUPLICATE: OutcomeKind.DUPLICATE,
        codes.DUPLICATE_BY_NAME: OutcomeKind.DUPLICATE,
        codes.REMOVED_IN_XIEHE: OutcomeKind.DUPLICATE,
    }
)


def code_of(decision: NameDecision, done: UploadedImages, *, planned: bool) -> str:
    """The code of a file whose images are all in XieHe, or would be after a dry run (``planned``)."""
    if done.new_frames and planned:
        return codes.WOULD_UPLOAD_RENAMED if decision.suffixed else codes.WOULD_UPLOAD
    if done.new_frames:
        return codes.UPLOADED_RENAMED if decision.suffixed else codes.UPLOADED
    if done.removed:
        return codes.REMOVED_IN_XIEHE
    return codes.DUPLICATE_BY_NAME if done.by_name else codes.DUPLICATE


def detail_of(code: str, done: UploadedImages) -> str:
    """The detail of such a file."""
    name = done.first.stored_name if done.first else ""
    renamed = renamed_to(done.new_name)
    return {
        codes.UPLOADED: f"已上传为 {name}",
        codes.UPLOADED_RENAMED: f"已加后缀上传为 {name}",
        codes.WOULD_UPLOAD: f"将上传为 {name}",
        codes.WOULD_UPLOAD_RENAMED: f"将加后缀上传为 {name}",
        codes.DUPLICATE: f"XieHe 中已有 {name}{renamed}",
        codes.DUPLICATE_BY_NAME: f"XieHe 中已有同名影像 {name}{renamed}，内容未核对",
        codes.REMOVED_IN_XIEHE: f"曾导入为 {name}，XieHe 中已看不到",
    }[code]


def renamed_to(new_name: str | None) -> str:
    """The present name of an image, to follow the name that it was stored under."""
    return "" if new_name is None else f"（现名 {new_name}）"


def frame_list(frames: Sequence[int]) -> str:
    """Frame numbers for a detail: the first few of many."""
    shown = "、".join(str(number) for number in frames[:FRAMES_NAMED])
    return shown if len(frames) <= FRAMES_NAMED else f"{shown} 等 {len(frames)} "
