"""With no descriptor left nothing can be opened; that is never taken for the fault of a file, a source or XieHe."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from api_client import ClientOptions, Credentials, XieHeClient, storage_etag
from dicom.rendering.image_files import write_whole
from dicom_processor import read_file
from domain.descriptors import are_left, check_descriptors, ran_out
from errors import OutOfDescriptorsError
from history.database import prepare
from importing.images.image_stream import ImageStream
from importing.runs.run_context import pause_reason
from importing.uploads.image_upload import _keep
from models import PauseReason, ReadRequest, RenderOptions
from source import ResolvedSource, TreeRules, browse, check_present, count, month_folders, resolve_source, walk
from source.layout import holds_month
from tests.dicom_files import a_dicom_file, write_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
RULES = TreeRules()


@contextmanager
def none_left() -> Iterator[None]:
    """This process has no descriptor left."""
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while True:
            try:
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield


@pytest.fixture
def root(tmp_path: Path) -> str:
    files = {"a.dcm": a_dicom_file()}
    return str(write_tree(tmp_path / "dicom", {"2024-01": {"P001": files, "P002": files}}))


def a_request(path: str) -> ReadRequest:
    return ReadRequest(
        path, named_dicom=True, output_prefix=f"{path}.out", render=RenderOptions(), max_file_bytes=2**30
    )


Action = Callable[[str, ResolvedSource], object]
ACTIONS: dict[str, Action] = {
    "walk": lambda _, source: list(walk(source, RULES)),
    "count": lambda _, source: list(count(source, RULES, lambda: False)),
    "months": lambda _, source: month_folders(source, RULES),
    "present": lambda _, source: check_present(source),
    "resolve": lambda root, _: resolve_source(root, RULES),
    "browse": lambda root, _: browse(root, RULES),
    "layout": lambda root, _: holds_month(root, "%Y-%m", RULES.area()),
    "source file": lambda root, _: read_file(a_request(f"{root}/2024-01/P001/a.dcm")),
    "picture to upload": lambda root, _: storage_etag(f"{root}/2024-01/P001/a.dcm"),
    "picture to write": lambda root, _: write_whole(f"{root}/a.jpg", b"x"),
    "picture to keep": lambda root, _: _keep(f"{root}/2024-01/P001/a.dcm", f"{root}/kept", "a.jpg"),
    "picture to show": lambda root, _: ImageStream.open(f"{root}/2024-01/P001/a.dcm", "image/jpeg", kept=True),
    "history": lambda root, _: prepare(f"{root}/history.sqlite3"),
}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_no_descriptor_is_its_own_fault_everywhere(action: Action, root: str) -> None:
    source = resolve_source(root, RULES)
    with pytest.raises(OutOfDescriptorsError) as caught, none_left():
        action(root, source)
    assert pause_reason(caught.value) is PauseReason.OUT_OF_DESCRIPTORS
    assert "描述符" in caught.value.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_descriptor_for_a_connection_is_not_xiehes_fault(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = ClientOptions(f"http://{host}:{server.getsockname()[1]}", Credentials(), connect_timeout_s=5.0)
        async with XieHeClient.open(options) as client:
            await asyncio.get_running_loop().getaddrinfo("localhost", 80)  # the thread that asks is there
            with pytest.raises(OutOfDescriptorsError), none_left():
                await client.detect_contract()


def test_other_faults_are_left_to_others() -> None:
    for error in (
        PermissionError(13, "no"),
        FileNotFoundError(2, "no"),
        OSError(28, "full"),
        socket.gaierror(-2, "no"),
    ):
        assert not ran_out(error)
        check_descriptors(error)
    assert are_left(64)
    with none_left():
        assert not are_left(1)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    script = (
        "import resource as r; from domain import descriptors; r.setrlimit(r.RLIMIT_NOFILE, (200, 900)); "
        "print(descriptors.raise_limit(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["900", "900", "900"]
