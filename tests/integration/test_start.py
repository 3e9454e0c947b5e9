"""Starting where something stands in the way: told in words, before anything is opened."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from errors import ConfigurationError
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import REPOSITORY, ColdService, ServiceProcess
from tests.waiting import PATIENCE_S
from web.server.sockets import listening_sockets

NO_BACKEND = "http://127.0.0.1:9"


def refused_start(service: ServiceProcess) -> str:
    """The log of a start that fails."""
    process = service.launch()
    assert process.wait(PATIENCE_S) == 1
    return service.log.read_text("utf-8")


def test_a_taken_port_is_told_by_its_setting_and_nothing_is_opened(tmp_path: Path) -> None:
    service = ColdService(tmp_path / "service", NO_BACKEND)
    with service:
        second = ColdService(tmp_path / "second", NO_BACKEND, port=service.port)
        told = refused_start(second)
    assert f"configuration_error: PORT={service.port}" in told
    assert "已被占用" in told
    assert not (tmp_path / "second" / "data").exists()


@pytest.mark.parametrize(("port", "named"), [(8001, True), (8002, False)])
def test_port_8001_may_be_taken_by_xiehes_model_service(port: int, named: bool) -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # another program has it already
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        with pytest.raises(ConfigurationError) as refused, listening_sockets("127.0.0.1", port):
            pass
    assert f"PORT={port}" in refused.value.detail
    assert ("AP 模型服务" in refused.value.detail) is named


def test_an_address_that_is_not_this_machines_is_told(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "service", NO_BACKEND, host="192.0.2.1", service_api_key="k")
    assert "HOST 不是本机的地址" in refused_start(service)


def test_a_name_that_nobody_knows_is_told(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "service", NO_BACKEND, host="no-such-host.invalid", service_api_key="k")
    assert "HOST=no-such-host.invalid 无法解析" in refused_start(service)


@pytest.mark.parametrize("key", ["密钥", "two words", "tab\tkey", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path, key: str) -> None:
    told = refused_start(ServiceProcess(tmp_path / "service", NO_BACKEND, service_api_key=key))
    assert "SERVICE_API_KEY：只能用英文字母、数字和英文符号" in told
    assert key not in told


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_env_file_of_notepad_is_read(tmp_path: Path, encoding: str) -> None:
    service = ColdService(tmp_path / "service", NO_BACKEND)
    (service.folder / ".env").write_bytes("LOG_LEVEL=INFO\nOUTPUT_DIR=图像\n".encode(encoding))
    service.change(output_dir="")
    with service:
        assert (service.folder / "图像").is_dir()


def test_an_env_file_in_another_encoding_is_refused_in_words(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "service", NO_BACKEND)
    (service.folder / ".env").write_bytes("OUTPUT_DIR=图像\n".encode("gbk"))
    told = refused_start(service)
    assert "configuration_error" in told
    assert "UTF-8" in told
    assert "Traceback" not in told


def test_a_sandbox_whose_port_is_taken_says_so_in_one_line(tmp_path: Path) -> None:
    with SandboxProcess(4, tmp_path / "first") as first:
        options = ("--data-dir", str(tmp_path / "second"), "--token", "t", "--user", "u", "--password", "secret")
        second = subprocess.run(
            [sys.executable, "-m", "sandbox", "--port", str(first.port), *options],
            cwd=REPOSITORY,
            capture_output=True,
            encoding="utf-8",
            env={"PATH": "", "PYTHONUTF8": "1"},
            timeout=PATIENCE_S,
            check=False,
        )
    assert (second.returncode, second.stdout) == (1, "")
    assert len(second.stderr.splitlines()) == 1
    assert f"127.0.0.1:{first.port}" in second.stderr


@pytest.mark.parametrize(
    ("content", "line"), [('DICOM_SOURCE_PATH="/data\n', 1), ("LOG_LEVEL=INFO\nDICOM_SOURCE_PATH=;\n", None)]
)
def test_roots_that_are_lost_in_the_env_file_refuse_the_start(tmp_path: Path, content: str, line: int | None) -> None:
    service = ServiceProcess(tmp_path / "service", NO_BACKEND)
    (service.folder / ".env").write_text(content, "utf-8")
    told = refused_start(service)
    assert "configuration_error" in told
    assert "DICOM_SOURCE_PATH" in told
    assert line is None or f".env 第 {line} 行" in told
    assert "Traceback" not in told
    assert not (service.folder / "data").exists()
