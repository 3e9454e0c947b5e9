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
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.dotenv_check import ENCODING, RepeatedName, check_env_file
from domain.validation_messages import words_for
from errors import ConfigurationError
from models import DemographicsMismatchPolicy, PatientMismatchPolicy

ENV_FILE = ".env"
XIEHE_MODEL_PORT = 8001
"""Where XieHe's deployment runs the service of its AP model: perhaps on this machine, and it is PORT's default."""
IMAGE_KINDS = ("png", "jpg", "jpeg", "tif", "tiff", "bmp")
"""What IMAGE_EXTENSIONS may list."""
_SUB_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
"""Segments that no proxy and no browser rewrites; none is ``.`` or ``..``."""


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
    log_max_mb: int = Field(20, ge=1)
    log_keep: int = Field(5, ge=1)
    service_api_key: SecretStr | None = None
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    root_path: str | None = None
    trusted_proxy: Annotated[tuple[str, ...], NoDecode] = ()

    # XieHe
    backend_url: str = "http://localhost:8000"
    api_token: SecretStr | None = None
    backend_username: str | None = None
    backend_password: SecretStr | None = None
    backend_timeout_seconds: float = Field(60.0, gt=0)
    backend_attempts: int = Field(5, ge=5, le=20)
    backend_first_wait_seconds: float = Field(0.5, gt=0)
    backend_max_wait_seconds: float = Field(20.0, gt=0)
    backend_landing_seconds: float = Field(30.0, ge=0)
    backend_confirm_seconds: float = Field(180.0, ge=0)
    backend_probe_seconds: float = Field(15.0, gt=0)

    # folders
    dicom_source_path: Annotated[tuple[str, ...], NoDecode] = ()
    output_dir: str = "./output"
    data_dir: str = "./data"
    keep_jpg: bool = True

    # pictures
    output_format: Literal["jpg", "png"] = "jpg"
    jpg_quality: int = Field(95, ge=1, le=100)
    default_window_center: float = 40.0
    default_window_width: float = Field(400.0, ge=1)
    square_pixels: bool = True
    draw_overlays: bool = False
    skip_for_processing: bool = False
    max_frames_per_file: int = Field(500, ge=1, le=10_000)
    max_file_mb: int = Field(2048, ge=1)
    image_extensions: Annotated[tuple[str, ...], NoDecode] = ()
    exam_rules_file: str | None = None

    # render processes
    max_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    render_timeout_seconds: float = Field(120.0, gt=0)
    render_memory_mb: int = Field(2048, ge=256)
    render_executor: str = "local"

    # kindness to the target
    upload_concurrency: int = Field(6, ge=1, le=64)
    uploads_per_second: float | None = Field(None, gt=0)
    active_hours: str | None = None
    timezone: str | None = None

    # identity and tasks
    on_patient_mismatch: PatientMismatchPolicy = PatientMismatchPolicy.HOLD
    on_demographics_mismatch: DemographicsMismatchPolicy = DemographicsMismatchPolicy.HOLD_IF_BOTH
    month_folder_format: str = "%Y-%m"
    auto_resume: bool = True
    history_days: int = Field(30, ge=1, le=36_500)

    # by itself, and telling others
    import_schedule: str | None = None
    import_schedule_path: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None

    @field_validator("service_api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key else ""
        if " " in text or not (text.isascii() and text.isprintable()):
            raise ValueError("只能用英文字母、数字和英文符号，不能有空格或中文：它要放进 HTTP 请求头")
        return key

    @field_validator("cors_origins", "allowed_hosts", "trusted_proxy", "image_extensions", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return _split(value, ",")

    @field_validator("dicom_source_path", "import_schedule_path", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        roots = _split(value, ";")
        if value and not roots:  # blanks or semicolons alone are a mistake, and "any folder" is no answer to one
            raise ValueError("没有写出任何目录：请填写根目录，或让它完全为空")
        return roots

    @field_validator("dicom_source_path", "import_schedule_path")
    @classmethod
    def _absolute_roots(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(os.path.abspath(os.path.expanduser(root)) for root in roots)

    @field_validator("output_dir", "data_dir")
    @classmethod
    def _absolute(cls, folder: str) -> str:
        return os.path.abspath(os.path.expanduser(folder))

    @field_validator("root_path")
    @classmethod
    def _sub_path(cls, text: str | None) -> str | None:
        path = sub_path_of(text or "")
        if path is None:
            raise ValueError("应为 / 开头的路径，例如 /dicom，只用英文字母、数字和 . _ ~ -")
        return path

    @field_validator("trusted_proxy")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ipaddress.ip_network(proxy, strict=False)) for proxy in proxies)
        except ValueError as error:
            raise ValueError("应为代理的 IP 地址或网段，逗号分隔，例如 127.0.0.1,10.0.0.0/24") from error

    @field_validator("backend_url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("BACKEND_URL 必须以 http:// 或 https:// 开头")
        if "?" in url or "#" in url:
            raise ValueError("BACKEND_URL 只写到地址和路径为止，不能含 ? 或 #")
        return url.rstrip("/").removesuffix("/api/v1")

    @field_validator("month_folder_format")
    @classmethod
    def _year_and_month(cls, text: str) -> str:
        if text.count("%Y") != 1 or text.count("%m") != 1 or text.count("%") != 2 or "/" in text:
            raise ValueError("MONTH_FOLDER_FORMAT 必须恰好包含一个 %Y 和一个 %m，例如 %Y-%m 或 %Y%m")
        return text

    @field_validator("image_extensions")
    @classmethod
    def _known_images(cls, extensions: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(dict.fromkeys(extension.lower().removeprefix(".") for extension in extensions))
        if not set(plain) <= set(IMAGE_KINDS):
            raise ValueError(f"IMAGE_EXTENSIONS 只能列出 {'、'.join(IMAGE_KINDS)}，用逗号分隔，例如 png,jpg")
        return plain

    @field_validator("render_executor")
    @classmethod
    def _known_executor(cls, text: str) -> str:
        if text != "local" and _dask_address(text) is None:
            raise ValueError("应为 local 或 dask://主机:端口，例如 dask://10.0.0.5:8786")
        return text

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError("TIMEZONE 不是已知的时区名，例如 Asia/Shanghai") from error
        return name

    @field_validator("active_hours")
    @classmethod
    def _hours(cls, text: str | None) -> str | None:
        if text is not None:
            parse_active_hours(text)
        return text

    @field_validator("webhook_url")
    @classmethod
    def _http_address(cls, url: str | None) -> str | None:
        if url is not None and not _is_http_address(url):
            raise ValueError("应为 http:// 或 https:// 开头的完整地址")
        return url

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_named(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins:
            raise ValueError("不能是 *：请逐个写出管理界面的地址，例如 http://xiehe.hospital:3000")
        return origins

    @model_validator(mode="after")
    def _password_goes_with_name(self) -> Settings:
        if (self.backend_username is None) != (self.backend_password is None):
            raise ValueError("BACKEND_USERNAME 与 BACKEND_PASSWORD 必须同时设置")
        return self

    @model_validator(mode="after")
    def _notices_are_signed(self) -> Settings:
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError("设置了 WEBHOOK_URL 就必须设置 WEBHOOK_SECRET：接收方靠签名辨别通知的真伪")
        return self

    @model_validator(mode="after")
    def _schedule_has_a_source(self) -> Settings:
        if self.import_schedule is not None and not (self.import_schedule_path or self.dicom_source_path):
            raise ValueError("设置了 IMPORT_SCHEDULE，就要设置 IMPORT_SCHEDULE_PATH 或 DICOM_SOURCE_PATH")
        return self

    @property
    def dask_address(self) -> str | None:
        """``host:port`` of the Dask scheduler that RENDER_EXECUTOR names; None for rendering on this machine."""
        return _dask_address(self.render_executor)

    @property
    def loopback_only(self) -> bool:
        """True where HOST is reachable from this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_active_hours(text: str) -> tuple[time, time]:
    """``22:00-06:00`` as two times of day; equal ones are refused (all day is the empty setting)."""
    try:
        begin, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError as error:
        raise ValueError("ACTIVE_HOURS 的格式应为 22:00-06:00") from error
    if begin == end or begin.tzinfo or end.tzinfo:
        raise ValueError("ACTIVE_HOURS 的起止时间不能相同，格式应为 22:00-06:00")
    return begin, end


def sub_path_of(text: str) -> str | None:
    """``/dicom`` and ``/dicom/`` as ``/dicom``, ``/`` as nothing; None for what is no prefix of paths."""
    path = text.rstrip("/")
    return path if _SUB_PATH.fullmatch(path) else None


def load_settings(env_file: str | Path | None = ENV_FILE) -> Settings:
    """Reads environment and ``.env``.

    Raises:
        ConfigurationError: names each wrong setting or line and what to change; never shows a value (it may be a
            secret).
    """
    if env_file is not None:
        check_env_file(env_file, known_names())
    try:
        settings = Settings(_env_file=env_file)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        problems = "；".join(f"{_setting_of(item['loc'])}：{words_for(item)}" for item in found)
        raise ConfigurationError(f"设置有误：{problems}") from None
    refuse_open_service(settings)
    return settings


def known_names() -> list[str]:
    """All settings, as the environment has them."""
    return [name.upper() for name in Settings.model_fields]


def repeated_names(env_file: str | Path = ENV_FILE) -> tuple[RepeatedName, ...]:
    """Settings on more than one line of ``.env``. Raises ConfigurationError."""
    return check_env_file(env_file, known_names())


def unknown_names(env_file: str | Path = ENV_FILE) -> dict[str, str | None]:
    """Names in ``.env`` that are no setting's, each with the setting that is spelt most like it."""
    known = known_names()
    strange = [name for name in dotenv_values(env_file, encoding=ENCODING) if name.upper() not in known]
    return {name: next(iter(get_close_matches(name.upper(), known, n=1)), None) for name in strange}


def refuse_open_service(settings: Settings) -> None:
    """A service that other machines can reach needs a key: whoever drives it writes into patients' records.

    Raises:
        ConfigurationError: HOST is not loopback and SERVICE_API_KEY is empty.
    """
    if not settings.loopback_only and settings.service_api_key is None:
        raise ConfigurationError(
            f"HOST={settings.host} 会让其他机器访问本服务，但没有设置密钥。"
            "两种办法：设置 SERVICE_API_KEY，或改回 HOST=127.0.0.1"
        )


def _is_http_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _dask_address(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        whole = parts.scheme == "dask" and parts.hostname and parts.port and text == f"dask://{parts.netloc}"
    except ValueError:
        return None
    return parts.netloc if whole and "@" not in parts.netloc else None


def _split(value: object, separator: str) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value


def _setting_of(location: tuple[int | str, ...]) -> str:
    return str(location[0]).upper() if location else "设置"
