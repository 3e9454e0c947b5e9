"""What the tests of the XieHe client share: a sandbox per contract, an impatient client, pictures to upload."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from api_client import ClientOptions, Credentials, RetryPolicy, XieHeClient
from models import Contract, NewPatient, RemotePatient, Sex, UploadIntent, UploadReceipt, UploadRequest
from tests.integration.sandbox_process import SandboxProcess
from tests.unit.test_history import an_image
from tests.waiting import Leap, leaping
from tests.waiting import async_until as until

__all__ = [
    "ALL",
    "IMPATIENT",
    "READ_TIMEOUT_S",
    "SESSION",
    "SINGLE",
    "Leap",
    "Scene",
    "contract_of",
    "leap",
    "on",
    "options_for",
    "sandboxes",
    "scene",
    "sha",
    "until",
]

ALL = (1, 2, 3, 4)
SINGLE = (1, 2)
SESSION = (3, 4)
READ_TIMEOUT_S = 120.0
"""Calls that have to be given up are held by the sandbox, and the clock leaps; see :func:`leap`."""

IMPATIENT = RetryPolicy(
    first_wait_s=0.002,
    max_wait_s=0.01,
    jitter_s=0.002,
    max_retry_after_s=2.0,
    late_commit_window_s=0.4,
    look_every_s=0.1,
    lease_total_s=120.0,
    same_name_gap_s=0.02,
    auth_wait_s=0.01,
    login_gap_s=0.5,
)


@dataclass
class Scene:
    """One sandbox and one client of it."""

    sandbox: SandboxProcess
    options: ClientOptions
    client: XieHeClient
    folder: Path
    calls: list[tuple[str, str]] = field(default_factory=list)

    @property
    def contract(self) -> int:
        return self.sandbox.contract

    async def patient(self, patient_id: str = "P001") -> RemotePatient:
        new = NewPatient(patient_id, "王小东", Sex.MALE, None)
        return (await self.client.create_patient(new)).patient

    def picture(
        self, name: str, patient: RemotePatient, content: bytes = b"\xff\xd8picture", **more: Any
    ) -> UploadRequest:
        path = self.folder / hashlib.sha256(name.encode() + content).hexdigest()[:16]
        path.write_bytes(content)
        exam_type = more.pop("exam_type", None)
        return UploadRequest(str(path), name, patient, exam_type, **more)

    async def upload(self, request: UploadRequest, **more: Any) -> UploadReceipt:
        return await self.client.upload(request, known_ids=more.pop("known_ids", frozenset()), **more)

    def stored(self) -> list[tuple[str | None, str, str | None]]:
        """Patient id, name and content hash of every complete image in the sandbox."""
        return [
            (row["patient_id"], row["filename"], row["sha256"])
            for row in self.sandbox.state()["images"]
            if row["status"] == "UPLOADED"
        ]

    def intent(self, request: UploadRequest, session: str | None, age_s: float = 0.0) -> UploadIntent:
        patient, size_bytes = request.patient, Path(request.path).stat().st_size
        row = an_image(patient_id=patient.patient_id, row_id=patient.row_id, jpg_size=size_bytes)
        row = replace(row, stored_name=request.stored_name, image_file_id=None)
        begun_at = datetime.now(UTC) - timedelta(seconds=age_s)
        return UploadIntent(intent_id="i1", image=row, known_ids=(), created_at=begun_at, session=session)

    async def held(self, operation: str) -> None:
        """Returns when a call of that operation is held by the sandbox."""
        await until(lambda: any(entry["fault"] == "held" for entry in self.sandbox.requests(operation)))

    async def looked_at(self) -> None:
        """Returns when the client has been told of an image, a patient's list or a session since the journal began."""
        looks = {"list_images", "get_session"}
        await until(lambda: any(e["operation"] in looks and e["status"] == 200 for e in self.sandbox.requests()))

    @contextlib.asynccontextmanager
    async def another_client(self, **changes: Any) -> AsyncIterator[XieHeClient]:
        async with XieHeClient.open(replace(self.options, **changes)) as client:
            yield client


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def contract_of(number: int) -> Contract:
    return Contract(f"C{number}")


def options_for(sandbox: SandboxProcess, **changes: Any) -> ClientOptions:
    base = ClientOptions(sandbox.url, Credentials(api_token=sandbox.token), IMPATIENT, read_timeout_s=READ_TIMEOUT_S)
    return replace(base, **changes)


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """See :func:`leaping`."""
    return leaping(monkeypatch)


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, SandboxProcess]]:
    """Started as they are asked for."""
    running = _Sandboxes(tmp_path_factory)
    yield running
    for sandbox in running.values():
        sandbox.stop()


class _Sandboxes(dict[int, SandboxProcess]):
    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._folders = folders

    def __missing__(self, contract: int) -> SandboxProcess:
        sandbox = SandboxProcess(
            contract, self._folders.mktemp(f"xiehe{contract}"), lease_seconds=0.4, part_size_bytes=4096
        )
        sandbox.start()
        self[contract] = sandbox
        return sandbox


@pytest_asyncio.fixture
async def scene(
    request: pytest.FixtureRequest, sandboxes: dict[int, SandboxProcess], tmp_path: Path
) -> AsyncIterator[Scene]:
    """An empty sandbox of the contract the test is parametrised with (``scene`` indirectly)."""
    sandbox = sandboxes[request.param]
    sandbox.reset()
    calls: list[tuple[str, str]] = []
    options = options_for(sandbox, on_call=lambda operation, status, _: calls.append((operation, status)))
    async with XieHeClient.open(options) as client:
        yield Scene(sandbox, options, client, tmp_path, calls)


def on(*contracts: int) -> pytest.MarkDecorator:
    """Run the test on each of these contracts."""
    return pytest.mark.parametrize("scene", contracts, indirect=True, ids=[f"C{number}" for number in contracts])
