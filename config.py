"""Settings: environment beats ``.env``; nothing happens on import. ``.env.example`` lists every one of them."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import time
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.dotenv_check import ENCODING, check_env_file
from domain.validation_messages import words_for
from errors import ConfigurationError
from models import DemographicsMismatchPolicy, PatientMismatchPolicy

ENV_FILE = ".env"
XIEHE_MODEL_PORT = 8001
"""XieHe's deployment runs the service of its AP model at this port, perhaps on this machine. It is PORT's default."""
IMAGE_KINDS = ("png", "jpg", "jpeg", "tif", "tiff", "bmp")
"""What IMAGE_EXTENSIONS may list."""
REMOVED_SETTINGS = {
    "LOG_MAX_MB": "20",
    "LOG_KEEP": "5",
    "BACKEND_TIMEOUT_SECONDS": "60",
    "BACKEND_ATTEMPTS": "5",
    "BACKEND_FIRST_WAIT_SECONDS": "0.5",
    "BACKEND_MAX_WAIT_SECONDS": "20",
    "BACKEND_CONFIRM_SECONDS": "180",
}
"""Settings of earlier versions and the values that are fixed now."""
_SUB_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
"""Segments that no proxy and no browser rewrites; none is ``.`` or ``..``."""


def _split(value: object, separator: str = ",") -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value


def _split_roots(value: object) -> object:
    roots = _split(value, ";")
    if value and not roots:  # blanks or semicolons alone are a mistake; "any folder" would be a wrong guess
        raise ValueError("没有写出任何目录：请填写根目录，或让它完全为空")
    return roots


def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))


def parse_active_hours(text: str) -> tuple[time, time]:
    """``22:00-06:00`` as two times of day. Equal ones are refused: all day is the empty setting."""
    try:
        begin, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError as error:
        raise ValueError("ACTIVE_HOURS 的格式应为 22:00-06:00") from error
    if begin == end or begin.tzinfo or end.tzinfo:
        raise ValueError("ACTIVE_HOURS 的起止时间不能相同，格式应为 22:00-06:00")
    return begin, end


def sub_path_of(text: str) -> str | None:
    """``/dicom`` and ``/dicom/`` as ``/dicom``, ``/`` as an empty text; None if it is no prefix of paths."""
    path = text.rstrip("/")
    return path if _SUB_PATH.fullmatch(path) else None


def _header_value(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if " " in text or not (text.isascii() and text.isprintable()):
        raise ValueError("只能用英文字母、数字和英文符号，不能有空格或中文：它要放进 HTTP 请求头")
    return key


def _named_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins:
        raise ValueError("不能是 *：请逐个写出管理界面的地址，例如 http://xiehe.hospital:3000")
    return origins


def _sub_path(text: str) -> str:
    if (path := sub_path_of(text)) is None:
        raise ValueError("应为 / 开头的路径，例如 /dicom，只用英文字母、数字和 . _ ~ -")
    return path


def _networks(proxies: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(proxy, strict=False)) for proxy in proxies)
    except ValueError as error:
        raise ValueError("应为代理的 IP 地址或网段，逗号分隔，例如 127.0.0.1,10.0.0.0/24") from error


def _backend_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("BACKEND_URL 必须以 http:// 或 https:// 开头")
    if "?" in url or "#" in url:
        raise ValueError("BACKEND_URL 只写到地址和路径为止，不能含 ? 或 #")
    try:
        valid = bool(urlsplit(url).hostname) and urlsplit(url).port != 0  # a port above 65535 raises
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("BACKEND_URL 的主机名或端口无效，应如 http://xiehe.hospital:8000")
    return url.rstrip("/").removesuffix("/api/v1")


def _month_format(text: str) -> str:
    if text.count("%Y") != 1 or text.count("%m") != 1 or text.count("%") != 2 or "/" in text:
        raise ValueError("MONTH_FOLDER_FORMAT 必须恰好包含一个 %Y 和一个 %m，例如 %Y-%m 或 %Y%m")
    return text


def _image_kinds(extensions: tuple[str, ...]) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(extension.lower().removeprefix(".") for extension in extensions))
    if not set(kinds) <= set(IMAGE_KINDS):
        raise ValueError(f"IMAGE_EXTENSIONS 只能列出 {'、'.join(IMAGE_KINDS)}，用逗号分隔，例如 png,jpg")
    return kinds


def _dask_address(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        complete = parts.scheme == "dask" and parts.hostname and parts.port and text == f"dask://{parts.netloc}"
    except ValueError:
        return None
    return parts.netloc if complete and "@" not in parts.netloc else None


def _executor(text: str) -> str:
    if text != "local" and _dask_address(text) is None:
        raise ValueError("应为 local 或 dask://主机:端口，例如 dask://10.0.0.5:8786")
    return text


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("TIMEZONE 不是已知的时区名，例如 Asia/Shanghai") from error
    return name


def _hours(text: str) -> str:
    parse_active_hours(text)
    return text


def _http_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("应为 http:// 或 https:// 开头的完整地址")
    return url


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Folder = Annotated[str, AfterValidator(_absolute)]
Roots = Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(_split_roots)]


class Settings(BaseSettings):
    """All settings, validated; frozen. Names are the environment's in lower case."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_file_encoding=ENCODING, extra="ignore", frozen=True, env_ignore_empty=True
    )

    # service
    host: str = "127.0.0.1"
    port: int = Field(8001, ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    log_file: str | None = None
    service_api_key: Annotated[SecretStr, AfterValidator(_header_value)] | None = None
    cors_origins: Annotated[CommaList, AfterValidator(_named_origins)] = ()
    allowed_hosts: CommaList = ()
    root_path: Annotated[str, AfterValidator(_sub_path)] | None = None
    trusted_proxy: Annotated[CommaList, AfterValidator(_networks)] = ()

    # XieHe
    backend_url: Annotated[str, AfterValidator(_backend_url)] = "http://localhost:8000"
    api_token: SecretStr | None = None
    backend_username: str | None = None
    backend_password: SecretStr | None = None
    backend_landing_seconds: float = Field(30.0, ge=0)
    backend_probe_seconds: float = Field(15.0, gt=0)

    # folders
    dicom_source_path: Roots = ()
    output_dir: Folder = "./output"
    data_dir: Folder = "./data"
    keep_jpg: bool = True

    # images
    output_format: Literal["jpg", "png"] = "jpg"
    jpg_quality: int = Field(95, ge=1, le=100)
    default_window_center: float = 40.0
    default_window_width: float = Field(400.0, ge=1)
    square_pixels: bool = True
    draw_overlays: bool = False
    skip_for_processing: bool = False
    max_frames_per_file: int = Field(500, ge=1, le=10_000)
    max_file_mb: int = Field(2048, ge=1)
    image_extensions: Annotated[CommaList, AfterValidator(_image_kinds)] = ()
    exam_rules_file: str | None = None

    # render processes
    max_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    render_timeout_seconds: float = Field(120.0, gt=0)
    render_memory_mb: int = Field(2048, ge=256)
    render_executor: Annotated[str, AfterValidator(_executor)] = "local"

    # load on XieHe
    upload_concurrency: int = Field(6, ge=1, le=64)
    uploads_per_second: float | None = Field(None, gt=0)
    active_hours: Annotated[str, AfterValidator(_hours)] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] | None = None

    # identity and tasks
    on_patient_mismatch: PatientMismatchPolicy = PatientMismatchPolicy.HOLD
    on_demographics_mismatch: DemographicsMismatchPolicy = DemographicsMismatchPolicy.HOLD_IF_BOTH
    month_folder_format: Annotated[str, AfterValidator(_month_format)] = "%Y-%m"
    auto_resume: bool = True
    history_days: int = Field(30, ge=1, le=36_500)

    # scheduled imports and webhooks
    import_schedule: str | None = None
    import_schedule_path: Roots = ()
    webhook_url: Annotated[str, AfterValidator(_http_address)] | None = None
    webhook_secret: SecretStr | None = None

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if (self.backend_username is None) != (self.backend_password is None):
            raise ValueError("BACKEND_USERNAME 与 BACKEND_PASSWORD 必须同时设置")
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError("设置了 WEBHOOK_URL 就必须设置 WEBHOOK_SECRET：接收方靠签名辨别通知的真伪")
        if self.import_schedule is not None and not (self.import_schedule_path or self.dicom_source_path):
            raise ValueError("设置了 IMPORT_SCHEDULE，就要设置 IMPORT_SCHEDULE_PATH 或 DICOM_SOURCE_PATH")
        return self

    @property
    def dask_address(self) -> str | None:
        """``host:port`` of the Dask scheduler in RENDER_EXECUTOR; None for rendering on this machine."""
        return _dask_address(self.render_executor)

    @property
    def loopback_only(self) -> bool:
        """True if HOST is reachable from this machine alone."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


_NAMES = [name.upper() for name in Settings.model_fields]


def load_settings(env_file: str | Path | None = ENV_FILE) -> Settings:
    """Reads environment and ``.env``.

    Raises:
        ConfigurationError: names each wrong setting or line and what to change. It never shows a value, which may be a
            secret. Also if other machines can reach the service and SERVICE_API_KEY is empty: callers write into
            patients' records.
    """
    if env_file is not None:
        check_env_file(env_file, _NAMES)
    try:
        settings = Settings(_env_file=env_file)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        problems = (f"{str(item['loc'][0]).upper() if item['loc'] else '设置'}：{words_for(item)}" for item in found)
        raise ConfigurationError(f"设置有误：{'；'.join(problems)}") from None
    if not settings.loopback_only and settings.service_api_key is None:
        raise ConfigurationError(
            f"HOST={settings.host} 会让其他机器访问本服务，但没有设置密钥。"
            "两种办法：设置 SERVICE_API_KEY，或改回 HOST=127.0.0.1"
        )
    return settings


def doubtful_names(env_file: str | Path = ENV_FILE) -> list[tuple[str, str]]:
    """What is probably not meant so, in Chinese and English: unknown, repeated and removed names.

    Raises:
        ConfigurationError: ``.env`` cannot be read.
    """
    values = dotenv_values(env_file, encoding=ENCODING)
    in_file = [name.upper() for name in values]
    found = [_unknown(name) for name in in_file if name not in _NAMES and name not in REMOVED_SETTINGS]
    for repeated in check_env_file(env_file, _NAMES):
        name, lines = repeated.name, ", ".join(map(str, repeated.lines))
        found.append(
            (f"{name} 写在第 {lines} 行，以最后一行为准", f"{name} is on lines {lines} of .env; the last one counts")
        )
    set_names = {name.upper() for name, value in (*values.items(), *os.environ.items()) if value}
    for name, value in REMOVED_SETTINGS.items():
        if name in set_names:
            found.append(
                (f"设置 {name} 已取消，固定为 {value}", f"the setting {name} is removed, its value is {value}")
            )
    return found


def _unknown(name: str) -> tuple[str, str]:
    nearest = get_close_matches(name, _NAMES, n=1)
    chinese, english = (f"，是否指 {nearest[0]}？", f"; perhaps {nearest[0]} is meant") if nearest else ("", "")
    return f"没有名为 {name} 的设置{chinese}", f"{name} in .env is no setting{english}"
