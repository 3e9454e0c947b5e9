"""GET /import/{id}/files/{n}/picture: what was uploaded, or what would be, for a person to look at."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import importing.images.image_service
from config import Settings
from errors import TooManyClientsError
from import_service import ImportService, open_import_service
from importing.images.image_service import WHOLE_AT_ONCE, ImageRequest, ImageService
from importing.images.image_stream import ImageStream
from models import ImportOptions, ReadReply, ReadRequest
from render import RenderExecutor, RenderHealth
from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import PATIENCE_S, until

SIDE = 100


@pytest.fixture
def a_source(tmp_path: Path) -> Path:
    """One good file, one of two frames, one without pixels, one of another patient, one that is no DICOM."""
    report = a_dicom_file()
    files: Tree = {
        "a.dcm": a_dicom_file(size=SIDE),
        "frames.dcm": a_dicom_file(frames=2),
        "held.dcm": a_dicom_file("P999", shade=7),
        "nothing.dcm": report[: report.index(b"\xe0\x7f\x10\x00")],
        "text.dcm": b"this is no DICOM at all",
    }
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def rows_of(service: ServiceProcess, task_id: str) -> dict[str, dict[str, Any]]:
    return {Path(row["source_path"]).name: row for row in service.report(task_id)}


def look(service: ServiceProcess, task_id: str, row: dict[str, Any], **query: int) -> httpx.Response:
    return service.http.get(f"/import/{task_id}/files/{row['number']}/picture", params=query)


def size_of(answer: httpx.Response) -> tuple[int, int]:
    with Image.open(io.BytesIO(answer.content)) as image:
        return image.size


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def partial_files(service: ServiceProcess) -> list[str]:
    return os.listdir(service.output / ".partial")


def test_the_very_picture_that_was_uploaded_is_shown(service_today: ServiceProcess, a_source: Path) -> None:
    task_id = service_today.run(a_source)["task_id"]
    row = rows_of(service_today, task_id)["a.dcm"]

    whole, small = look(service_today, task_id, row), look(service_today, task_id, row, size=32)

    assert whole.content == Path(row["jpg_path"]).read_bytes()
    for answer in (whole, small):
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-picture-source"] == "kept"
        assert answer.headers["cache-control"] == "no-store"
    assert (size_of(whole), size_of(small)) == ((SIDE, SIDE), (32, 32))
    assert size_of(look(service_today, task_id, row, size=2048)) == (SIDE, SIDE)
    assert look(service_today, task_id, row, size=32).content == small.content
    assert partial_files(service_today) == []


def test_each_frame_has_its_picture(service_today: ServiceProcess, a_source: Path) -> None:
    task_id = service_today.run(a_source)["task_id"]
    row = rows_of(service_today, task_id)["frames.dcm"]

    first, second = (look(service_today, task_id, row, frame=number) for number in (1, 2))

    assert [answer.headers["x-picture-source"] for answer in (first, second)] == ["kept", "kept"]
    assert first.content != second.content
    assert second.content == Path(row["jpg_path"].replace("-0001.", "-0002.")).read_bytes()
    assert refusal(look(service_today, task_id, row, frame=3)) == (404, "picture_not_available")


def test_duplicates_show_the_picture_of_the_task_that_uploaded_it(
    service_today: ServiceProcess, a_source: Path
) -> None:
    uploaded = rows_of(service_today, service_today.run(a_source)["task_id"])["a.dcm"]
    again = service_today.run(a_source)["task_id"]
    duplicate = rows_of(service_today, again)["a.dcm"]

    answer = look(service_today, again, duplicate)

    assert duplicate["outcome"] == "duplicate"
    assert (answer.headers["x-picture-source"], answer.content) == ("kept", Path(uploaded["jpg_path"]).read_bytes())


def test_what_was_not_kept_is_made_afresh_as_the_task_made_it(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(size=SIDE)}}})
    settings = {"api_token": xiehe_today.token, "keep_jpg": "false"}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        usual = service.run(source, dry_run=True)["task_id"]
        dark = service.run(source, dry_run=True, window_center=5000, window_width=100)["task_id"]
        uploaded = service.run(source)["task_id"]

        pictures = [look(service, task, rows_of(service, task)["a.dcm"]) for task in (usual, dark, uploaded)]

        assert [answer.headers["x-picture-source"] for answer in pictures] == ["rendered"] * 3
        assert pictures[0].content == pictures[2].content
        with Image.open(io.BytesIO(pictures[1].content)) as image:
            assert max(image.convert("L").tobytes()) < 10
        until(lambda: not list(service.output.rglob("*.jpg")))  # removed after the answer has been sent


def test_held_files_can_be_looked_at_and_what_is_no_picture_says_so(
    service_today: ServiceProcess, a_source: Path
) -> None:
    task_id = service_today.run(a_source)["task_id"]
    rows = rows_of(service_today, task_id)

    assert rows["held.dcm"]["held"]
    assert look(service_today, task_id, rows["held.dcm"], size=64).headers["x-picture-source"] == "rendered"
    for name in ("nothing.dcm", "text.dcm"):
        answer = look(service_today, task_id, rows[name])
        assert refusal(answer) == (404, "picture_not_available")
        assert answer.json()["detail"]
    assert partial_files(service_today) == []


def test_a_source_that_is_gone_or_changed_is_not_shown_as_what_was_imported(
    service_today: ServiceProcess, a_source: Path
) -> None:
    task_id = service_today.run(a_source)["task_id"]
    row = rows_of(service_today, task_id)["held.dcm"]
    path = Path(row["source_path"])

    path.write_bytes(a_dicom_file("P999", shade=200))
    changed = look(service_today, task_id, row)
    path.unlink()
    gone = look(service_today, task_id, row)

    assert refusal(changed) == refusal(gone) == (404, "picture_not_available")
    assert "改动" in changed.json()["detail"]
    assert "无法访问" in gone.json()["detail"]


def test_a_kept_picture_that_is_newer_or_leads_elsewhere_is_not_the_one(
    service_today: ServiceProcess, a_source: Path, tmp_path: Path
) -> None:
    task_id = service_today.run(a_source)["task_id"]
    row = rows_of(service_today, task_id)["a.dcm"]
    kept = Path(row["jpg_path"])
    secret = tmp_path / "elsewhere.jpg"
    secret.write_bytes(b"\xff" * kept.stat().st_size)

    kept.unlink()
    kept.symlink_to(secret)
    os.utime(secret, (0, 0))
    linked = look(service_today, task_id, row)
    kept.unlink()
    shutil.copyfile(secret, kept)
    with kept.open("ab") as file:
        file.write(b"longer")
    os.utime(kept, (2**33, 2**33))
    newer = look(service_today, task_id, row)

    for answer in (linked, newer):
        assert answer.headers["x-picture-source"] == "rendered"
        assert size_of(answer) == (SIDE, SIDE)


def test_a_source_that_leads_out_of_the_roots_is_not_read(
    xiehe_today: SandboxProcess, a_source: Path, tmp_path: Path
) -> None:
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, dicom_source_path=a_source
    ) as service:
        task_id = service.run()["task_id"]
        row = rows_of(service, task_id)["held.dcm"]
        patient = Path(row["source_path"]).parent
        patient.rename(tmp_path / "elsewhere")
        patient.symlink_to(tmp_path / "elsewhere")

        answer = look(service, task_id, row)

        assert refusal(answer) == (404, "picture_not_available")
        assert "根目录" in answer.json()["detail"]


def test_odd_wishes_are_refused(service_today: ServiceProcess, a_source: Path) -> None:
    task_id = service_today.run(a_source)["task_id"]
    row = rows_of(service_today, task_id)["a.dcm"]

    for query in ({"size": 31}, {"size": 2049}, {"frame": 0}, {"frame": -1}):
        assert refusal(look(service_today, task_id, row, **query)) == (422, "invalid_request")
    assert refusal(look(service_today, task_id, {"number": 99})) == (404, "file_not_found")
    assert refusal(look(service_today, "nobody", row)) == (404, "task_not_found")


# --- one rendering for all who ask at once ---------------------------------------------------------------------------


class CountingRenderer:
    """The real render pool, and how often it was asked."""

    def __init__(self, pool: RenderExecutor) -> None:
        self._pool = pool
        self.jobs = self.now = self.most = 0

    async def run(self, request: ReadRequest) -> ReadReply:
        self.jobs, self.now = self.jobs + 1, self.now + 1
        self.most = max(self.most, self.now)
        try:
            return await self._pool.run(request)
        finally:
            self.now -= 1

    def check(self) -> RenderHealth:
        return self._pool.check()

    async def close(self) -> None:
        """The pool is closed by those who opened it."""


@asynccontextmanager
async def an_open_service(xiehe: SandboxProcess, folder: Path) -> AsyncIterator[ImportService]:
    settings = Settings(
        _env_file=None,
        backend_url=xiehe.url,
        api_token=xiehe.token,
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        max_workers=2,
        keep_jpg=False,
    )
    async with open_import_service(settings) as service:
        yield service


async def imported(service: ImportService, source: Path) -> str:
    task_id = (await service.start(str(source), ImportOptions())).record.task_id
    with service.registry.subscribe(task_id) as changes:
        async with asyncio.timeout(PATIENCE_S):
            while not service.registry.get(task_id).at_rest:
                await anext(changes)
    return task_id


async def test_equal_wishes_at_one_time_cost_one_rendering(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    files = {f"{number}.dcm": a_dicom_file(shade=number) for number in range(6)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    async with an_open_service(xiehe_today, tmp_path) as service:
        task_id = await imported(service, source)
        renderer = CountingRenderer(service._tools.renderer)
        async with aclosing(ImageService(service._settings, replace(service._tools, renderer=renderer))) as pictures:
            requests = [ImageRequest(task_id, number, size=64) for number in range(1, 7)]
            found = await all_of(pictures, requests * 3)

            assert found[:6] == found[6:12] == found[12:]
            assert (renderer.jobs, renderer.most) == (6, 1)
            assert await all_of(pictures, requests) == found[:6]
            assert renderer.jobs == 6
            await pictures.thumbnail(ImageRequest(task_id, 1, size=65))
            assert renderer.jobs == 7
        assert os.listdir(service._tools.partial_dir) == []


async def all_of(pictures: ImageService, requests: list[ImageRequest]) -> list[object]:
    return list(await asyncio.gather(*(pictures.thumbnail(request) for request in requests)))


# --- full-size pictures are streamed ---------------------------------------------------------------------------------


async def test_full_size_pictures_are_few_at_a_time_and_each_is_a_file_of_its_own(
    xiehe_today: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(size=SIDE)}}})
    async with an_open_service(xiehe_today, tmp_path) as service:
        request = ImageRequest(await imported(service, source), 1)
        partial = service._tools.partial_dir
        async with AsyncExitStack() as stack:
            found = [await stack.enter_async_context(service.image(request)) for _ in range(WHOLE_AT_ONCE)]
            assert len(os.listdir(partial)) == WHOLE_AT_ONCE
            assert len({await each.read(0, each.size_bytes) for each in found}) == 1

            with monkeypatch.context() as hurry, pytest.raises(TooManyClientsError):
                hurry.setattr(importing.images.image_service, "WAIT_FOR_PLACE_S", 0.05)
                await size_of_opened(service, request)
            waiting = asyncio.create_task(size_of_opened(service, request))
        async with asyncio.timeout(PATIENCE_S):
            assert await waiting == found[0].size_bytes
        assert os.listdir(partial) == []


async def size_of_opened(service: ImportService, request: ImageRequest) -> int:
    async with service.image(request) as found:
        return found.size_bytes


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_regular_file_is_opened(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "a.jpg", tmp_path / "other.jpg"
    other.write_bytes(b"secret")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError):
        ImageStream.open(str(path), "image/jpeg", kept=True)


async def test_a_picture_that_is_replaced_while_it_is_sent_stays_the_one_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"first")
    opened = ImageStream.open(str(path), "image/jpeg", kept=True)
    (tmp_path / "b.jpg").write_bytes(b"second")
    os.replace(tmp_path / "b.jpg", path)
    assert await opened.read(0, opened.size_bytes) == b"first"
    opened.close()
    assert path.read_bytes() == b"second"
