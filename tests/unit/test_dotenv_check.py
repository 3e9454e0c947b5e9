"""A ``.env`` that would be read otherwise than it is meant is refused, with line and setting, never with a value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config import Settings, doubtful_names, load_settings
from errors import ConfigurationError

SECRET = "sEcret-9"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def refusal(env_file: Path, content: str | bytes) -> str:
    env_file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError) as refused:
        load_settings(env_file)
    assert SECRET not in refused.value.detail
    assert str(env_file) in refused.value.detail
    return refused.value.detail


@pytest.mark.parametrize(
    ("content", "line", "setting"),
    [
        ('DICOM_SOURCE_PATH="/data/dicom\n', 1, "DICOM_SOURCE_PATH"),
        ("PORT=8001\n\n# roots\n\nDICOM_SOURCE_PATH='/data/dicom\n", 5, "DICOM_SOURCE_PATH"),
        ("PORT=8001\r\nDICOM_SOURCE_PATH='/data/dicom\r\n", 2, "DICOM_SOURCE_PATH"),
        ('\ufeffDICOM_SOURCE_PATH="/data/dicom', 1, "DICOM_SOURCE_PATH"),
        ('DICOM_SOURCE_PATH="C:\\dicom\\"\nPORT=8001\n', 1, "DICOM_SOURCE_PATH"),
        ('DICOM_SOURCE_PATH="/a" /b\n', 1, "DICOM_SOURCE_PATH"),
        ('export DICOM_SOURCE_PATH="/a\n', 1, "DICOM_SOURCE_PATH"),
        ("  dicom_source_path = '/a\n", 1, "DICOM_SOURCE_PATH"),
        (f"# a comment\nAPI_TOKEN='{SECRET}\n", 2, "API_TOKEN"),
        ("DICOM_SOURCE_PATH /data\n", 1, "DICOM_SOURCE_PATH"),
        ("set DICOM_SOURCE_PATH=/data\n", 1, ""),
        ("DICOM_SOURCE_PATH: /data\n", 1, "DICOM_SOURCE_PATH"),
        ("=/data\n", 1, ""),
        # escapes within double quotes become control characters
        ('DICOM_SOURCE_PATH="D:\\new\\table"\n', 1, "DICOM_SOURCE_PATH"),
        ('OUTPUT_DIR="E:\\backup\\temp"\n', 1, "OUTPUT_DIR"),
        ('PORT=8001\nDATA_DIR="D:\\radiology\\final"\n', 2, "DATA_DIR"),
        (f'API_TOKEN="{SECRET}\\n"\n', 1, "API_TOKEN"),
        # without "="
        ("PORT=8001\nDICOM_SOURCE_PATH\n", 2, "DICOM_SOURCE_PATH"),
        ("export DICOM_SOURCE_PATH\n", 1, "DICOM_SOURCE_PATH"),
        (f"API_TOKEN=x\n{SECRET}\n", 2, ""),
        ("DICOM_SOURCE_PATH＝/data\n", 1, "DICOM_SOURCE_PATH"),
        # what the eye does not see
        ("PORT=8001\n\u200bDICOM_SOURCE_PATH=/data\n", 2, ""),
        ("PORT=8001\n\ufeffDICOM_SOURCE_PATH=/data\n", 2, ""),
        ("ＤICOM_SOURCE_PATH=/data\n", 1, ""),
        ("PORT=8001\nDICOM_SOURCE_PATH=/da\0ta\n", 2, "DICOM_SOURCE_PATH"),
        ("PORT=8001\n".encode("utf-16-le"), 1, ""),
        # lines that an earlier quote swallows
        ("LOG_FILE='/var/log/x\nDICOM_SOURCE_PATH=/data\nTIMEZONE='\n", 1, "LOG_FILE"),
        ('LOG_FILE="/var/log/x\nDICOM_SOURCE_PATH="/data"\n', 1, "LOG_FILE"),
        (f'API_TOKEN="{SECRET}\n# roots\nDICOM_SOURCE_PATH=/data\nAPI_TOKEN="# new\n', 1, "API_TOKEN"),
        ("GRAFANA='x\nDICOM_SOURCE_PATH=/data\nB='\n", 1, ""),
        ("LOG_FILE='/var/log/x\u2028DICOM_SOURCE_PATH=/data'\n", 1, "LOG_FILE"),
        # a value that is lost
        ("PORT=8001\nDICOM_SOURCE_PATH=${NO_SUCH_VARIABLE}\n", 2, "DICOM_SOURCE_PATH"),
        ("SERVICE_API_KEY='${NO_SUCH_VARIABLE}'\n", 1, "SERVICE_API_KEY"),
        ("DICOM_SOURCE_PATH=/data\nPORT=8001\nDICOM_SOURCE_PATH=\n", 1, "DICOM_SOURCE_PATH"),
        # not UTF-8
        ("PORT=8001\nOUTPUT_DIR=图像\n".encode("gbk"), 2, ""),
        ("PORT=8001\n".encode("utf-16"), 1, ""),
    ],
)
def test_a_line_that_is_not_what_it_seems_is_named(
    env_file: Path, content: str | bytes, line: int, setting: str
) -> None:
    told = refusal(env_file, content)
    assert f"第 {line} 行" in told
    if setting:
        assert f"（{setting}）" in told
    else:
        assert "DICOM_SOURCE_PATH" not in told


@pytest.mark.parametrize(
    "content", ["DICOM_SOURCE_PATH /data\n", "PORT 8001\n", "DICOM_SOURCE_PATH\n", "PORT: 8001\n", "'PORT 8001\n"]
)
def test_of_a_line_without_an_equals_sign_that_is_said(env_file: Path, content: str) -> None:
    assert "没有“=”" in refusal(env_file, content)


@pytest.mark.parametrize("content", ["PORT='8001\n", "set PORT=8001\n", 'PORT="8001" x\n', "=8001\n"])
def test_of_any_other_line_that_cannot_be_read_the_quotes_are_named(env_file: Path, content: str) -> None:
    assert "引号没有成对" in refusal(env_file, content)


@pytest.mark.parametrize("value", ['" "', ";", "' ; '", "\t;"])
def test_roots_of_blanks_and_semicolons_are_refused(
    env_file: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text(f"DICOM_SOURCE_PATH={value}\n", "utf-8")
    with pytest.raises(ConfigurationError, match="DICOM_SOURCE_PATH：没有写出任何目录"):
        load_settings(env_file)
    monkeypatch.setenv("DICOM_SOURCE_PATH", value.strip("'\""))
    with pytest.raises(ConfigurationError, match="DICOM_SOURCE_PATH：没有写出任何目录"):
        load_settings(None)


@pytest.mark.parametrize(
    ("content", "roots"),
    [
        ("DICOM_SOURCE_PATH=\n", ()),
        ('DICOM_SOURCE_PATH=""\n', ()),
        ("DICOM_SOURCE_PATH= # any\n", ()),
        ("# DICOM_SOURCE_PATH='x\n", ()),
        ("\ufeffDICOM_SOURCE_PATH=/data\r\nPORT=8001\r\n", ("/data",)),
        ("export DICOM_SOURCE_PATH='/data;/more' # two\n", ("/data", "/more")),
        ("DICOM_SOURCE_PATH=/old\nDICOM_SOURCE_PATH=/data\n", ("/data",)),
        ('  DICOM_SOURCE_PATH = "/data/it\'s" \n', ("/data/it's",)),
        ("DICOM_SOURCE_PATH=${NO_SUCH_VARIABLE:-/data}\n", ("/data",)),
        ("DICOM_SOURCE_PATH=/data\nCERTIFICATE='-----BEGIN\nMIIB=\n-----END'\n", ("/data",)),
        ("DICOM_SOURCE_PATH=/data\nfoo.bar-baz=1", ("/data",)),
        ("", ()),
        ("\n\n  \n", ()),
    ],
)
def test_a_sound_file_is_read_as_before(env_file: Path, content: str, roots: tuple[str, ...]) -> None:
    env_file.write_bytes(content.encode())
    assert load_settings(env_file).dicom_source_path == tuple(os.path.abspath(root) for root in roots)


def test_repeated_settings_are_listed_with_their_lines(env_file: Path) -> None:
    env_file.write_text("PORT=1\nGRAFANA=1\n\nport=2\nGRAFANA=2\nHOST=127.0.0.1\nPORT=3\n", "utf-8")
    assert "PORT 写在第 1, 4, 7 行，以最后一行为准" in [chinese for chinese, _ in doubtful_names(env_file)]


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    folder, link, pipe, secret = (tmp_path / name for name in ("folder", "link", "pipe", "secret"))
    folder.mkdir()
    link.symlink_to(tmp_path / "nowhere")
    os.mkfifo(pipe)
    secret.write_text("PORT=8001\n", "utf-8")
    secret.chmod(0)
    for path in (folder, link, pipe, *([secret] if os.geteuid() else [])):  # root may read everything
        with pytest.raises(ConfigurationError, match="无法读取"):
            load_settings(path)


def test_no_file_and_the_null_device_mean_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / ".env") == load_settings(os.devnull) == load_settings(None)
