"""Files that are swapped between their listing and their reading, through the whole service."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from config import Settings
from errors import PictureNotAvailableError
from history import FileFilter
from import_service import ImportService, open_import_service
from importing.images.image_service import ImageRequest, ImageService
from models import ImportOptions, PauseReason, ReadReply, ReadRequest, TaskResult, TaskStatus
from render.pool import RenderPool
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.xiehe_facts import images
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need an administrator there")
Plant = Callable[[Path], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three files of a patient, of which ``m.dcm`` is swapped; beside it another film of this patient."""
    write_tree(tmp_path / "outside", {"P001": {"m.dcm": a_dicom_file(shade=200)}})
    files = {name: a_dicom_file(shade=number) for number, name in enumerate(("a.dcm", "m.dcm", "z.dcm"), 1)}
    return write_tree(tmp_path / "root", {"2024-01": {"P001": files}})


@pytest.fixture(params=["confined", "unconfined"])
def confinement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Landlock, if this kernel has it, and as on a system without: there a render process may read anything."""
    if request.param == "unconfined":
        monkeypatch.setattr("importing.settings_mapping.confinement_of", lambda settings: None)


@asynccontextmanager
async def a_service(xiehe: SandboxProcess, folder: Path, *roots: Path) -> AsyncIterator[ImportService]:
    settings = Settings(
        _env_file=None,
        backend_url=xiehe.url,
        api_token=xiehe.token,
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        dicom_source_path=";".join(map(str, roots)),
        max_workers=1,
        keep_jpg=False,
    )
    async with open_import_service(settings) as service:
        yield service


async def ended(service: ImportService, task_id: str) -> str:
    with service.registry.subscribe(task_id) as changes:
        async with asyncio.timeout(PATIENCE_S):
            while not service.registry.get(task_id).at_rest:
                await anext(changes)
    return task_id


async def paused(service: ImportService, task_id: str) -> None:
    with service.registry.subscribe(task_id) as changes:
        async with asyncio.timeout(PATIENCE_S):
            while service.registry.get(task_id).status is not TaskStatus.PAUSED:
                await anext(changes)


async def imported(service: ImportService, source: Path) -> str:
    return await ended(service, (await service.start(str(source), ImportOptions())).record.task_id)


async def ends_of(service: ImportService, task_id: str) -> dict[str, str]:
    """Name of each file → the code of its outcome, or why it was ignored; a file has one only."""
    rows = (await service._tools.history.files_page(task_id, FileFilter(), 0, 100)).rows
    ignored = [row.file for row in await service._tools.history.ignored_rows(task_id, 0, 100)]
    ends = [(row.outcome.source_path, row.outcome.code) for row in rows] + [
        (file.path, file.reason) for file in ignored
    ]
    assert len({path for path, _ in ends}) == len(ends)
    return {os.path.basename(path): code for path, code in ends}


@pytest.fixture
def before_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Plant], None]:
    """Has something done once ``m.dcm`` was listed, on its way to the render process."""

    def arrange(plant: Plant) -> None:
        real, done = RenderPool.run, list[str]()

        async def run(pool: RenderPool, request: ReadRequest) -> ReadReply:
            path = Path(request.path)
            if path.name == "m.dcm" and not done:
                done.append(request.path)
                plant(path)
            return await real(pool, request)

        monkeypatch.setattr(RenderPool, "run", run)

    return arrange


def link_the_file(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[3] / "outside" / "P001" / "m.dcm")


def link_the_folder(path: Path) -> None:
    path.parent.rename(path.parents[3] / "was")
    path.parent.symlink_to(path.parents[3] / "outside" / "P001")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("plant", "code"),
    [
        (link_the_file, "moved_outside_roots"),
        (link_the_folder, "moved_outside_roots"),
        (a_pipe, "unreadable_file"),
        (a_folder, "unreadable_file"),
    ],
)
@pytest.mark.usefixtures("confinement")
async def test_what_takes_a_files_place_after_its_listing_is_not_uploaded(
    xiehe_today: SandboxProcess,
    root: Path,
    tmp_path: Path,
    plant: Plant,
    code: str,
    before_reading: Callable[[Plant], None],
) -> None:
    before_reading(plant)
    async with a_service(xiehe_today, tmp_path / "service", root) as service:
        ends = await ends_of(service, await imported(service, root))
    assert ends["m.dcm"] == code
    assert set(ends) == {"a.dcm", "m.dcm", "z.dcm"}
    assert "m.jpg" not in {image["filename"] for image in images(xiehe_today)}


def link_all_folders(path: Path) -> None:
    """Each patient's folder of the month, when all their files were listed."""
    for folder in sorted(path.parent.parent.iterdir()):
        folder.rename(path.parents[3] / f"was-{folder.name}")
        folder.symlink_to(path.parents[3] / "outside" / folder.name)


def undo_links(month: Path) -> None:
    for link in sorted(month.iterdir()):
        link.unlink()
        (month.parents[1] / f"was-{link.name}").rename(link)


@pytest.mark.usefixtures("confinement")
async def test_folders_that_became_links_leave_the_month_unfinished_until_that_is_undone(
    xiehe_today: SandboxProcess,
    root: Path,
    tmp_path: Path,
    before_reading: Callable[[Plant], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Named like DICOM, like nothing, like text; what is outside has the same names."""
    (root / "2024-01" / "P001" / "a.dcm").unlink()
    (root / "2024-01" / "P001" / "z.dcm").unlink()
    for patient in ("P001", "P002"):
        pictures = {name: a_dicom_file(patient, shade=shade) for shade, name in enumerate(("m.dcm", "IM0001"), 9)}
        films = {**pictures, "notes.txt": b"no film"}
        write_tree(root, {"2024-01": {patient: films}})
        write_tree(tmp_path / "outside", {patient: films})
    before_reading(link_all_folders)
    async with a_service(xiehe_today, tmp_path / "service", root) as service:
        first = await imported(service, root)
        view = await service.view(first)
        record, counts = view.record, view.counts
        codes = [
            row.outcome.code for row in (await service._tools.history.files_page(first, FileFilter(), 0, 100)).rows
        ]
        moved = codes.count("moved_outside_roots")
        assert moved == counts.failed_files >= 4  # the files that were read before are what they are
        assert counts.total_files_scanned == counts.new_images_uploaded + counts.failed_files
        assert counts.total_files_scanned + counts.ignored_files == 6
        assert record.result is not TaskResult.SUCCESS
        assert [month.state for month in await service.months(str(root))] != ["done"]
        warned = [line for line in caplog.records if line.levelname == "WARNING"]
        warnings = [
            line for line in warned if first in line.getMessage() and "moved_outside_roots" in line.getMessage()
        ]
        assert len(warnings) == 1
        assert "P00" not in warnings[0].getMessage()

        again = await ended(service, (await service.retry(first, ImportOptions())).record.task_id)
        assert (await service.view(again)).counts.failed_files == moved

        undo_links(root / "2024-01")
        last = await ended(service, (await service.retry(again, ImportOptions())).record.task_id)
        assert (await service.view(last)).record.result is TaskResult.SUCCESS
        await imported(service, root)  # the text is known to be none to import once the month was gone through
        assert [month.state for month in await service.months(str(root))] == ["done"]


@pytest.mark.parametrize("source", ["2024-01", "2024-01/P001"])
async def test_a_source_that_became_a_link_pauses_the_task_until_that_is_undone(
    xiehe_today: SandboxProcess,
    root: Path,
    tmp_path: Path,
    source: str,
    before_reading: Callable[[Plant], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, kept = root / source, tmp_path / "kept"

    def plant(path: Path) -> None:
        folder.rename(kept)
        folder.symlink_to(tmp_path / "outside" / ("" if source == "2024-01" else "P001"))

    before_reading(plant)
    async with a_service(xiehe_today, tmp_path / "service", root) as service:
        task_id = (await service.start(str(folder), ImportOptions())).record.task_id
        await paused(service, task_id)
        assert service.registry.get(task_id).record.pause_reason is PauseReason.SOURCE_MISSING
        monkeypatch.setattr("import_service.load_settings", lambda: service._settings)  # a resume asks for the token
        await service.resume(task_id)
        await paused(service, task_id)
        folder.unlink()
        kept.rename(folder)
        await service.resume(task_id)
        await ended(service, task_id)
        ends = await ends_of(service, task_id)
    assert ends == {"a.dcm": "uploaded", "m.dcm": "uploaded", "z.dcm": "uploaded"}


@pytest.mark.parametrize("roots", ["both", "link", "none"])
async def test_a_link_within_the_roots_is_uploaded(
    xiehe_today: SandboxProcess, root: Path, tmp_path: Path, roots: str, before_reading: Callable[[Plant], None]
) -> None:
    before_reading(link_the_file)
    (tmp_path / "mount").symlink_to(tmp_path / "outside")
    allowed = {"both": [root, tmp_path / "outside"], "link": [root, tmp_path / "mount"], "none": []}[roots]
    async with a_service(xiehe_today, tmp_path / "service", *allowed) as service:
        ends = await ends_of(service, await imported(service, root))
    assert ends == {"a.dcm": "uploaded", "m.dcm": "uploaded", "z.dcm": "uploaded"}


@pytest.mark.usefixtures("confinement")
async def test_a_file_that_is_swapped_before_its_retry_is_not_uploaded(
    xiehe_today: SandboxProcess, root: Path, tmp_path: Path, before_reading: Callable[[Plant], None]
) -> None:
    (root / "2024-01" / "P001" / "m.dcm").write_bytes(b"")
    async with a_service(xiehe_today, tmp_path / "service", root) as service:
        first = await imported(service, root)
        assert (await ends_of(service, first))["m.dcm"] == "empty_file"
        before_reading(link_the_file)
        again = (await service.retry(first, ImportOptions())).record.task_id
        assert await ends_of(service, await ended(service, again)) == {"m.dcm": "moved_outside_roots"}
    assert {image["filename"] for image in images(xiehe_today)} == {"a.jpg", "z.jpg"}


@pytest.mark.usefixtures("confinement")
async def test_a_file_that_is_swapped_while_its_picture_is_asked_for_is_not_shown(
    xiehe_today: SandboxProcess, root: Path, tmp_path: Path, before_reading: Callable[[Plant], None]
) -> None:
    """The same film with the same time, so that only where it lies tells them apart."""
    film = root / "2024-01" / "P001" / "m.dcm"
    other = tmp_path / "outside" / "P001" / "m.dcm"
    os.unlink(other)
    os.link(film, other)
    async with a_service(xiehe_today, tmp_path / "service", root) as service:
        task_id = await imported(service, root)
        rows = (await service._tools.history.files_page(task_id, FileFilter(), 0, 100)).rows
        (number,) = [row.number for row in rows if row.outcome.source_path == str(film)]
        async with aclosing(ImageService(service._settings, service._tools)) as pictures:
            assert (await pictures.thumbnail(ImageRequest(task_id, number, size=64))).content
            before_reading(link_the_file)
            with pytest.raises(PictureNotAvailableError, match="根目录"):
                await pictures.thumbnail(ImageRequest(task_id, number, size=65))
        assert os.listdir(service._tools.partial_dir) == []
