"""All codes of outcomes, ignored files and skipped folders, with Chinese advice for the operator.

The tables of the documents have the same codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from errors import (
    HeldFileError,
    MovedOutsideRootsError,
    NoPixelDataError,
    PatientUnavailableError,
    UnstableFileError,
    UploadRejectedError,
    UploadUnconfirmedError,
)

UPLOADED = "uploaded"
UPLOADED_RENAMED = "uploaded_renamed"
WOULD_UPLOAD = "would_upload"
WOULD_UPLOAD_RENAMED = "would_upload_renamed"
DUPLICATE = "duplicate"
DUPLICATE_BY_NAME = "duplicate_by_name"
REMOVED_IN_XIEHE = "removed_in_xiehe"
UPLOAD_REJECTED = UploadRejectedError.code
UPLOAD_UNCONFIRMED = UploadUnconfirmedError.code
UNSTABLE_FILE = UnstableFileError.code
MOVED_OUTSIDE_ROOTS = MovedOutsideRootsError.code
PATIENT_UNAVAILABLE = PatientUnavailableError.code
NO_PIXEL_DATA = NoPixelDataError.code
"""Of a file that holds no image. It fails, but is no failure of its task, and not retried. JavaScript, the command line
and the alerts name this code; tests/unit/test_outcome_codes.py compares them."""
HELD_CODES = frozenset(error.code for error in HeldFileError.__subclasses__())
"""Of files that are held: a person must decide whose image it is."""
OUTSIDE_ROOTS = "symlink_outside_roots"
"""Of a link that is ignored because it leads outside."""

OUTCOME_HINTS = MappingProxyType(
    {
        # uploaded
        UPLOADED: "无需处理。",
        UPLOADED_RENAMED: "同名但不是同一影像（SOP Instance UID 不同）或文件名无法原样保存，已加后缀上传；无需处理。",
        # would_upload (dry run)
        WOULD_UPLOAD: "试运行：正式导入时会上传；没有写入 XieHe。",
        WOULD_UPLOAD_RENAMED: "试运行：正式导入时会加后缀上传（同名但不是同一影像，或文件名无法原样保存）。",
        # duplicate
        DUPLICATE: "XieHe 中已有这一影像；无需处理。",
        DUPLICATE_BY_NAME: (
            "XieHe 中已有同名影像，但本服务没有它的导入记录，内容未核对。如有疑问，请在 XieHe 中打开该影像比较。"
        ),
        REMOVED_IN_XIEHE: (
            "曾经导入过，但 XieHe 中已看不到（被人删除，或当前账号无权查看）。确需重新上传时，"
            "用 reupload_removed: true 再次导入。"
        ),
        # failed: the file
        "unreadable_file": "请检查文件和所在目录的读取权限以及磁盘状态，然后重试（retry）。",
        "empty_file": "文件为 0 字节，通常是复制中断所致；请从设备重新导出。",
        UNSTABLE_FILE: "文件在读取过程中仍在变化；请等复制完成后重试（retry）。",
        MOVED_OUTSIDE_ROOTS: (
            "扫描之后，该文件或它的上级文件夹被换成了指向允许范围之外的链接。请先查明是谁换的；恢复原状后重试（retry）。"
        ),
        "file_too_large": "请确认文件正常；确需导入时调大 MAX_FILE_MB 或 RENDER_MEMORY_MB 后重试。",
        "misplaced_file": "请把文件移到 <月份>/<患者ID>/ 目录下再导入。",
        "not_dicom": "文件名像 DICOM 但内容不是；请从设备重新导出，或把它移出该目录。",
        "not_an_image": "文件名像图片但内容不是（或是 IMAGE_EXTENSIONS 不支持的格式）；请重新导出，或把它移出该目录。",
        "truncated_file": "文件不完整，通常是复制中断所致；请从设备重新导出。",
        NO_PIXEL_DATA: "该 DICOM 对象不含图像（如报告、标注、放疗计划），无法转换为 JPG；无需处理。",
        "missing_attribute": "文件头缺少显示图像所必需的字段；请联系设备厂商或重新导出。",
        # failed: the patient
        "patient_id_invalid": (
            "患者ID为空或含有控制字符；请在设备上更正后重新导出，或用 on_patient_mismatch: trust_folder 以目录名为准。"
        ),
        "patient_id_too_long": "XieHe 的患者ID最多 50 个字符；请更正目录名或文件头中的患者ID。",
        "patient_mismatch": (
            "文件头中的患者ID与目录名不同，已扣留。"
            "确认后用 on_patient_mismatch: trust_dicom（以文件头为准）或 trust_folder（以目录名为准）重试。"
        ),
        "demographics_mismatch": (
            "出生日期和性别与 XieHe 中该患者不符，可能是患者ID被重复使用，已扣留。"
            "确认是同一人后用 on_demographics_mismatch: warn 重试。"
        ),
        "patient_id_collision": "XieHe 的数据库把该患者ID与另一位患者（仅重音符号不同）视为相同，已扣留；请人工改号。",
        "instance_of_other_patient": "同一影像（SOP Instance UID 相同）已存于另一位患者名下，已扣留；请核实它属于谁。",
        "patient_deleted_in_xiehe": (
            "该患者ID属于 XieHe 中已删除的患者，无法通过接口使用；请管理员在 XieHe 数据库中恢复该患者，"
            "或换用新的患者ID。"
        ),
        "patient_rejected": "XieHe 拒绝创建该患者；请按说明更正患者信息。",
        PATIENT_UNAVAILABLE: (
            "XieHe 对该患者的请求始终出错，而对其他患者正常；请管理员查看 XieHe 日志，排除原因后重试（retry）。"
        ),
        # failed: the image
        "unsupported_image": "这种图像本服务不能正确显示；请用专业阅片软件处理。",
        "unsupported_transfer_syntax": "该传输语法没有可用的解码器；请在设备上换一种压缩方式重新导出。",
        "too_many_frames": "帧数超过 MAX_FRAMES_PER_FILE；确需导入时调大该设置后重试。",
        "pixel_decode_failed": "像素数据已损坏或与文件头矛盾；请从设备重新导出。",
        "truncated_pixel_data": "像素数据不完整，通常是复制中断所致；请从设备重新导出。",
        "render_timeout": "转换超时；请确认文件正常，必要时调大 RENDER_TIMEOUT_SECONDS 后重试。",
        "render_crashed": "解码器在该文件上崩溃；文件多半已损坏，请从设备重新导出。",
        "render_out_of_memory": "转换所需内存超过 RENDER_MEMORY_MB；确需导入时调大该设置后重试。",
        # failed: XieHe
        UPLOAD_REJECTED: "XieHe 每次都拒绝该文件，而其他文件能上传；请查看 XieHe 日志，排除原因后重试（retry）。",
        UPLOAD_UNCONFIRMED: (
            "XieHe 还在完成该图像的上传；本服务在后台继续查询，查到后记入索引。"
            "过一段时间再导入或重试（retry），不会重复上传；长期如此请查看 XieHe 日志。"
        ),
        "internal_error": "本服务自身的缺陷；请把日志和任务编号交给开发者，其他文件不受影响。",
    }
)
"""code → what to do. A test fails if a code is missing here."""


def hint_for(code: str) -> str:
    """What an operator can do about an outcome code."""
    return OUTCOME_HINTS[code]


@dataclass(frozen=True, slots=True)
class IgnoredWords:
    """What an ignored file is, and what to do about it; both Chinese."""

    detail: str
    hint: str


OUTSIDE_HINT = (
    "请先查明是谁、为何建立了这个链接，不明的请删除；确需导入时，把链接指向的目录（指向文件时为它所在的目录）"
    "加入 DICOM_SOURCE_PATH。OUTPUT_DIR 和 DATA_DIR 之内的从不导入。"
)
"""Of a link that leads outside, to a file or to a folder."""
_NOTHING = "无需处理。"
IGNORED_WORDS = MappingProxyType(
    {
        "not_dicom": IgnoredWords(
            "不是 DICOM，名字也不像", "无需处理；如是要导入的普通图片，把它的扩展名加入 IMAGE_EXTENSIONS。"
        ),
        "junk": IgnoredWords("按名字可知是系统或编辑器的文件", _NOTHING),
        "system_folder": IgnoredWords("系统文件夹（如回收站），没有进入", "如其中有要导入的文件，请移到患者目录。"),
        "special_file": IgnoredWords("不是普通文件（管道、套接字或设备）", _NOTHING),
        "vanished": IgnoredWords("扫描时还在，随后被移走或删除", "如仍需导入，请放回后重新导入。"),
        "for_processing": IgnoredWords(
            "探测器的原始数据（FOR PROCESSING），按 SKIP_FOR_PROCESSING 忽略",
            "通常旁边另有处理后的图像；确需导入时设 SKIP_FOR_PROCESSING=false 后重新导入。",
        ),
        OUTSIDE_ROOTS: IgnoredWords(
            "链接的目标不在允许的根目录之内，或在 OUTPUT_DIR、DATA_DIR 之内",
            OUTSIDE_HINT,
        ),
        "symlink_duplicate": IgnoredWords("链接的目标已由别处导入", _NOTHING),
        "broken_symlink": IgnoredWords("链接的目标不存在，或链接成环", "请修复或删除这个链接。"),
        "symlink_unreadable": IgnoredWords("没有权限查看链接的目标", "请检查目标和上级目录的读取权限，然后重新导入。"),
    }
)
"""Reason of an ignored file → words."""


def ignored_words(reason: str) -> IgnoredWords:
    """The words of a reason. A row of another version may have a reason that this version does not know."""
    return IGNORED_WORDS.get(reason, IgnoredWords(f"已忽略（{reason}）", ""))
