"""Is everything as it has to be? The report against the plan, XieHe against the plan, XieHe against the disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.importing import Imported
from demo.sample_tree import SampleTree

Json = dict[str, Any]
_SHOWN = 6
_XIEHE_GENDERS = {"M": "男", "F": "女", "O": "其他"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold; ``differences`` is empty where it does."""

    name: str
    differences: tuple[str, ...]


def all_checks(tree: SampleTree, first: Imported, second: Imported, xiehe: Json, output: Path) -> list[Check]:
    """Every check.

    Args:
        tree: what was planned.
        first, second: the two imports of it.
        xiehe: the sandbox's /sandbox/state after both.
        output: the service's OUTPUT_DIR.
    """
    images = [image for image in xiehe["images"] if image["has_content"]]
    return [
        _check("每个文件的结果与预期一致", _outcomes(tree, first)),
        _check("计数相符：扫描 = 上传 + 已存在 + 失败", [*_sums(tree, first), *_sums(tree, second)]),
        _check("第二次导入没有上传任何内容", _second_run(first, second)),
        _check("XieHe 中每张图像恰好一份，都在自己的患者名下", _images(tree, images)),
        _check("XieHe 中没有无主的图像", [str(orphan["filename"]) for orphan in xiehe["orphans"]]),
        _check("患者姓名、性别、出生日期正确（GB18030、ISO 2022、UTF-8）", _patients(tree, xiehe)),
        _check("检查类型由文件头正确推断", _exam_types(tree, images)),
        _check("本地 JPG 与 XieHe 中的内容逐字节相同", _bytes(output, images)),
    ]


def _check(name: str, differences: Iterable[str]) -> Check:
    return Check(name, tuple(differences))


def _outcomes(tree: SampleTree, first: Imported) -> Iterator[str]:
    wanted = Counter((file.path, file.outcome, file.code) for file in tree.files)
    found = Counter((row["source_path"], row["outcome"], row["code"]) for row in first.report)
    yield from _unlike(wanted, found)
    yield from _unlike(
        Counter([str(tree.skipped_folder)]), Counter(folder["path"] for folder in first.status["skipped_folders"])
    )


def _sums(tree: SampleTree, run: Imported) -> Iterator[str]:
    counts = run.counts
    parts = counts["new_images_uploaded"] + counts["duplicate_images_skipped"] + counts["failed_files"]
    if not len(tree.files) == len(run.report) == counts["total_files_scanned"] == parts:
        yield f"{len(tree.files)} 个文件，扫描 {counts['total_files_scanned']}，合计 {parts}，报告 {len(run.report)} 行"
    if counts["ignored_files"] != tree.ignored:
        yield f"忽略 {counts['ignored_files']}，应为 {tree.ignored}"
    people = counts["new_patients_created"] + counts["existing_patients_skipped"]
    if not len(tree.people) == counts["total_patients_found"] == people:
        yield f"患者 {counts['total_patients_found']}，新建加已有 {people}，应为 {len(tree.people)}"


def _second_run(first: Imported, second: Imported) -> Iterator[str]:
    again = second.counts
    for name in ("new_images_uploaded", "frames_uploaded", "new_patients_created"):
        if again[name]:
            yield f"{name} = {again[name]}"
    if again["duplicate_images_skipped"] != first.counts["new_images_uploaded"]:
        yield f"已存在 {again['duplicate_images_skipped']}，第一次上传 {first.counts['new_images_uploaded']}"


def _images(tree: SampleTree, images: list[Json]) -> Iterator[str]:
    wanted = Counter((file.patient_id, name) for file in tree.files for name in file.names)
    return _unlike(wanted, Counter((image["patient_id"], image["filename"]) for image in images))


def _patients(tree: SampleTree, xiehe: Json) -> Iterator[str]:
    wanted = Counter(
        (person.patient_id, person.shown_name, _XIEHE_GENDERS[person.sex], person.birth_date.isoformat())
        for person in tree.people
    )
    found = Counter((row["patient_id"], row["name"], row["gender"], row["birth_date"]) for row in xiehe["patients"])
    return _unlike(wanted, found)


def _exam_types(tree: SampleTree, images: list[Json]) -> Iterator[str]:
    wanted = Counter((file.patient_id, name, file.exam_type) for file in tree.files for name in file.names)
    found = Counter((image["patient_id"], image["filename"], image["description"] or None) for image in images)
    return _unlike(wanted, found)


def _bytes(output: Path, images: list[Json]) -> Iterator[str]:
    """Compares patient folder and content: a patient's folder holds exactly what XieHe has of that patient."""
    wanted = Counter(
        (path.parent.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in output.rglob("*.jpg")
    )
    return _unlike(wanted, Counter((image["patient_id"], image["sha256"]) for image in images))


def _unlike(wanted: Counter[Any], found: Counter[Any]) -> Iterator[str]:
    for text, items in (("缺少", wanted - found), ("多出", found - wanted)):
        shown = list(items.elements())
        yield from (f"{text} {item}" for item in shown[:_SHOWN])
        if len(shown) > _SHOWN:
            yield f"{text} 共 {len(shown)} 项"
