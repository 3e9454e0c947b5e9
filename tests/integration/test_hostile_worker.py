"""A render process that a hostile file has taken over: whatever it says or leaves behind costs that file only."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import pytest

from config import Settings
from errors import PictureNotAvailableError
from history import FileFilter
from import_service import open_import_service
from importing.images.image_service import ImageRequest
from importing.images.thumbnail_cache import Thumbnail
from models import ImportOptions, OutcomeKind
from render import PoolOptions
from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration import hostile_jobs
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.xiehe_facts import images, names
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="plants links and pipes")

OF_A_PLANT = {"link", "pipe", "folder", "neighbour", "missing", "size"}
"""The reply is in order, what is found afterwards is not: tried again at the end of the task, and failed then."""
SECRET = b"\xff\xd8 the token of XieHe"


def settings_of(xiehe: SandboxProcess, folder: Path) -> Settings:
    return Settings(
        _env_file=None,
        backend_url=xiehe.url,
        api_token=xiehe.token,
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        max_workers=1,
        backend_probe_seconds=0.2,
    )


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's render processes are not confined, and do what the files' names say."""
    options = PoolOptions(1, PATIENCE_S, 2048, "tests.integration.hostile_jobs:read")
    monkeypatch.setattr("importing.settings_mapping.pool_options", lambda _settings: options)


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not-kept"])
async def test_whatever_a_process_says_or_plants_costs_that_file_only(
    xiehe_today: SandboxProcess, tmp_path: Path, keep: bool
) -> None:
    secret = tmp_path / hostile_jobs.SECRET
    secret.write_bytes(SECRET)
    deeds = hostile_jobs.DEEDS if keep else sorted(OF_A_PLANT | {"path"})
    evil: Tree = {f"evil-{deed}.dcm": a_dicom_file("P666") for deed in deeds}
    good: Tree = {f"{number}.dcm": a_dicom_file(shade=number) for number in range(3)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": good, "P666": evil}})
    settings = settings_of(xiehe_today, tmp_path).model_copy(update={"keep_jpg": keep})

    async with open_import_service(settings) as service:
        task_id = (await service.start(str(source), ImportOptions())).record.task_id
        with service.registry.subscribe(task_id) as changes:
            async with asyncio.timeout(4 * PATIENCE_S):
                while not service.registry.get(task_id).status.ended:
                    await anext(changes)
        status = (await service.view(task_id)).record.status
        found = (await service._tools.history.files_page(task_id, FileFilter(), 0, 1000)).rows

    assert status == "completed"
    wanted = {f"evil-{deed}.dcm": "unstable_file" if deed in OF_A_PLANT else "render_crashed" for deed in deeds}
    wanted |= dict.fromkeys([*good, "evil-path.dcm"], "uploaded")
    assert {Path(row.outcome.source_path).name: row.outcome.code for row in found} == wanted
    own = {f"{number}.jpg" for number in range(3)}
    assert names(xiehe_today) == {*(("P001", name) for name in own), ("P666", "evil-path.jpg")}
    assert hashlib.sha256(SECRET).hexdigest() not in {image["sha256"] for image in images(xiehe_today)}
    assert secret.read_bytes() == SECRET
    assert not (tmp_path / f"{hostile_jobs.SECRET}.made").exists()
    assert OutcomeKind.FAILED.value == "failed"
    kept = [path for path in (tmp_path / "output").rglob("*.jpg") if ".partial" not in path.parts]
    assert {path.name for path in kept} == ({*own, "evil-path.jpg"} if keep else set())


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("deed", ["path", "link", "pipe"])
async def test_a_picture_for_a_person_is_none_but_its_own(
    xiehe_today: SandboxProcess, tmp_path: Path, deed: str
) -> None:
    (tmp_path / hostile_jobs.SECRET).write_bytes(SECRET)
    name = f"evil-{deed}.dcm"
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P666": {name: a_dicom_file("P666")}}})
    settings = settings_of(xiehe_today, tmp_path)
    async with open_import_service(settings) as service:
        task_id = (await service.start(str(source), ImportOptions())).record.task_id
        with service.registry.subscribe(task_id) as changes:
            async with asyncio.timeout(PATIENCE_S):
                while not service.registry.get(task_id).status.ended:
                    await anext(changes)
        async with asyncio.timeout(PATIENCE_S):
            (shown,) = await asyncio.gather(service._images.thumbnail(ImageRequest(task_id, 1)), return_exceptions=True)
    if deed == "path":  # which is not sent
        assert isinstance(shown, Thumbnail)
        assert shown.content != SECRET
    else:
        assert isinstance(shown, PictureNotAvailableError)
    assert (tmp_path / hostile_jobs.SECRET).read_bytes() == SECRET
