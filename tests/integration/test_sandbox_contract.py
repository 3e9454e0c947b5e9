"""The sandbox answers as XieHe does, on all four contracts: shapes, log-in, patients, lists of images."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.raw_sandbox import sandbox, xiehe
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.waiting import PATIENCE_S

__all__ = ["sandbox", "xiehe"]

JPG = b"\xff\xd8" + b"j" * 500


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids=["C1", "C2", "C3", "C4"])
def running_sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SandboxProcess]:
    folder = tmp_path_factory.mktemp(f"xiehe-c{request.param}")
    with SandboxProcess(request.param, folder, accounts={"nurse": "nurse-secret"}) as process:
        yield process


@pytest.fixture
def nurse(sandbox: SandboxProcess, xiehe: RawClient) -> Iterator[RawClient]:
    """An ordinary account."""
    with RawClient(sandbox, log_in(xiehe, "nurse", "nurse-secret")["access_token"]) as client:
        yield client


def log_in(client: RawClient, username: str, password: str) -> dict[str, str]:
    answer = client.http.post("/auth/login", json={"username": username, "password": password})
    tokens: dict[str, str] = client.payload(answer)
    return tokens


def without_token(sandbox: SandboxProcess, method: str, path: str) -> httpx.Response:
    with httpx.Client(base_url=f"{sandbox.url}/api/v1", trust_env=False) as stranger:
        return stranger.request(method, path)


# which contract is it


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("POST", "/upload/single", [401, 401, 404, 404]),
        ("POST", "/upload/sessions", [404, 404, 401, 401]),
        ("GET", "/upload/sessions/0", [404, 404, 404, 401]),
        ("GET", "/patients", [401, 401, 401, 401]),
        ("POST", "/patients", [401, 401, 401, 401]),
    ],
)
def test_a_request_without_a_token_tells_the_contracts_apart(
    sandbox: SandboxProcess, method: str, path: str, statuses: list[int]
) -> None:
    answer = without_token(sandbox, method, path)
    assert answer.status_code == statuses[sandbox.contract - 1]
    body = answer.json()
    assert (body.get("error") is True, "code" in body) == ((True, False) if sandbox.contract == 1 else (False, True))


def test_the_root_answers_alike_and_openapi_is_off(sandbox: SandboxProcess) -> None:
    for path, status in (("/", 200), ("/health", 200), ("/info", 200), ("/openapi.json", 404), ("/docs", 404)):
        assert httpx.get(sandbox.url + path, trust_env=False).status_code == status


# shapes


def test_a_created_patient_is_http_200_and_code_201_inside_the_envelope(xiehe: RawClient) -> None:
    answer = xiehe.create_patient("P001", birth_date="1970-01-31")
    assert answer.status_code == 200
    body = answer.json()
    if xiehe.contract > 1:
        assert sorted(body) == ["code", "data", "message", "timestamp"]
        assert body["code"] == 201
    row = xiehe.payload(answer)
    assert {"patient_id": "P001", "name": "测试", "gender": "男", "birth_date": "1970-01-31"}.items() <= row.items()
    assert isinstance(row["id"], int)
    assert {"age", "phone", "status", "created_at", "updated_at"} <= set(row)


@pytest.mark.parametrize(("path", "bare_key"), [("/patients", "patients"), ("/image-files/patient/1", "items")])
def test_a_list_carries_its_numbers(xiehe: RawClient, path: str, bare_key: str) -> None:
    body = xiehe.http.get(path, params={"page": 2, "page_size": 7}).json()
    if xiehe.contract == 1:
        assert {"total": 0, "page": 2, "page_size": 7, bare_key: []}.items() <= body.items()
    else:
        pagination = {"total": 0, "page": 2, "page_size": 7, "total_pages": 0}
        assert body["data"] == {"items": [], "pagination": pagination}


def test_a_refusal_names_its_code_and_path(xiehe: RawClient) -> None:
    xiehe.create_patient("P001")
    answer = xiehe.create_patient("P001")
    body = answer.json()
    assert answer.status_code == 400
    assert (body["error_code"], body["path"]) == ("BUSINESS_ERROR", "/api/v1/patients")
    if xiehe.contract == 1:
        assert (body["error"], body["status_code"]) == (True, 400)
    else:
        assert sorted(body) == ["code", "error_code", "message", "path", "timestamp"]
        assert body["code"] == 400


def test_an_invalid_body_is_explained_field_by_field(xiehe: RawClient) -> None:
    answer = xiehe.create_patient("P001", gender=None)
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (422, "VALIDATION_ERROR")
    if xiehe.contract == 1:
        assert sorted(body["errors"][0]) == ["field", "input", "message", "type"]
    else:
        assert sorted(body["details"][0]) == ["field", "message", "type"]


# log-in and tokens


def test_a_log_in_gives_a_jwt_that_tells_when_it_ends(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    tokens = log_in(xiehe, sandbox.user, sandbox.password)
    payload = tokens["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["exp"] - time.time() == pytest.approx(43_200, abs=PATIENCE_S)
    assert {"refresh_token", "token_type", "user"} <= set(tokens)
    with RawClient(sandbox, tokens["access_token"]) as importer:
        me = importer.payload(importer.http.get("/auth/me"))
    assert (me["username"], me["is_superuser"]) == (sandbox.user, True)


def test_a_refreshed_token_loses_the_superuser_in_c1_and_c2(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    refresh_token = log_in(xiehe, sandbox.user, sandbox.password)["refresh_token"]
    refreshed = xiehe.payload(xiehe.http.post("/auth/refresh", json={"refresh_token": refresh_token}))["tokens"]
    with RawClient(sandbox, refreshed["access_token"]) as importer:
        me = importer.payload(importer.http.get("/auth/me"))
    assert me["is_superuser"] is (xiehe.contract > 2)


def test_every_bad_token_gets_the_same_answer(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    tokens = log_in(xiehe, sandbox.user, sandbox.password)
    sandbox.revoke_tokens(including_fixed=False)
    algorithm, claims, _ = tokens["access_token"].split(".")
    bad = [tokens["access_token"], tokens["refresh_token"], f"{algorithm}.{claims}.AAAA", "x", "x.y.z", "令牌"]
    sent = [[(b"Authorization", f"Bearer {token}".encode())] for token in bad]
    answers = [xiehe.http.get("/patients", headers=headers) for headers in sent]
    answers += [without_token(sandbox, "GET", "/patients")]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["error_code"] for answer in answers} == {"AUTH_FAILED"}
    assert len({answer.json()["message"] for answer in answers}) == 1
    assert xiehe.http.get("/patients").status_code == 200


def test_an_expired_token_is_refused_until_the_next_log_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        SandboxProcess(4, tmp_path_factory.mktemp("expired"), token_seconds=-5) as sandbox,
        RawClient(sandbox) as client,
    ):
        expired = log_in(client, sandbox.user, sandbox.password)["access_token"]
        refused = client.http.get("/auth/me", headers={"Authorization": f"Bearer {expired}"})
        assert (refused.status_code, refused.json()["error_code"]) == (401, "AUTH_FAILED")


def test_a_wrong_password_is_401_and_a_short_one_422(xiehe: RawClient) -> None:
    for password, status in (("wrong-password", 401), ("x", 422)):
        answer = xiehe.http.post("/auth/login", json={"username": "nobody-here", "password": password})
        assert answer.status_code == status


# patients


def test_ids_that_differ_in_case_accent_or_width_are_duplicates_but_not_in_a_trailing_space(xiehe: RawClient) -> None:
    tried = ["Pé01", "pé01", "Pe01", "Ｐｅ０１", "Pe01 ", " Pe01"]
    statuses = [xiehe.create_patient(patient_id).status_code for patient_id in tried]
    assert statuses == [200, 400, 400, 400, 200, 200]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("P001", ["P001", "P001 ", "P0010"]),
        ("p00", ["P001", "P001 ", "P0010"]),
        ("Ｐ００１", ["P001", "P001 ", "P0010"]),
        ("a_b", ["a\\b", "a_b"]),
        ("a%b", ["a\\b", "a_b"]),
        ("a\\b", []),
        ("a\\\\b", []),
        ("\\", []),
        ("王", ["named"]),
        ("138", ["phoned"]),
        ("", ["P001", "P001 ", "P0010", "a\\b", "a_b", "named", "phoned"]),
    ],
)
def test_a_search_is_a_loose_substring_with_live_wildcards(xiehe: RawClient, text: str, found: list[str]) -> None:
    for patient_id in ("P001", "P0010", "P001 ", "a_b", "a\\b"):
        xiehe.create_patient(patient_id)
    xiehe.create_patient("named", name="王小明")
    xiehe.create_patient("phoned", phone="13800000000")
    assert xiehe.search(text) == found


def test_there_is_no_exact_filter_and_no_page_over_a_hundred(xiehe: RawClient) -> None:
    xiehe.create_patient("P001")
    assert len(xiehe.rows(xiehe.http.get("/patients", params={"patient_id": "NOPE"}))) == 1
    for path in ("/patients", "/image-files", "/image-files/patient/1"):
        assert xiehe.http.get(path, params={"page_size": 100}).status_code == 200
        assert xiehe.http.get(path, params={"page_size": 101}).status_code == 422


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        *(("MALE", "男"), ("male", "男"), ("男", "男"), ("FEMALE", "女"), ("Female", "女"), ("女", "女")),
        *(("OTHER", "其他"), ("其他", "其他"), ("UNKNOWN", "未知"), ("未知", "未知")),
        *(("M", "未知"), ("F", "未知"), ("", "未知")),
    ],
)
def test_a_gender_it_does_not_know_becomes_unknown(xiehe: RawClient, sent: str, shown: str) -> None:
    assert xiehe.payload(xiehe.create_patient("P001", gender=sent))["gender"] == shown


@pytest.mark.parametrize(
    ("fields", "statuses"),
    [
        ({"birth_date": None}, [200] * 4),
        ({"birth_date": ""}, [422, 422, 200, 200]),
        ({"birth_date": "20240101"}, [422] * 4),
        ({"patient_id": "病" * 50}, [200] * 4),
        ({"patient_id": "x" * 51}, [422] * 4),
        ({"name": "名" * 100}, [200] * 4),
        ({"name": "x" * 101}, [422] * 4),
    ],
)
def test_limits_of_a_patient(xiehe: RawClient, fields: dict[str, str], statuses: list[int]) -> None:
    answer = xiehe.create_patient(**{"patient_id": "P001"} | fields)
    assert answer.status_code == statuses[xiehe.contract - 1]


def test_concurrent_creates_of_one_id_make_one_row(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(xiehe.create_patient, ["P001", "p001"] * 4))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= ({400, 500} if xiehe.contract == 1 else {400})
    assert len(sandbox.state()["patients"]) == 1


def test_a_soft_deleted_patients_id_can_neither_be_found_nor_used(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    sandbox.soft_delete_patient(xiehe.patient_row("P001"))
    assert xiehe.search("P001") == []
    statuses = {xiehe.create_patient(patient_id).status_code for patient_id in ("P001", "P001", "p001")}
    assert statuses == ({500} if xiehe.contract < 3 else {400})
    assert xiehe.search("") == []


def test_lists_of_c3_and_c4_are_cached_until_a_write_through_the_api(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    assert xiehe.search("P0") == ["P001"]
    sandbox.soft_delete_patient(row, behind_cache=True)
    assert xiehe.search("P0") == (["P001"] if xiehe.contract > 2 else [])
    xiehe.create_patient("P002")
    assert xiehe.search("P0") == ["P002"]


# lists of images


def test_an_image_row(xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("a.jpg", row, JPG, "正位X光片")
    [image] = xiehe.images(row)
    shown = {"original_filename": "a.jpg", "file_size": len(JPG), "mime_type": "image/jpeg", "status": "UPLOADED"}
    shown |= {"upload_progress": 100, "patient_id": row, "description": "正位X光片", "uploaded_by": 1}
    assert shown.items() <= image.items()
    if xiehe.contract > 2:
        assert image["patient_identifier"] == "P001"
    else:
        assert "storage_etag" not in image


@pytest.mark.parametrize("status", ["PROCESSING", "PROCESSED", "FAILED", "ARCHIVED"])
def test_a_status_changes_neither_the_content_nor_the_list(
    sandbox: SandboxProcess, xiehe: RawClient, status: str
) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("a.jpg", row, JPG)
    [before] = xiehe.images(row)
    sandbox.set_status(before["id"], status)
    [after] = xiehe.images(row)
    assert after == before | {"status": status}
    assert sandbox.image_bytes(before["id"]) == JPG
    assert [image["has_content"] for image in sandbox.state()["images"]] == [True]
    download = xiehe.http.get(f"/image-files/{before['id']}/download")
    downloadable = xiehe.contract < 3 or status == "PROCESSED"
    assert download.status_code == ((200 if xiehe.contract < 3 else 307) if downloadable else 409)


def test_the_same_file_twice_is_two_rows(xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    for _ in range(2):
        xiehe.upload("a.jpg", row, JPG)
    assert [image["original_filename"] for image in xiehe.images(row)] == ["a.jpg", "a.jpg"]


def test_an_unknown_patient_has_an_empty_list(xiehe: RawClient) -> None:
    assert xiehe.images(99_999) == []


def test_the_general_list_ignores_patient_and_file_name(xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("a.jpg", row, JPG)
    for ignored in ({"patient_id": "99999"}, {"filename": "other.jpg"}):
        assert len(xiehe.rows(xiehe.http.get("/image-files", params=ignored))) == 1


def test_since_c3_an_ordinary_account_sees_its_own_images_of_a_patient_only(xiehe: RawClient, nurse: RawClient) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("ours.jpg", row, JPG)
    nurse.upload("theirs.jpg", row, JPG)
    assert {image["original_filename"] for image in xiehe.images(row)} == {"ours.jpg", "theirs.jpg"}
    seen = {image["original_filename"] for image in nurse.images(row)}
    assert seen == ({"theirs.jpg"} if xiehe.contract > 2 else {"ours.jpg", "theirs.jpg"})
    assert [image["original_filename"] for image in nurse.rows(nurse.http.get("/image-files"))] == ["theirs.jpg"]


def test_small_pages_lose_rows_of_one_second_and_full_pages_do_not(xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    for number in range(24):
        xiehe.upload(f"{number}.jpg", row, JPG)
    in_full = [image["id"] for image in xiehe.images(row)]
    in_threes = [image["id"] for page in range(1, 9) for image in xiehe.images(row, page, 3)]
    assert len(set(in_full)) == 24
    assert len(in_threes) == 24
    assert len(set(in_threes)) < 24


def test_bytes_come_back_directly_or_by_a_presigned_url_that_refuses_a_token(
    sandbox: SandboxProcess, xiehe: RawClient
) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("a.jpg", row, JPG)
    [image] = xiehe.images(row)
    answer = xiehe.http.get(f"/image-files/{image['id']}/download")
    if xiehe.contract < 3:
        assert (answer.status_code, answer.content) == (200, JPG)
        return
    assert answer.status_code == 307
    location = answer.headers["location"]
    assert xiehe.storage.get(location).content == JPG
    assert xiehe.storage.get(location, headers=sandbox.headers).status_code == 400
