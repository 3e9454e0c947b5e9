"""A share that hangs holds up those who ask for it, for some seconds; no import, and nobody else."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import Settings
from import_service import ImportService
from importing.threads import ANSWER_WITHIN_S, LOOKS_PER_SHARE
from main import create_app
from models import PauseReason
from source import browse
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.waiting import PATIENCE_S, async_until, leaping

Call = Callable[..., Any]
FILES = 12


@dataclass
class Share:
    """A mounted folder that answers no call while ``awake`` is not set."""

    path: Path
    awake: threading.Event = field(default_factory=threading.Event)
    waiting: set[int] = field(default_factory=set)
    """Threads that hang now."""
    calls: int = 0

    def hangs(self, call: Call) -> Call:
        def hanging(path: Any = ".", *rest: Any, **more: Any) -> Any:
            if not isinstance(path, int) and os.fspath(path).startswith(str(self.path)) and not self.awake.is_set():
                self._hang()
            return call(path, *rest, **more)

        return hanging

    def _hang(self) -> None:
        assert threading.current_thread() is not threading.main_thread(), "the event loop hangs"
        self.calls += 1
        self.waiting.add(threading.get_ident())
        assert self.awake.wait(PATIENCE_S)
        self.waiting.discard(threading.get_ident())


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    share = Share(tmp_path / "share")
    share.awake.set()
    write_tree(share.path, {"2023-01": {"P900": {"a.dcm": a_dicom_file("P900")}}})
    for name in ("scandir", "listdir", "stat", "lstat", "access", "open"):
        monkeypatch.setattr(os, name, share.hangs(getattr(os, name)))
    yield share
    share.awake.set()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    files = {f"{shade}.dcm": a_dicom_file("P001", shade=shade) for shade in range(FILES)}
    return write_tree(tmp_path / "good", {"2024-01": {"P001": files}})


@dataclass(frozen=True)
class Scene:
    http: httpx.AsyncClient
    service: ImportService

    async def get(self, url: str, /, **query: str) -> httpx.Response:
        async with asyncio.timeout(PATIENCE_S):
            return await self.http.get(url, params=query)

    async def order(self, source: Path) -> httpx.Response:
        async with asyncio.timeout(PATIENCE_S):
            return await self.http.post("/import", json={"source_path": str(source)})

    async def end_of(self, task_id: str) -> dict[str, Any]:
        await async_until(lambda: self.service.registry.get(task_id).at_rest)
        status: dict[str, Any] = (await self.get(f"/import/{task_id}/status")).json()
        return status


def looks_under_way() -> int:
    return sum(thread.name == "source-look" for thread in threading.enumerate())


@asynccontextmanager
async def a_scene(xiehe: SandboxProcess, folder: Path, share: Share, good: Path) -> AsyncIterator[Scene]:
    settings = Settings(
        _env_file=None,
        backend_url=xiehe.url,
        api_token=xiehe.token,
        dicom_source_path=f"{share.path};{good}",
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        max_workers=1,
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        yield Scene(http, app.state.service)


async def test_an_import_begins_and_ends_while_many_look_into_a_share_that_hangs(
    xiehe_today: SandboxProcess, tmp_path: Path, share: Share, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_scene(xiehe_today, tmp_path, share, good) as scene:
        share.awake.clear()
        paths = [str(share.path / f"{2000 + number % 40}-01") for number in range(80)]
        lookers = [asyncio.create_task(scene.get("/sources", path=path)) for path in paths]
        await async_until(lambda: len(share.waiting) >= LOOKS_PER_SHARE)

        assert (await scene.get("/health")).status_code == 200
        assert (await scene.get("/sources", path=str(good))).json()["folders"][0]["name"] == "2024-01"
        started = await scene.order(good)
        assert started.status_code == 202, started.text
        done = await scene.end_of(started.json()["task_id"])
        assert (done["result"], done["progress"]["new_images_uploaded"]) == ("success", FILES)
        assert len(share.waiting) == LOOKS_PER_SHARE
        assert (await scene.get(f"/import/{done['task_id']}/report")).text.count("\n") == FILES
        picture = await scene.get(f"/import/{done['task_id']}/files/1/picture")
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")

        assert not any(looker.done() for looker in lookers)
        await leaping(monkeypatch)(ANSWER_WITHIN_S + 1)
        async with asyncio.timeout(PATIENCE_S):
            answers = await asyncio.gather(*lookers)
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "source_unavailable")}
        assert share.calls == LOOKS_PER_SHARE


@pytest.mark.parametrize("what", ["import", "months", "readiness", "roots", "picture", "retry"])
async def test_who_needs_a_share_that_hangs_is_answered_in_time(
    what: str, xiehe_today: SandboxProcess, tmp_path: Path, share: Share, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_scene(xiehe_today, tmp_path, share, good) as scene:
        held = a_dicom_file("P555")
        (share.path / "2023-01" / "P900" / "held.dcm").write_bytes(held)
        task_id = (await scene.order(share.path / "2023-01")).json()["task_id"]
        assert (await scene.end_of(task_id))["progress"]["failed_files"] == 1
        rows = [
            row["number"] for row in (await scene.get(f"/import/{task_id}/files", outcome="failed")).json()["files"]
        ]
        asking: dict[str, Callable[[], Any]] = {
            "import": lambda: scene.order(share.path / "2023-01"),
            "months": lambda: scene.get("/months"),
            "readiness": lambda: scene.get("/health/ready"),
            "roots": lambda: scene.get("/sources"),
            "picture": lambda: scene.get(f"/import/{task_id}/files/{rows[0]}/picture", size="64"),
            "retry": lambda: scene.http.post(f"/import/{task_id}/retry"),
        }
        share.awake.clear()
        asked = asyncio.create_task(asking[what]())
        await async_until(lambda: share.waiting and looks_under_way() == len(share.waiting))
        await asyncio.sleep(0)  # for the answers of those that have ended
        await leaping(monkeypatch)(ANSWER_WITHIN_S + 1)
        async with asyncio.timeout(PATIENCE_S):
            answer: httpx.Response = await asked
        body = answer.json()
        if what == "roots":
            shown = [(folder["path"], folder["importable"]) for folder in body["folders"]]
            assert shown == [(str(share.path), False), (str(good), True)]
        elif what == "months":
            assert {(month["month"], month["on_disk"]) for month in body["months"]} == {
                ("2023-01", None),
                ("2024-01", True),
            }
        elif what == "readiness":
            (sources,) = (check for check in body["checks"] if check["name"] == "sources")
            assert not sources["ok"]
            assert str(share.path) in sources["detail"]
            assert str(good) not in sources["detail"]
        else:
            assert (answer.status_code, body["code"]) == (503, "source_unavailable")
            assert answer.headers["Retry-After"] == "5"


async def test_a_share_that_hangs_keeps_no_other_task_paused(
    xiehe_today: SandboxProcess, tmp_path: Path, share: Share, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_scene(xiehe_today, tmp_path, share, good) as scene:
        xiehe_today.hold("create_session")
        ids = [(await scene.order(source)).json()["task_id"] for source in (share.path, good)]
        await asyncio.to_thread(xiehe_today.until_held, "create_session")
        tasks = [scene.service.registry.get(task_id) for task_id in ids]
        share.awake.clear()
        for task in tasks:
            task.pause_automatically(PauseReason.SOURCE_MISSING, "gone")
        await async_until(lambda: PauseReason.SOURCE_MISSING not in tasks[1].pause_reasons)
        assert PauseReason.SOURCE_MISSING in tasks[0].pause_reasons
        share.awake.set()
        await async_until(lambda: PauseReason.SOURCE_MISSING not in tasks[0].pause_reasons)
        xiehe_today.clear_faults()
        assert [(await scene.end_of(task_id))["result"] for task_id in ids] == ["success"] * 2


async def test_a_restart_with_a_task_on_a_share_that_hangs_ends_its_start(
    xiehe_today: SandboxProcess, tmp_path: Path, share: Share, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_scene(xiehe_today, tmp_path, share, good) as scene:
        xiehe_today.hold("create_session")
        task_id = (await scene.order(share.path)).json()["task_id"]
        await asyncio.to_thread(xiehe_today.until_held, "create_session")
        assert (await scene.http.post(f"/import/{task_id}/pause")).status_code == 202
    xiehe_today.clear_faults()

    share.awake.clear()
    leap = leaping(monkeypatch)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:

        async def hurry() -> None:
            await async_until(lambda: share.waiting)
            await leap(ANSWER_WITHIN_S + 1)

        group.create_task(hurry())
        async with a_scene(xiehe_today, tmp_path, share, good) as scene:
            assert (await scene.get(f"/import/{task_id}/status")).json()["status"] == "paused"
            share.awake.set()


async def test_equal_listings_at_one_time_are_one_listing(
    xiehe_today: SandboxProcess, tmp_path: Path, share: Share, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str | None] = []

    def noting(path: str | None, rules: Any) -> Any:
        listed.append(path)
        return browse(path, rules)

    monkeypatch.setattr("importing.source_folders.browse", noting)
    async with a_scene(xiehe_today, tmp_path, share, good) as scene:
        share.awake.clear()
        lookers = [asyncio.create_task(scene.get("/sources", path=str(share.path))) for _ in range(20)]
        await async_until(lambda: share.waiting)
        share.awake.set()
        answers = await asyncio.gather(*lookers)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert listed == [str(share.path)]
