"""Which exam type a header gives, by the built-in rules and by a hospital's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom.exam.exam_rules import BUILT_IN_RULES, ExamDecision, SearchableText, load_table, server_crashing_words
from dicom.exam.exam_type import decide_exam_type, load_rules
from errors import ConfigurationError

# Real headers hold what CS does not allow; pydicom warns of it while the tests build them.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")

FRONTAL, LATERAL, LEFT, RIGHT = "正位X光片", "侧位X光片", "左侧曲位", "右侧曲位"


def decided(modality: str | None = "DX", **attributes: object) -> ExamDecision | None:
    ds = Dataset()
    if modality is not None:
        ds.Modality = modality
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return decide_exam_type(ds)


def exam_type(modality: str | None = "DX", **attributes: object) -> str | None:
    decision = decided(modality, **attributes)
    return None if decision is None else decision.exam_type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("脊柱全长正位", FRONTAL), ("全脊柱侧位片", LATERAL), ("DR脊柱正位AP", FRONTAL), ("腰椎 前后位", FRONTAL),
        ("WHOLE SPINE AP", FRONTAL), ("Spine, PA standing", FRONTAL), ("T-Spine LAT", LATERAL),
        ("LSPINE_LAT", LATERAL),
        ("LumbarLateral", LATERAL), ("Thorax p.a.", FRONTAL), ("A-P view", FRONTAL), ("AP1", FRONTAL),
        ("左侧屈位", LEFT), ("脊柱左侧曲位", LEFT), ("右侧屈 正位", RIGHT), ("Left lateral bending", LEFT),
        ("Bending RT", RIGHT),
        ("SPINE AP L BENDING", LEFT), ("L-spine bending right", RIGHT), ("左侧Bending", LEFT), ("右侧弯位", RIGHT),
        # nothing may be read into these
        ("脊柱侧弯", None), ("脊柱左侧弯", None), ("脊柱矫正侧弯术后", None), ("矫正位复查", None),
        ("骨折处左侧位置", None),
        ("Bilateral knees", None), ("unilateral", None), ("collateral", None), ("Apex", None), ("Spa", None),
        ("Paediatric", None),
        ("Plateau", None), ("latissimus", None), ("palate", None), ("map", None), ("Flatfoot", None),
        ("frontier", None),
        ("脊柱全长正侧位", None), ("正、侧位", None), ("Spine AP/LAT", None), ("AP and lateral", None),
        ("PA+LAT", None),
        ("左右侧屈位", None), ("Bending L+R", None), ("侧屈位", None), ("L5 bending", None), ("L1-S1 bend", None),
        ("颈椎左斜位", None), ("lateral oblique", None), ("髌骨轴位", None), ("左侧卧位", None),
        ("Left lateral decubitus", None),
        ("颈椎张口正位", FRONTAL), ("颈椎张口位", None), ("", None), ("STANDARD", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "StudyDescription"])
def test_words(text: str, expected: str | None, keyword: str) -> None:
    assert exam_type(**{keyword: text}) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AP", FRONTAL), ("PA", FRONTAL), ("pa ", FRONTAL), ("LL", LATERAL), ("RL", LATERAL), ("LAT", LATERAL),
        ("LATERAL", LATERAL),
        ("正位", FRONTAL), ("侧位", LATERAL), ("LLO", None), ("RLD", None), ("LAO", None), ("OBLIQUE", None),
        ("", None), ("CC", None),
    ],
)  # fmt: skip
def test_view_position(code: str, expected: str | None) -> None:
    assert exam_type("CR", ViewPosition=code) == expected


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (["L", "F"], FRONTAL), (["R", "F"], FRONTAL), (["F", "L"], FRONTAL), (["A", "F"], LATERAL),
        (["P", "F"], LATERAL),
        (["F", "P"], LATERAL), (["L", "P"], None), (["LA", "F"], None), (["A", "R"], None), (None, None),
    ],
)  # fmt: skip
def test_patient_orientation(orientation: list[str] | None, expected: str | None) -> None:
    assert exam_type(PatientOrientation=orientation) == expected


@pytest.mark.parametrize(
    ("code", "meaning", "expected"),
    [
        ("R-10206", "antero-posterior", FRONTAL), ("399348003", "x", FRONTAL), ("399173006", "左侧", LATERAL),
        ("Z", "postero-anterior", FRONTAL), ("Z", "left lateral", LATERAL), ("Z", "antero-posterior oblique", None),
        ("Z", "medial-lateral oblique", None),
    ],
)  # fmt: skip
def test_view_code_sequence(code: str, meaning: str, expected: str | None) -> None:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code, meaning
    assert exam_type(ViewCodeSequence=[item]) == expected


@pytest.mark.parametrize(
    ("angle", "expected"),
    [("90", LATERAL), ("-90.5", LATERAL), ("100", LATERAL), ("0", None), ("45", None), ("101", None)],
)
def test_only_an_angle_that_is_no_default_speaks(angle: str, expected: str | None) -> None:
    assert exam_type(PositionerPrimaryAngle=angle) == expected


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "PT", "NM", "XA", "RF", "MG", "OT", "SC", "SR", "", None])
def test_nothing_but_projection_radiography_is_ever_decided(modality: str | None) -> None:
    assert decided(modality, ViewPosition="AP", SeriesDescription="脊柱正位", PatientOrientation=["L", "F"]) is None


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "dx "])
def test_every_kind_of_projection_radiography_is(modality: str) -> None:
    assert exam_type(modality, SeriesDescription="脊柱正位") == FRONTAL


def test_the_deciding_rule_and_its_attribute_are_reported() -> None:
    decision = decided(SeriesDescription="Whole spine AP")
    assert decision == ExamDecision(FRONTAL, "正位（SeriesDescription）")


def test_a_bending_film_is_frontal_too_and_that_is_no_contradiction() -> None:
    decision = decided(ViewPosition="AP", SeriesDescription="左侧屈位")
    assert decision == ExamDecision(LEFT, "左侧屈位（SeriesDescription）")


@pytest.mark.parametrize(
    "attributes",
    [
        {"ViewPosition": "AP", "SeriesDescription": "腰椎侧位"},
        {"ViewPosition": "LL", "ProtocolName": "左侧屈位"},
        {"SeriesDescription": "左侧屈位", "ProtocolName": "右侧屈位"},
        {"PatientOrientation": ["A", "F"], "ViewPosition": "PA"},
    ],
)
def test_contradicting_evidence_gives_no_type_but_a_warning_without_the_texts(attributes: dict[str, Any]) -> None:
    decision = decided(**attributes)
    assert decision is not None
    assert decision.exam_type is None
    (warning,) = decision.warnings
    assert warning.code == "exam_type_contradictory"
    assert all(keyword in warning.message for keyword in attributes)
    assert "腰椎" not in warning.message


def test_a_view_without_a_type_beats_a_default_view_position() -> None:
    decision = decided(ViewPosition="AP", SeriesDescription="颈椎左斜位")
    assert decision == ExamDecision(None, "无对应类型的体位（SeriesDescription）")


def test_an_order_for_several_views_does_not_speak_against_the_picture() -> None:
    assert exam_type(ViewPosition="LL", StudyDescription="脊柱全长正位") == LATERAL
    assert exam_type(ViewPosition="AP", SeriesDescription="脊柱正侧位") == FRONTAL


def test_a_description_in_gbk_under_a_latin_tag_is_understood() -> None:
    ds = Dataset()
    ds.Modality = "DX"
    ds.add_new(0x0008103E, "LO", "脊柱全长侧位".encode("gbk"))
    decision = decide_exam_type(ds)
    assert decision is not None
    assert decision.exam_type == LATERAL


def test_words_of_other_languages_do_not_fall_apart_at_accents() -> None:
    assert not SearchableText.of("Latéral").has("lat")


# --- the file --------------------------------------------------------------------------------------------------------


def a_rule_file(folder: Path, text: str) -> str:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_hospital_can_add_a_word_and_a_modality_in_a_copy(tmp_path: Path) -> None:
    built_in = Path(BUILT_IN_RULES).read_text(encoding="utf-8")
    path = a_rule_file(
        tmp_path, built_in.replace("lateral = [", 'lateral = ["站立侧", ').replace('"RG"]', '"RG", "RF"]')
    )
    ds = Dataset()
    ds.Modality, ds.SpecificCharacterSet, ds.SeriesDescription = "RF", "ISO_IR 192", "全脊柱站立侧"
    decision = decide_exam_type(ds, path)
    assert decision is not None
    assert decision.exam_type == LATERAL
    assert decide_exam_type(ds) is None


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    minimal = 'modalities=["DX"]\n[texts]\n[words]\n[[values]]\nname="x"\nattribute="Modality"\nexam_type="{}"\n'
    path = a_rule_file(tmp_path, minimal.format("一"))
    first = load_rules(path)
    assert load_rules(path) is first
    a_rule_file(tmp_path, minimal.format("二"))
    os.utime(path, ns=(1, 1))
    assert load_rules(path).exam_types == ("二",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modalities = [", "TOML"),
        ("modalities = 1\n[texts]\n[words]", "modalities"),
        ("modalities = ['DX']\n[words]", "texts"),
        ("modalities = ['DX']\nmodes = 1\n[texts]\n[words]", "modes"),
        ("modalities = ['DX']\n[texts]\n[words]\n[[rules]]\nname='r'\nall=['frontal']\nexam_type='x'", "frontal"),
        ("modalities = ['DX']\n[texts]\n[words]\n[[rules]]\nname='r'\nall=[]\nexam_type='x'", "r"),
        ("modalities = ['DX']\n[texts]\n[words]\n[[rules]]\nall=[]", "name"),
        (
            "modalities = ['DX']\n[texts]\n[words]\n[[values]]\nname='v'\nattribute='ViewPosition'\nexam_type=''",
            "exam_type",
        ),
        (
            "modalities=['DX']\n[texts]\n[words]\n[[values]]\nname='v'\nattribute='X'\nexam_type='x'\nbetween=[[2, 1]]",
            "between",
        ),
        ("modalities = ['DX']\n[texts]\nseries=['SeriesDescripton']\n[words]", "Descripton"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_rules(a_rule_file(tmp_path, text))


def test_a_file_that_is_missing_or_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="EXAM_RULES_FILE"):
        load_rules(str(tmp_path / "none.toml"))
    path = tmp_path / "gbk.toml"
    path.write_bytes('x = "正位"'.encode("gbk"))
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_rules(str(path))


def test_the_built_in_types_are_those_xiehe_knows_and_kill_no_upload() -> None:
    types = load_table(None).exam_types
    assert set(types) == {FRONTAL, LATERAL, LEFT, RIGHT}
    assert [server_crashing_words(exam_type) for exam_type in types] == [()] * 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CT影像", ("ct",)), ("Fracture", ("ct",)), ("status", ("us",)), ("腰椎正位", ("椎",)),
        ("Chest PA", ("chest",)),
        ("全脊柱", ("脊柱",)), ("头颅", ("头", "颅")), ("骨盆", ()), ("X-ray", ()), ("", ()),
    ],
)  # fmt: skip
def test_deadly_words_are_found_as_substrings_in_any_case(text: str, words: tuple[str, ...]) -> None:
    assert server_crashing_words(text) == words
