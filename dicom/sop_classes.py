"""What a SOP class says of its objects (PS3.4 B.5)."""

from __future__ import annotations

from pydicom.uid import UID

_OTHER_IMAGE_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("6.2", "30", "66.4", "77.1.5.8", "81.1", "82.1")
)
"""Image IODs that are not named so: US volume, parametric map, segmentation, B-scan analysis, thickness, cornea."""


def is_image_class(sop_class: str | None) -> bool:
    """Whether objects of the SOP class always have pixels; False for unknown and private ones."""
    if sop_class is None:
        return False
    return sop_class in _OTHER_IMAGE_CLASSES or "Image Storage" in UID(sop_class).name
