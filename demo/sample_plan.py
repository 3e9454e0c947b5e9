"""The files of the sample tree: 20 patients in 3 months, and the oddities that every real archive has."""

from __future__ import annotations

from dataclasses import dataclass

from demo.xray_files import (
    FRONTAL_CR,
    FRONTAL_DX,
    FRONTAL_LONG_DX,
    FRONTAL_LUMBAR_DX,
    FRONTAL_MILD_DX,
    LATERAL_CR,
    LATERAL_DX,
    LEFT_BEND,
    RIGHT_BEND,
    Exposure,
)

XRAYS: dict[str, Exposure] = {
    "2024-01/P001/IM0001.dcm": FRONTAL_DX,
    "2024-01/P001/IM0002.dcm": LATERAL_DX,
    "2024-01/P004/IM0001.dcm": FRONTAL_LONG_DX,
    "2024-02/P002/IM0001.dcm": FRONTAL_CR,
    "2024-02/P002/IM0002.dcm": LATERAL_CR,
    "2024-03/P003/IM0001.dcm": FRONTAL_LUMBAR_DX,
    "2024-03/P003/IM0002.dcm": LEFT_BEND,
    "2024-03/P003/IM0003.dcm": RIGHT_BEND,
    "2024-03/P004/IM0001.dcm": FRONTAL_MILD_DX,
}
"""Path → drawn X-ray. P004 has two different films of one name, two months apart."""

BUNDLED: dict[str, tuple[str, ...]] = {
    "2024-01/P005": ("CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"),
    "2024-01/P006": ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm"),
    "2024-01/P007": ("JPEG-lossy.dcm", "JPGExtended.dcm", "JPEG2000.dcm"),
    "2024-01/P008": ("examples_rgb_color.dcm", "examples_ybr_color.dcm"),
    "2024-02/P006": ("MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    "2024-02/P009": ("examples_palette.dcm", "examples_jpeg2k.dcm"),
    "2024-02/P010": ("examples_overlay.dcm", "MR_small_padded.dcm"),
    "2024-02/P011": ("GDCMJ2K_TextGBR.dcm", "ExplVR_BigEnd.dcm"),
    "2024-02/P012": ("rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"),
    "2024-02/P013": ("rtdose_1frame.dcm", "rtdose_expb_1frame.dcm", "rtdose_rle_1frame.dcm"),
    "2024-02/P014": ("liver_1frame.dcm", "liver_expb_1frame.dcm", "image_dfl.dcm"),
    "2024-03/P015": ("SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_2frame.dcm"),
    "2024-03/P016": (
        "SC_rgb_rle_32bit.dcm",
        "SC_rgb_rle_32bit_2frame.dcm",
        "SC_rgb_small_odd.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
    ),
    "2024-03/P017": (
        "SC_rgb_jpeg.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_dcmd.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm",
    ),
    "2024-03/P018": (
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
    ),
    "2024-03/20240019": (
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "SC_rgb_dcmtk_+eb+cy+n2.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_dcmtk_+eb+cy+s2.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    ),
    "2024-03/7": ("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"),
}
"""Patient folder → names of files in pydicom's wheel."""

OTHER_PLACES = {
    "MR_small_RLE.dcm": "ST000001/SE000001/IM000001",
    "MR_small_expb.dcm": "ST000001/SE000002/IM000002",
    "JPEG2000.dcm": "JPEG2000.DICOM",
    "JPGExtended.dcm": "JPGExtended.DCM",
}
"""Files in study and series folders, or with another extension or none."""

WITHOUT_PATIENT_ID = frozenset({"JPEGLSNearLossless_08.dcm"})
"""No PatientID in the header: the folder's name counts."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A file that must not be imported.

    Attributes:
        source: name in pydicom's wheel.
        owner: patient id that its header gets.
        code: by which the report has to name the reason.
        cut_off: the copy broke off before its end.
    """

    source: str
    owner: str
    code: str
    cut_off: bool = False


MISFITS: dict[str, Misfit] = {
    "2024-01/P005/IM0404.dcm": Misfit("CT_small.dcm", "P005", "truncated_pixel_data", cut_off=True),
    "2024-01/P007/IM0405.dcm": Misfit("JPEG2000-embedded-sequence-delimiter.dcm", "P007", "pixel_decode_failed"),
    "2024-02/P010/STRAY.dcm": Misfit("MR_small.dcm", "P011", "patient_mismatch"),
    "2024-03/P018/report.dcm": Misfit("reportsi.dcm", "P018", "no_pixel_data"),
}

NOT_DICOM = "2024-03/P015/IM0500.dcm"
"""Named like DICOM; what a broken web download leaves behind."""
NOT_DICOM_CONTENT = b"<!DOCTYPE html><html><body>504 Gateway Time-out</body></html>\n" * 4

IGNORED: dict[str, bytes] = {
    "2024-01/P001/Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
    "2024-02/.DS_Store": b"\x00\x00\x00\x01Bud1" + bytes(56),
    "2024-02/P009/export.log": b"copied 2 files\n",
    "2024-03/P003/._IM0001.dcm": b"\x00\x05\x16\x07" + bytes(60),
}
"""What operating systems and exports leave beside the images."""

UNFIT_FOLDER = "2024年4月"
"""A month spelt in another way than the rest: not walked, but named in the result."""
