"""What the doctor's checks return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TITLES = {
    "settings": ("设置", "settings"),
    "env_file": ("设置文件", ".env"),
    "source": ("源目录", "source"),
    "output_dir": ("OUTPUT_DIR", "OUTPUT_DIR"),
    "data_dir": ("DATA_DIR", "DATA_DIR"),
    "token": ("令牌", "token"),
    "confinement": ("渲染进程隔离", "render processes"),
    "exam_rules": ("体位规则", "exam rules"),
    "time": ("时间", "time"),
    "service": ("本服务", "service"),
    "data_dir_owner": ("DATA_DIR", "DATA_DIR"),
    "history": ("历史库", "history"),
    "output": ("服务：OUTPUT_DIR", "service: OUTPUT_DIR"),
    "decoders": ("解码器", "decoders"),
    "sources": ("服务：源目录", "service: sources"),
    "background": ("后台工作", "background work"),
    "backend": ("XieHe", "XieHe"),
}
"""Of each finding's name, in Chinese and English."""


class CheckResult(StrEnum):
    """How bad it is."""

    GO = "go"
    WARNING = "warning"
    """An import works, but an operator should look."""
    NO_GO = "no_go"
    """An import cannot work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result.

    Attributes:
        name: stable; a key of :data:`TITLES`.
        verdict: how bad it is.
        detail: what was found.
        cure: what to do, empty if nothing.
    """

    name: str
    verdict: CheckResult
    detail: str
    cure: str = ""
