"""A stop signal ends the service in order at any moment of its life, and what was unfinished stays to be resumed."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.service_process import ColdService, ServiceProcess
from tests.integration.warm_start import Order, Started, start_warm
from tests.waiting import PATIENCE_S

NO_BACKEND = "http://127.0.0.1:9"
DURING_THE_START = [
    "_warn",
    "serve",
    "create_app",
    "listening_sockets",
    "open_import_service",
    "History.open",
    "_prepare_folders",
    "XieHeClient.open",
    "renderer_of",
    "Housekeeping.restore_tasks",
    "Housekeeping._restore",
    "TaskRunners.launch",
    "ImportService.run_background_tasks",
    "PauseMonitor.run",
    "open_live_push",
    "Metrics.resume",
    "_Server.capture_signals",
    "Server.startup",
    "Server.main_loop",
]
TWICE = [
    ("Housekeeping.restore_tasks", "ImportService.stop"),
    ("Server.main_loop", "Server.shutdown"),
    ("Server.main_loop", "ImportService.stop"),
    ("Server.main_loop", "TaskRunners.stop"),
]


SIGNAL_AT_IMPORT = """
import os, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT_IMPORT"]:
            print("signal at import of", name, file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.Signals[os.environ["AT_IMPORT_SIGNAL"]])

sys.meta_path.insert(0, AtImport())
"""


class SignalledService(ServiceProcess):
    """Gets ``number`` when it comes to each of ``moments``."""

    def __init__(self, folder: Path, number: str, *moments: str, **settings: object) -> None:
        super().__init__(folder, NO_BACKEND, **settings)
        self._words = [str(Path(__file__).with_name("signal_at.py")), number, *moments]

    def _begin_with(self, order: Order, *streams: int) -> Started:
        return start_warm(Order(self._words, order.folder, order.environment), *streams)

    _begin = _begin_with  # type: ignore[assignment]


@pytest.fixture(scope="module")
def an_interrupted_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR with a task that was under way when its process was killed."""
    folder = tmp_path_factory.mktemp("interrupted")
    source = write_tree(folder / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    with ServiceProcess(folder / "service", NO_BACKEND) as service:
        service.wait(service.start_import(source), "paused")
    return folder / "service" / "data"


def unfinished(folder: Path) -> list[str]:
    with ServiceProcess(folder, NO_BACKEND, auto_resume="false") as service:
        return [task["status"] for task in service.http.get("/import/tasks").json()["tasks"]]


def ended(service: ServiceProcess) -> tuple[int, str]:
    """Exit code and log."""
    try:
        code = service.launch().wait(PATIENCE_S)
    finally:
        service.kill()
    return code, service.log.read_text("utf-8")


@pytest.mark.parametrize("moment", DURING_THE_START)
def test_a_signal_at_any_moment_of_the_start_ends_it(tmp_path: Path, an_interrupted_task: Path, moment: str) -> None:
    shutil.copytree(an_interrupted_task, tmp_path / "service" / "data")

    code, log = ended(SignalledService(tmp_path / "service", "SIGTERM", moment))

    assert f"signal at {moment}" in log
    assert code == 0, log
    assert "Traceback" not in log
    assert unfinished(tmp_path / "service") == ["interrupted"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["asyncio", "fastapi", "web.server.sub_path"])
def test_a_signal_during_the_imports_ends_the_start_quietly(tmp_path: Path, module: str, number: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_AT_IMPORT, "utf-8")
    order = {"pythonpath": tmp_path, "at_import": module, "at_import_signal": number}

    code, log = ended(ColdService(tmp_path / "service", NO_BACKEND, **order))

    assert (code, log) == (0, f"signal at import of {module}\n")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("first", "second"), TWICE)
def test_a_second_signal_does_not_disturb_the_stop(tmp_path: Path, number: str, first: str, second: str) -> None:
    code, log = ended(SignalledService(tmp_path / "service", number, first, second))
    assert f"signal at {second}" in log
    assert code == 0, log
    assert "Traceback" not in log


def test_the_first_log_line_may_be_answered_by_a_signal(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "service", NO_BACKEND)
    process = service.launch()
    try:
        with service.log.open("rb") as log:
            while not log.read(1):
                assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        service.kill()


def test_a_stop_in_order_is_the_last_line_of_the_log(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "service", NO_BACKEND) as service:
        assert service.stop() == 0
        assert service.log.read_text("utf-8").splitlines()[-1].endswith("stopped")
