"""Which contract XieHe speaks, also behind proxies and when it is exchanged under a running client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from api_client import ClientOptions, Credentials, XieHeClient
from errors import BackendAuthError, BackendContractError, BackendUnavailableError
from models import Contract, NewPatient, Sex
from tests.integration.api_client_scene import (
    ALL,
    IMPATIENT,
    Scene,
    contract_of,
    on,
    options_for,
    sandboxes,
    scene,
    sha,
)
from tests.integration.odd_server import Asked, OddServer, Reply
from tests.integration.sandbox_process import SandboxProcess

__all__ = ["sandboxes", "scene"]

_PAGE = b"<html><body>proxy</body></html>"


def _odd_options(server: OddServer, token: str | None = "t") -> ClientOptions:
    return ClientOptions(server.url, Credentials(api_token=token), IMPATIENT)


@on(*ALL)
async def test_contract_is_found_without_credentials_and_without_writing(scene: Scene) -> None:
    async with scene.another_client(credentials=Credentials()) as client:
        assert await client.detect_contract() is contract_of(scene.contract)
    assert scene.stored() == []
    assert {entry["status"] for entry in scene.sandbox.requests()} <= {401, 404}


@on(1)
async def test_contract_is_asked_once_however_many_wait_for_it(scene: Scene) -> None:
    await asyncio.gather(*(scene.client.detect_contract() for _ in range(10)))
    assert len(scene.sandbox.requests("upload_single")) == 1


@pytest.mark.parametrize("suffix", ["", "/", "/api/v1", "/api/v1/"])
async def test_base_url_may_end_in_the_api_prefix(sandboxes: dict[int, SandboxProcess], suffix: str) -> None:
    sandbox = sandboxes[4]
    async with XieHeClient.open(options_for(sandbox, base_url=sandbox.url + suffix)) as client:
        assert await client.detect_contract() is Contract.C4


@on(*ALL)
async def test_contract_is_found_through_a_proxy_that_replaces_error_bodies(scene: Scene) -> None:
    """C1 and C2 then differ in nothing but the form of a success, for which the token is needed."""

    def proxied(asked: Asked) -> Reply:
        headers = {"authorization": asked.headers["authorization"]} if "authorization" in asked.headers else {}
        answer = httpx.request(asked.method, scene.sandbox.url + asked.path, headers=headers, trust_env=False)
        if answer.status_code >= 400:
            return Reply(answer.status_code, _PAGE)
        return Reply(answer.status_code, answer.content, "application/json")

    async with OddServer(proxied).running() as proxy:
        options = ClientOptions(proxy.url, Credentials(api_token=scene.sandbox.token), IMPATIENT)
        async with XieHeClient.open(options) as client:
            assert await client.detect_contract() is contract_of(scene.contract)


@pytest.mark.parametrize("status", [401, 200, 302])
async def test_something_that_is_not_xiehe_is_named_so(status: int) -> None:
    async with (
        OddServer(lambda _: Reply(status, _PAGE)).running() as server,
        XieHeClient.open(_odd_options(server)) as client,
    ):
        with pytest.raises((BackendContractError, BackendAuthError)) as caught:
            await client.detect_contract()
    assert "proxy" not in caught.value.detail
    assert caught.value.evidence is not None


async def test_a_redirecting_backend_url_is_named_so() -> None:
    def moved(asked: Asked) -> Reply:
        if "upload" in asked.path:
            return Reply(401 if asked.path.endswith("single") else 404, json.dumps({"error": True}).encode())
        return Reply(301, headers={"Location": "https://elsewhere.example/"})

    async with OddServer(moved).running() as server, XieHeClient.open(_odd_options(server)) as client:
        with pytest.raises(BackendContractError, match="重定向"):
            await client.find_patient("P1")


async def test_a_maintenance_page_with_status_200_is_unavailability() -> None:
    def page(asked: Asked) -> Reply:
        if "upload" in asked.path:
            return Reply(401 if asked.path.endswith("single") else 404, json.dumps({"error": True}).encode())
        return Reply(200, _PAGE)

    async with OddServer(page).running() as server, XieHeClient.open(_odd_options(server)) as client:
        with pytest.raises(BackendUnavailableError, match="not_json"):
            await client.find_patient("P1")


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (3, 4), (4, 3), (1, 4)])
async def test_a_backend_upgraded_under_a_running_client_is_noticed(tmp_path: Path, before: int, after: int) -> None:
    with SandboxProcess(before, tmp_path / "before") as sandbox:
        async with XieHeClient.open(options_for(sandbox)) as client:
            scene = Scene(sandbox, options_for(sandbox), client, tmp_path)
            await scene.upload(scene.picture("a.jpg", await scene.patient()))
            upgraded = _exchange(sandbox, after, tmp_path / "after")
            try:
                patient = (await client.create_patient(NewPatient("P001", "n", Sex.MALE, None))).patient
                await scene.upload(scene.picture("b.jpg", patient, b"b"))
                stored = [
                    (row["filename"], row["sha256"])
                    for row in upgraded.state()["images"]
                    if row["status"] == "UPLOADED"
                ]
                assert stored == [("b.jpg", sha(b"b"))]
                health = await client.check()
                assert health.ready
            finally:
                upgraded.stop()


def _exchange(old: SandboxProcess, contract: int, folder: Path) -> SandboxProcess:
    new = SandboxProcess(contract, folder)
    new.port = old.port
    old.stop()
    new.start()
    return new


@on(*ALL)
async def test_check_says_what_works(scene: Scene) -> None:
    health = await scene.client.check()
    assert (health.ready, health.contract) == (True, contract_of(scene.contract))


async def test_check_of_a_dead_backend_answers_at_once(
    sandboxes: dict[int, SandboxProcess], unused_tcp_port: int
) -> None:
    options = options_for(sandboxes[4], base_url=f"http://127.0.0.1:{unused_tcp_port}")
    async with XieHeClient.open(options) as client:
        health = await client.check()
    assert (health.ready, health.contract, health.code) == (False, None, "backend_unavailable")


@on(*ALL)
async def test_check_of_a_refused_token_says_what_to_change(scene: Scene) -> None:
    async with scene.another_client(credentials=Credentials(api_token="wrong")) as client:
        health = await client.check()
    assert (health.ready, health.code) == (False, "backend_auth")
    assert "API_TOKEN" in (health.detail or "")
