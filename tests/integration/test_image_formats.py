"""OUTPUT_FORMAT and IMAGE_EXTENSIONS through the whole service: what XieHe holds afterwards."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models import ReadRequest, RenderOptions
from render import PoolOptions
from render.pool import RenderPool
from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.conftest import LEASE_SECONDS
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_bytes_are_ours, assert_closed, images, names
from tests.plain_pictures import (
    SECRET,
    a_bmp,
    a_deep_drawing,
    a_drawing,
    a_grey_drawing,
    a_jpeg,
    a_png,
    a_tiff,
)
from tests.waiting import PATIENCE_S

ALL_KINDS = "png,jpg,jpeg,tif,tiff,bmp"

Start = Callable[..., ServiceProcess]
today = pytest.mark.parametrize("xiehe", [4], indirect=True, ids=["C4"])


@pytest.fixture(params=[1, 4], ids=lambda number: f"C{number}")
def xiehe(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SandboxProcess]:
    """A fresh XieHe of the oldest and of today's contract."""
    with SandboxProcess(request.param, tmp_path / "xiehe", lease_seconds=LEASE_SECONDS) as sandbox:
        yield sandbox


@pytest.fixture
def serve(xiehe: SandboxProcess, tmp_path: Path) -> Iterator[Start]:
    """Starts the one service, or starts it again, with these settings."""
    process = ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token)

    def start(**settings: object) -> ServiceProcess:
        process.kill()
        process.change(**settings)
        process.start()
        return process

    yield start
    process.kill()
    process.http.close()


def counts(status: dict[str, Any]) -> tuple[int, int, int]:
    """(new, duplicate, failed)"""
    progress = status["progress"]
    assert_closed(progress)
    return progress["new_images_uploaded"], progress["duplicate_images_skipped"], progress["failed_files"]


def stored_picture(xiehe: SandboxProcess, name: str) -> Image.Image:
    (image,) = [image for image in images(xiehe) if image["filename"] == name]
    return Image.open(io.BytesIO(xiehe.image_bytes(image["id"])))


def by_name(service: ServiceProcess, status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {os.path.basename(row["source_path"]): row for row in service.report(status["task_id"])}


def a_mixed_folder() -> Tree:
    return {
        "2024-01": {
            "P001": {
                "a.dcm": a_dicom_file(shade=1),
                "a.png": a_png(),
                "b.JPG": a_jpeg(orientation=6),
                "c.tif": a_tiff(a_grey_drawing(shade=9), a_deep_drawing()),
                "d.bmp": a_bmp(),
                "notes.txt": b"no picture",
            }
        }
    }


# --- OUTPUT_FORMAT -------------------------------------------------------------------------------------------------


def test_png_is_stored_lossless_and_said_to_be_png(serve: Start, xiehe: SandboxProcess, tmp_path: Path) -> None:
    tree = {"2024-01": {"P001": {"a.dcm": a_dicom_file(shade=1), "f.dcm": a_dicom_file(shade=2, frames=2)}}}
    service = serve(output_format="png")

    done = service.run(write_tree(tmp_path / "dicom", tree))

    assert counts(done) == (2, 0, 0)
    assert names(xiehe) == {("P001", name) for name in ("a.png", "f-0001.png", "f-0002.png")}
    assert {image["mime_type"] for image in images(xiehe)} == {"image/png"}
    assert {stored_picture(xiehe, name).mode for _, name in names(xiehe)} == {"L"}
    assert_bytes_are_ours(xiehe, [by_name(service, done)["a.dcm"]])


@pytest.mark.parametrize("forgotten", [False, True], ids=["with history", "history lost"])
def test_another_output_format_uploads_nothing_again(
    serve: Start, xiehe: SandboxProcess, tmp_path: Path, forgotten: bool
) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "b": a_dicom_file(shade=2, uid=None), "c.dcm": a_dicom_file(frames=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    assert counts(serve(output_format="jpg").run(source)) == (3, 0, 0)
    before = names(xiehe)
    for path in (source / "2024-01" / "P001").iterdir():
        os.utime(path, ns=(1, 1))  # not passed unread: each takes the whole trip

    data = tmp_path / ("other data" if forgotten else "service/data")
    service = serve(output_format="png", data_dir=data)

    assert counts(service.run(source)) == (0, 3, 0)
    assert counts(service.run(source)) == (0, 3, 0)
    assert names(xiehe) == before


# --- IMAGE_EXTENSIONS ----------------------------------------------------------------------------------------------


def test_plain_pictures_are_imported_beside_dicom(serve: Start, xiehe: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", a_mixed_folder())
    service = serve(image_extensions=ALL_KINDS)

    done = service.run(source)

    assert counts(done) == (5, 0, 0)
    assert done["progress"]["ignored_files"] == 1
    expected = ("a.jpg", "a.png.jpg", "b.JPG.jpg", "c.tif-0001.jpg", "c.tif-0002.jpg", "d.bmp.jpg")
    assert names(xiehe) == {("P001", name) for name in expected}
    assert {image["mime_type"] for image in images(xiehe)} == {"image/jpeg"}
    assert stored_picture(xiehe, "b.JPG.jpg").size == (24, 32)
    assert not [image for image in images(xiehe) if SECRET.encode() in xiehe.image_bytes(image["id"])]
    rows = by_name(service, done)
    assert (rows["a.png"]["sop_instance_uid"], rows["a.png"]["modality"], rows["a.png"]["patient_id"]) == (
        None,
        None,
        "P001",
    )
    assert rows["c.tif"]["frames_total"] == 2
    assert_bytes_are_ours(xiehe, [row for row in rows.values() if row["frames_total"] == 1])


@today
def test_plain_pictures_are_uploaded_once(serve: Start, xiehe: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", a_mixed_folder())
    service = serve(image_extensions=ALL_KINDS)
    service.run(source)
    before = names(xiehe)

    assert counts(service.run(source)) == (0, 5, 0)  # unchanged, hence not opened
    for path in (source / "2024-01" / "P001").iterdir():
        os.utime(path, ns=(1, 1))
    assert counts(serve(output_format="png").run(source)) == (0, 5, 0)  # opened, and told apart by their bytes
    assert names(xiehe) == before


@today
def test_other_picture_under_the_same_name_gets_a_suffix(serve: Start, xiehe: SandboxProcess, tmp_path: Path) -> None:
    first, second = a_png(), a_png(shade=30)
    tree = {"2024-01": {"P001": {"a.png": first}}, "2024-02": {"P001": {"a.png": second}}}
    service = serve(image_extensions="png")

    done = service.run(write_tree(tmp_path / "dicom", tree))

    suffix = hashlib.sha256(second).hexdigest()[:8]
    assert counts(done) == (2, 0, 0)
    assert names(xiehe) == {("P001", "a.png.jpg"), ("P001", f"a.png_{suffix}.jpg")}


@today
def test_patient_made_from_a_picture_is_known_by_its_folder_alone(
    serve: Start, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P007": {"a.png": a_png()}}})

    for policy in ("hold", "trust_dicom", "trust_folder"):
        assert serve(image_extensions=".PNG, jpg").run(source, on_patient_mismatch=policy)["result"] == "success"

    (patient,) = xiehe.state()["patients"]
    assert (patient["patient_id"], patient["name"], patient["birth_date"]) == ("P007", "P007", None)
    assert len(names(xiehe)) == 1


@today
def test_what_only_looks_like_a_picture_fails_and_the_rest_goes_on(
    serve: Start, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    tree: Tree = {
        "2024-01": {
            "P001": {
                "cut.png": a_png()[:100],
                "really.png": a_jpeg(),
                "slice.png": a_dicom_file(shade=4),
                "text.jpg": b"no picture at all " * 20,
            },
            "lost.png": a_png(),
        }
    }
    service = serve(image_extensions=ALL_KINDS)

    done = service.run(write_tree(tmp_path / "dicom", tree))

    assert {name: row["code"] for name, row in by_name(service, done).items()} == {
        "cut.png": "truncated_pixel_data",
        "really.png": "uploaded",
        "slice.png": "uploaded",
        "text.jpg": "not_an_image",
        "lost.png": "misplaced_file",
    }
    assert counts(done) == (2, 0, 3)
    assert by_name(service, done)["slice.png"]["sop_instance_uid"]


@today
def test_pictures_stay_ignored_without_the_setting(serve: Start, xiehe: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", a_mixed_folder())

    done = serve().run(source)

    assert counts(done) == (1, 0, 0)
    assert done["progress"]["ignored_files"] == 5

    assert counts(serve(image_extensions="bmp").run(source)) == (1, 1, 0)
    switched_off = serve(image_extensions="").run(source)
    assert counts(switched_off) == (0, 1, 0)
    assert switched_off["progress"]["ignored_files"] == 5
    assert names(xiehe) == {("P001", "a.jpg"), ("P001", "d.bmp.jpg")}


@today
async def test_kept_picture_becomes_a_thumbnail_in_a_render_process(
    serve: Start, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(size=200)}}})
    kept = by_name(service := serve(), service.run(source))["a.dcm"]["jpg_path"]
    options = RenderOptions(max_side_px=50, jpg_quality=85)
    request = ReadRequest(kept, named_dicom=False, plain_image=True, output_prefix=f"{tmp_path}/t", render=options)

    async with RenderPool.open(PoolOptions(workers=1, timeout_s=PATIENCE_S, memory_mb=512)) as pool:
        reply = await pool.run(request)

    assert [(image.width_px, image.height_px) for image in reply.images] == [(50, 50)]
    assert Image.open(reply.images[0].path).size == (50, 50)
    assert Image.open(kept).size == (200, 200)


@today
def test_colours_arrive_as_they_are(serve: Start, xiehe: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"c.tiff": a_tiff(a_drawing())}}})

    serve(image_extensions="tiff", output_format="png").run(source)

    assert stored_picture(xiehe, "c.tiff.png").tobytes() == a_drawing().tobytes()
