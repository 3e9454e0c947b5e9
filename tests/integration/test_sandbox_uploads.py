"""The sandbox stores, refuses and loses uploads as XieHe does: `/upload/single` of C1/C2, sessions of C3/C4."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.integration.raw_sandbox import sandbox, xiehe
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.waiting import PATIENCE_S

__all__ = ["sandbox", "xiehe"]

JPG = b"\xff\xd8" + b"j" * 500
PART_SIZE = 8_388_608
LEASE_SECONDS = 0.5

DEADLY = (
    *("ct", "MR", "us", "断层", "磁共振", "超声", "head", "brain", "头", "颅", "脑", "chest", "lung", "胸", "肺"),
    *("abdomen", "腹", "肝", "肾", "spine", "脊柱", "椎", "fracture", "STATUS", "CT影像"),
)
SAFE = (
    *("正位X光片", "侧位X光片", "左侧曲位", "右侧曲位", "体态照片"),
    *("X光", "x-ray", "骨盆", "pelvis", "PA view", ""),
)

single = pytest.mark.parametrize("running_sandbox", [1, 2], ids=["C1", "C2"], indirect=True)
sessions = pytest.mark.parametrize("running_sandbox", [3, 4], ids=["C3", "C4"], indirect=True)
c3 = pytest.mark.parametrize("running_sandbox", [3], ids=["C3"], indirect=True)
c4 = pytest.mark.parametrize("running_sandbox", [4], ids=["C4"], indirect=True)


@pytest.fixture(scope="module")
def running_sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SandboxProcess]:
    folder = tmp_path_factory.mktemp(f"xiehe-c{request.param}")
    accounts = {"nurse": "nurse-secret"}
    with SandboxProcess(request.param, folder, accounts=accounts, lease_seconds=LEASE_SECONDS) as process:
        yield process


@pytest.fixture
def patient(xiehe: RawClient) -> int:
    return xiehe.patient_row("P001")


def ready_session(xiehe: RawClient, patient_row: int, size: int = len(JPG), **fields: Any) -> dict[str, Any]:
    session: dict[str, Any] = xiehe.payload(xiehe.create_session("a.jpg", patient_row, size, **fields))
    return session


def stored(sandbox: SandboxProcess) -> list[tuple[str, str | None]]:
    return [(image["filename"], image["patient_id"]) for image in sandbox.state()["images"]]


# C1 and C2: POST /upload/single


@single
def test_the_answers_file_id_is_not_the_images_id(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    receipt = xiehe.payload(xiehe.upload_single("a.jpg", patient, JPG))
    [image] = xiehe.images(patient)
    assert receipt["file_id"] != image["id"]
    assert len(receipt["file_id"]) == 32
    assert sandbox.image_bytes(image["id"]) == JPG


@single
@pytest.mark.parametrize(
    ("name", "mime", "accepted"),
    [
        ("a.DCM", "application/dicom", True),
        ("a.dicom", "application/dicom", True),
        ("a.png", "image/png", True),
        ("a.tiff", "image/tiff", True),
        ("a.bmp", "image/jpeg", False),
        ("a.jpg", "image/bmp", False),
        ("a.jpg", "application/octet-stream", False),
    ],
)
def test_a_refused_type_is_400_and_in_c1_a_masked_500(
    xiehe: RawClient, patient: int, name: str, mime: str, accepted: bool
) -> None:
    answer = xiehe.upload_single(name, patient, JPG, mime)
    refused = 500 if xiehe.contract == 1 else 400
    assert answer.status_code == (200 if accepted else refused)


@single
def test_401_and_422_come_through_unmasked(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    assert xiehe.http.post("/upload/single").status_code == 422
    sandbox.revoke_tokens()
    assert xiehe.upload_single("a.jpg", 1, JPG).status_code == 401


@single
def test_c1_has_one_message_for_every_refusal(xiehe: RawClient, patient: int) -> None:
    answers = [
        xiehe.upload_single("a.bmp", patient, JPG),
        xiehe.upload_single("a.jpg", 99_999, JPG),
        xiehe.upload_single("a.jpg", patient, JPG, description="CT影像"),
    ]
    assert all(answer.headers["content-type"] == "application/json" for answer in answers)
    assert len({answer.json()["message"] for answer in answers}) == (1 if xiehe.contract == 1 else 2)


@single
def test_a_hospital_number_as_patient_id_stores_an_orphan(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    xiehe.create_patient("P001")
    assert xiehe.upload_single("a.jpg", "P001", JPG).status_code == 200
    assert [image["filename"] for image in sandbox.state()["orphans"]] == ["a.jpg"]


@single
def test_a_hospital_number_of_digits_lands_on_whoever_has_that_row_id(
    sandbox: SandboxProcess, xiehe: RawClient
) -> None:
    victim = xiehe.patient_row("P001")
    xiehe.create_patient(str(victim))
    assert xiehe.upload_single("a.jpg", str(victim), JPG).status_code == 200
    assert stored(sandbox) == [("a.jpg", "P001")]


@single
def test_an_unknown_patient_row_is_500(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    assert xiehe.upload_single("a.jpg", 99_999, JPG).status_code == 500
    assert stored(sandbox) == []


@single
def test_deadly_words_in_a_description_kill_the_upload_and_exam_types_do_not(xiehe: RawClient, patient: int) -> None:
    tried = {word: xiehe.upload_single("a.jpg", patient, JPG, description=f"x{word}").status_code for word in DEADLY}
    tried |= {word: xiehe.upload_single("a.jpg", patient, JPG, description=word).status_code for word in SAFE}
    assert tried == dict.fromkeys(DEADLY, 500) | dict.fromkeys(SAFE, 200)


@single
def test_equal_names_in_one_second_overwrite_each_other_across_patients(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    other = xiehe.patient_row("P002")
    sandbox.stop_clock()
    answers = [xiehe.upload_single("same.jpg", patient, b"first"), xiehe.upload_single("same.jpg", other, b"second")]
    assert [answer.status_code for answer in answers] == [200, 200]
    ids = [xiehe.images(row)[0]["id"] for row in (patient, other)]
    assert [sandbox.image_bytes(image_id) for image_id in ids] == [b"second", b"second"]
    assert [xiehe.http.get(f"/image-files/{image_id}/download").content for image_id in ids] == [b"second"] * 2


@single
def test_equal_names_more_than_a_second_apart_keep_their_own_bytes(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    sandbox.stop_clock()
    for content in (b"first", b"second"):
        xiehe.upload_single("same.jpg", patient, content)
        sandbox.pass_time(1.0)
    assert [sandbox.image_bytes(image["id"]) for image in xiehe.images(patient)] == [b"second", b"first"]


@single
def test_a_failing_upload_deletes_the_good_file_of_its_name_and_second(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    sandbox.stop_clock()
    assert xiehe.upload_single("same.jpg", patient, JPG).status_code == 200
    assert xiehe.upload_single("same.jpg", 99_999, JPG).status_code == 500
    [image] = sandbox.state()["images"]
    assert image["sha256"] is None
    assert xiehe.http.get(f"/image-files/{image['id']}/download").status_code == 404


@single
def test_names_are_stored_byte_for_byte_up_to_239_bytes(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    names = ["正位 (1) #%20'é.jpg", "e\u0301.jpg", " lead.jpg", "IM0001.JPG", "n" * 235 + ".jpg", "名" * 78 + "n.jpg"]
    for name in names:
        assert xiehe.upload_single(name, patient, JPG).status_code == 200
    assert [name for name, _ in stored(sandbox)] == names
    for too_long in ("n" * 236 + ".jpg", "名" * 79 + ".jpg"):
        assert xiehe.upload_single(too_long, patient, JPG).status_code == 500


@single
def test_a_path_in_a_name_is_honoured(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    """Out of the upload folder, but never out of the data folder's `files`, the sandbox's whole file system."""
    assert xiehe.upload_single("../up.jpg", patient, JPG).status_code == 200
    assert xiehe.upload_single("../../../../top.jpg", patient, JPG).status_code == 200
    assert xiehe.upload_single("no-such-folder/a.jpg", patient, JPG).status_code == 500
    files = sandbox.data_dir / "files"
    assert sorted(path.name.partition("_")[0] for path in files.glob("*.jpg")) == ["top", "up"]
    assert not list((files / "completed").iterdir())


@single
def test_a_full_disk_is_500(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    sandbox.faults({"operation": "upload_single", "kind": "storage_fault"})
    assert [xiehe.upload_single("a.jpg", patient, JPG).status_code for _ in range(2)] == [500, 200]
    assert len(stored(sandbox)) == 1


# C3 and C4: sessions


@sessions
def test_a_session_and_its_completion(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    session = ready_session(xiehe, patient, description="侧位X光片")
    keys = {"file_uuid", "storage_bucket", "object_key", "part_size", "expires_in", "parts"}
    assert set(session) - keys == ({"session_id"} if xiehe.contract == 4 else {"image_file_id", "upload_id"})
    assert (session["part_size"], session["expires_in"], len(session["parts"])) == (PART_SIZE, 900, 1)
    completed = xiehe.payload(xiehe.complete(session, xiehe.put_parts(session, JPG)))
    assert completed["status"] == ("COMPLETED" if xiehe.contract == 4 else "UPLOADED")
    assert sandbox.image_bytes(completed["image_file_id"]) == JPG
    [image] = xiehe.images(patient)
    assert (image["id"], image["description"]) == (completed["image_file_id"], "侧位X光片")


@sessions
def test_part_urls_lie_outside_the_api(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    [part] = ready_session(xiehe, patient)["parts"]
    assert part["part_number"] == 1
    assert part["url"].startswith(f"{sandbox.url}/storage/")


@sessions
def test_the_etag_is_the_md5_of_the_parts_md5s(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    large = b"x" * (PART_SIZE + 100)
    for name, content in (("one.jpg", JPG), ("two.jpg", large)):
        assert xiehe.upload(name, patient, content).status_code == 200
    parts = [hashlib.md5(large[:PART_SIZE]).digest(), hashlib.md5(large[PART_SIZE:]).digest()]
    etags = {image["original_filename"]: image["storage_etag"] for image in xiehe.images(patient)}
    assert etags == {
        "one.jpg": hashlib.md5(hashlib.md5(JPG).digest()).hexdigest() + "-1",
        "two.jpg": hashlib.md5(b"".join(parts)).hexdigest() + "-2",
    }
    assert sandbox.state()["images"][1]["sha256"] == hashlib.sha256(large).hexdigest()


@sessions
@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("a.jpg", {"size": 0}, 422),
        ("a.jpg", {"patient_id": "P001"}, 422),
        ("a.bmp", {}, 400),
        ("a.jpg", {"mime_type": "image/bmp"}, 400),
        ("a.jpg", {"mime_type": "application/octet-stream"}, 200),
        ("n" * 251 + ".jpg", {}, 200),
        ("名" * 251 + ".jpg", {}, 200),
        ("n" * 252 + ".jpg", {}, 422),
        ("a\tb.jpg", {}, 422),
    ],
)
def test_what_a_session_refuses(xiehe: RawClient, patient: int, name: str, fields: dict[str, Any], status: int) -> None:
    body = {"filename": name, "size": len(JPG), "mime_type": "image/jpeg", "patient_id": patient} | fields
    assert xiehe.http.post("/upload/sessions", json=body).status_code == status


@c4
def test_an_unknown_patient_is_404_in_c4(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    assert xiehe.create_session("a.jpg", 99_999, len(JPG)).status_code == 404


@c3
def test_an_unknown_patient_breaks_c3_and_its_connection(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    body = json.dumps({"filename": "a.jpg", "size": 1, "mime_type": "image/jpeg", "patient_id": 99_999})
    connection = HTTPConnection("127.0.0.1", sandbox.port, timeout=PATIENCE_S)
    connection.request("POST", "/api/v1/upload/sessions", body, sandbox.headers | {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"]) == (500, "text/plain; charset=utf-8")
    assert answer.headers["connection"] is None, "nothing warns that the connection will be closed"
    answer.read()
    assert connection.sock.recv(1) == b""
    connection.close()
    assert stored(sandbox) == []


@sessions
def test_an_abandoned_session_is_listed_in_c3_only(xiehe: RawClient, patient: int) -> None:
    ready_session(xiehe, patient)
    short = ready_session(xiehe, patient, size=999)
    answer = xiehe.complete(short, xiehe.put_parts(short, JPG))
    assert answer.status_code == 400
    statuses = sorted(image["status"] for image in xiehe.images(patient))
    assert statuses == (["FAILED", "UPLOADING"] if xiehe.contract == 3 else [])
    if xiehe.contract == 4:
        session = xiehe.payload(xiehe.http.get(f"/upload/sessions/{short['session_id']}"))
        assert (session["status"], session["image_file_id"]) == ("FAILED", None)


@sessions
def test_a_rename_changes_the_name_and_keeps_the_extension(xiehe: RawClient, patient: int) -> None:
    xiehe.upload("a.jpg", patient, JPG)
    [before] = xiehe.images(patient)
    assert xiehe.rename(before["id"], " b.dcm ").status_code == 200
    assert xiehe.images(patient) == [before | {"original_filename": "b.dcm.jpg"}]


@sessions
@pytest.mark.parametrize("basename", ["", "  ", "a/b", "a\\b", "a\tb", "x" * 252])
def test_a_name_that_cannot_be_is_refused(xiehe: RawClient, patient: int, basename: str) -> None:
    xiehe.upload("a.jpg", patient, JPG)
    [before] = xiehe.images(patient)
    assert xiehe.rename(before["id"], basename).status_code == 422
    assert xiehe.images(patient) == [before]
    assert xiehe.rename(99_999, "b").status_code == 404


@single
def test_the_old_contracts_know_no_rename(xiehe: RawClient, patient: int) -> None:
    xiehe.upload("a.jpg", patient, JPG)
    [image] = xiehe.images(patient)
    assert xiehe.rename(image["id"], "b").status_code == 404


@sessions
@pytest.mark.parametrize("space", ["\u00a0", "\u1680", "\u2003", "\u202f", "\u205f", "\u3000"])
def test_a_name_with_white_space_that_the_storage_cannot_sign_gets_no_session(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int, space: str
) -> None:
    assert xiehe.create_session(f"a{space}b.jpg", patient, len(JPG)).status_code == 502
    assert stored(sandbox) == []


@sessions
@pytest.mark.parametrize("name", ["a b.jpg", "a  b.jpg", " a.jpg", "a .jpg", "a\u200bb.jpg"])
def test_plain_spaces_can_be_signed(xiehe: RawClient, patient: int, name: str) -> None:
    xiehe.upload(name, patient, JPG).raise_for_status()
    assert [image["original_filename"] for image in xiehe.images(patient)] == [name]


@sessions
def test_completing_again_is_idempotent_in_c4_and_400_in_c3(xiehe: RawClient, patient: int) -> None:
    session = ready_session(xiehe, patient)
    parts = xiehe.put_parts(session, JPG)
    first, again = xiehe.complete(session, parts), xiehe.complete(session, parts)
    assert (first.status_code, again.status_code) == (200, 200 if xiehe.contract == 4 else 400)
    if xiehe.contract == 4:
        assert xiehe.payload(first) == xiehe.payload(again)
        assert xiehe.payload(xiehe.http.get(f"/upload/sessions/{session['session_id']}")) == xiehe.payload(first)
    assert len(xiehe.images(patient)) == 1


@sessions
def test_completing_what_nobody_opened_is_404(xiehe: RawClient) -> None:
    unknown = {"session_id": "zz", "image_file_id": 99_999, "upload_id": "u"}
    assert xiehe.complete(unknown, [{"part_number": 1, "etag": "x"}]).status_code == 404


@sessions
def test_the_file_hash_is_not_checked_against_the_bytes(xiehe: RawClient, patient: int) -> None:
    session = ready_session(xiehe, patient, file_hash="0" * 64)
    assert xiehe.complete(session, xiehe.put_parts(session, JPG), file_hash="0" * 64).status_code == 200


@sessions
def test_a_part_that_was_not_sent_is_a_502(xiehe: RawClient, patient: int) -> None:
    session = ready_session(xiehe, patient)
    assert xiehe.complete(session, [{"part_number": 1, "etag": "0" * 32}]).status_code == 502
    assert all(image["status"] == "UPLOADING" for image in xiehe.images(patient))


@sessions
def test_a_part_url_takes_no_token_no_change_and_no_chunks(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    url = ready_session(xiehe, patient)["parts"][0]["url"]
    put = xiehe.storage.put
    assert put(url, content=JPG, headers=sandbox.headers).status_code == 400
    assert put(url, content=iter([JPG])).status_code == 411
    assert put(url.replace("partNumber=1", "partNumber=2"), content=JPG).status_code == 403
    assert put(url.replace("%2F", "/"), content=JPG).status_code == 403
    assert put(url, content=JPG).headers["etag"] == f'"{hashlib.md5(JPG).hexdigest()}"'


@pytest.mark.parametrize("contract", [3, 4])
def test_an_expired_part_url_is_403_in_xml(contract: int, tmp_path: Path) -> None:
    with SandboxProcess(contract, tmp_path, link_seconds=0) as sandbox, RawClient(sandbox) as xiehe:
        session = ready_session(xiehe, xiehe.patient_row("P001"))
        answer = xiehe.storage.put(session["parts"][0]["url"], content=JPG)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/xml")
    assert "<Code>AccessDenied</Code>" in answer.text


@sessions
def test_storage_down_at_creation_is_502_and_writes_nothing(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    sandbox.faults({"operation": "create_session", "kind": "storage_fault"})
    assert xiehe.create_session("a.jpg", patient, len(JPG)).status_code == 502
    assert xiehe.images(patient) == []


@c4
def test_a_storage_fault_in_c4_is_502_then_409_for_the_lease_then_the_same_call_succeeds(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    sandbox.faults({"operation": "complete_session", "kind": "storage_fault"})
    session = ready_session(xiehe, patient)
    parts = xiehe.put_parts(session, JPG)
    sandbox.stop_clock()
    statuses = [xiehe.complete(session, parts).status_code for _ in range(3)]
    sandbox.pass_time(LEASE_SECONDS)
    statuses.append(xiehe.complete(session, parts).status_code)
    assert statuses == [502, 409, 409, 200]
    assert len(xiehe.images(patient)) == 1


@c3
def test_a_storage_fault_in_c3_leaves_the_row_uploading_and_every_retry_502(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    sandbox.faults({"operation": "complete_session", "kind": "storage_fault"})
    session = ready_session(xiehe, patient)
    parts = xiehe.put_parts(session, JPG)
    assert [xiehe.complete(session, parts).status_code for _ in range(3)] == [502] * 3
    assert [image["status"] for image in xiehe.images(patient)] == ["UPLOADING"]
    assert xiehe.upload("a.jpg", patient, JPG).status_code == 200


@sessions
def test_only_the_one_who_opened_a_session_completes_it(
    sandbox: SandboxProcess, xiehe: RawClient, patient: int
) -> None:
    session = ready_session(xiehe, patient)
    parts = xiehe.put_parts(session, JPG)
    credentials = {"username": "nurse", "password": "nurse-secret"}
    token = xiehe.payload(xiehe.http.post("/auth/login", json=credentials))["access_token"]
    with RawClient(sandbox, token) as nurse:
        assert nurse.complete(session, parts).status_code == 403


@sessions
def test_sessions_and_parts_survive_a_restart(sandbox: SandboxProcess, xiehe: RawClient, patient: int) -> None:
    session = ready_session(xiehe, patient)
    parts = xiehe.put_parts(session, JPG)
    sandbox.restart()
    assert xiehe.complete(session, parts).status_code == 200
    assert stored(sandbox) == [("a.jpg", "P001")]
