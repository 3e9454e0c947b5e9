"""Token and log-in: which is used, when it is renewed, and what the operator is told when neither works."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from dataclasses import replace

import pytest

from api_client import ClientOptions, Credentials, XieHeClient
from errors import BackendAuthError, BackendUnavailableError
from tests.integration.api_client_scene import ALL, IMPATIENT, Scene, on, sandboxes, scene, sha
from tests.integration.odd_server import Asked, OddServer, Reply
from tests.waiting import PATIENCE_S

__all__ = ["sandboxes", "scene"]

SECRET = "s3cret-password"


def _account(scene: Scene, token: str | None = None) -> Credentials:
    return Credentials(token, scene.sandbox.user, scene.sandbox.password)


def _jwt(expires_in_s: float) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256'})}.{part({'sub': '1', 'exp': time.time() + expires_in_s})}.c2ln"


@on(*ALL)
async def test_account_alone_logs_in_once_for_all(scene: Scene) -> None:
    async with scene.another_client(credentials=_account(scene)) as client:
        await asyncio.gather(*(client.find_patient(f"P{n}") for n in range(10)))
    assert len(scene.sandbox.requests("login")) == 1


@on(*ALL)
async def test_good_token_is_used_without_logging_in(scene: Scene) -> None:
    async with scene.another_client(credentials=_account(scene, scene.sandbox.token)) as client:
        assert await client.find_patient("P1") is None
    assert scene.sandbox.requests("login") == []


@on(*ALL)
@pytest.mark.parametrize("token", ["wrong", _jwt(-10), _jwt(3600)], ids=["opaque", "expired", "unexpired"])
async def test_refused_token_gives_way_to_the_account(scene: Scene, token: str) -> None:
    async with scene.another_client(credentials=_account(scene, token)) as client:
        assert await client.find_patient("P1") is None
    assert len(scene.sandbox.requests("login")) == 1


@on(*ALL)
async def test_expired_token_is_not_tried_again(scene: Scene) -> None:
    async with scene.another_client(credentials=_account(scene, _jwt(-10))) as client:
        await client.find_patient("P1")
    assert [entry["status"] for entry in scene.sandbox.requests("search_patients")] == [401, 200]


@on(*ALL)
async def test_token_revoked_in_mid_run_is_renewed_and_nothing_is_doubled(scene: Scene) -> None:
    async with scene.another_client(credentials=_account(scene, scene.sandbox.token)) as client:
        patient = await scene.patient()
        pictures = [scene.picture(f"{n}.jpg", patient, b"%d" % n) for n in range(12)]
        await client.upload(pictures[0], known_ids=frozenset())
        scene.sandbox.revoke_tokens()
        await asyncio.gather(*(client.upload(picture, known_ids=frozenset()) for picture in pictures[1:]))
    assert sorted(scene.stored()) == sorted(("P001", f"{n}.jpg", sha(b"%d" % n)) for n in range(12))
    assert len(scene.sandbox.requests("login")) == 1


@on(*ALL)
async def test_most_requests_refused_at_random_still_get_through(scene: Scene) -> None:
    """A deployment without SECRET_KEY has one key per worker process: 62-78 % of the requests meet a wrong one."""
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "any", "kind": "random_401", "fraction": 0.7, "times": "forever", "seed": 7})
    async with scene.another_client(credentials=_account(scene)) as client:
        for number in range(4):
            await client.upload(scene.picture(f"{number}.jpg", patient, b"%d" % number), known_ids=frozenset())
    scene.sandbox.clear_faults()
    assert len(scene.stored()) == 4


@on(*ALL)
@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(), "没有可用的"),
        (Credentials(api_token="wrong"), "拒绝了 API_TOKEN"),
        (Credentials(api_token=_jwt(-10)), "过期"),
        (Credentials(api_token="空 格"), "重新复制"),
        (Credentials(username="nobody", password=SECRET), "拒绝登录"),
        (Credentials(_jwt(3600), "nobody", SECRET), "拒绝登录"),
        (Credentials(username="nobody", password="x"), "拒绝登录"),
    ],
    ids=["none", "wrong", "expired", "malformed", "account", "both", "short-password"],
)
async def test_refusal_says_what_to_change_and_no_secret(
    scene: Scene, credentials: Credentials, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    retry = replace(IMPATIENT, login_gap_s=PATIENCE_S)
    async with scene.another_client(credentials=credentials, retry=retry) as client:
        for _ in range(2):
            with pytest.raises(BackendAuthError, match=words) as caught:
                await client.find_patient("P1")
    told = f"{caught.value.detail} {caught.value.evidence} {credentials!r} {caplog.text}"
    for secret in (credentials.api_token, credentials.password):
        assert secret is None or len(secret) < 3 or secret not in told
    assert len(scene.sandbox.requests("login")) <= 1


@on(1)
async def test_corrected_credentials_work_at_once(scene: Scene) -> None:
    async with scene.another_client(credentials=Credentials(username="nobody", password=SECRET)) as client:
        with pytest.raises(BackendAuthError):
            await client.find_patient("P1")
        client.update_credentials(_account(scene))
        assert await client.find_patient("P1") is None
        client.update_credentials(Credentials(api_token="wrong"))
        with pytest.raises(BackendAuthError):
            await client.find_patient("P1")


@on(*ALL)
async def test_a_log_in_that_is_only_busy_is_tried_again(scene: Scene) -> None:
    scene.sandbox.faults(
        {"operation": "login", "kind": "status", "status": 429, "retry_after": 0},
        {"operation": "login", "kind": "cut_after"},
        {"operation": "login", "kind": "html_error", "status": 502},
    )
    async with scene.another_client(credentials=_account(scene)) as client:
        assert await client.find_patient("P1") is None


@on(1)
async def test_a_log_in_that_never_answers_is_unavailability(scene: Scene) -> None:
    scene.sandbox.faults({"operation": "login", "kind": "html_error", "status": 502, "times": "forever"})
    async with scene.another_client(credentials=_account(scene)) as client:
        with pytest.raises(BackendUnavailableError):
            await client.find_patient("P1")


async def test_after_a_401_the_next_try_comes_on_a_new_connection() -> None:
    """A worker process that knows another key keeps its connections."""
    empty = json.dumps({"patients": [], "total": 0}).encode()

    def one_good_worker(asked: Asked) -> Reply:
        if "upload" in asked.path:
            return Reply(401 if asked.path.endswith("single") else 404, b'{"error": true}', "application/json")
        return Reply(200 if asked.connection == 4 else 401, empty, "application/json")

    async with OddServer(one_good_worker).running() as server:
        options = ClientOptions(server.url, Credentials(api_token="t"), IMPATIENT)
        async with XieHeClient.open(options) as client:
            assert await client.find_patient("P1") is None
            assert await client.find_patient("P2") is None
    assert [asked.connection for asked in server.asked if asked.path.endswith("/patients")] == [1, 2, 3, 4, 4]


@on(4)
async def test_bearer_prefix_and_spaces_around_the_token_do_no_harm(scene: Scene) -> None:
    credentials = Credentials(api_token=f"  Bearer {scene.sandbox.token}\n")
    async with XieHeClient.open(replace(scene.options, credentials=credentials)) as client:
        assert (await client.check()).ready
