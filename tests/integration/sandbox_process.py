"""A XieHe sandbox in a process of its own, for tests over real TCP.

with SandboxProcess(contract=4, data_dir=tmp_path / "xiehe") as sandbox:
    sandbox.faults({"operation": "complete_session", "kind": "cut_after"})
    ...
    assert sandbox.state()["orphans"] == []
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from tests.integration.service_process import free_port
from tests.integration.warm_start import REPOSITORY, Order, Started, start_warm
from tests.waiting import PATIENCE_S, until

# No TLS here, and loading certificates for each client would be most of a test's time. The sandbox closes a connection
# after 5 s at rest, as XieHe does: a client that reuses one may lose a request to that.
_PLAIN: dict[str, Any] = {
    "trust_env": False,
    "verify": False,
    "timeout": PATIENCE_S,
    "limits": httpx.Limits(max_keepalive_connections=0),
}

_HELD = ("held", "held_after")


class SandboxNotReadyError(Exception):
    """The sandbox didn't come up in time; the message holds what it wrote to standard error."""


class SandboxProcess:
    """Starts on entering, is gone on leaving. `options` are the sandbox's own, e.g. `lease_seconds=1`.

    `accounts` are ordinary ones, `{"nurse": "secret-2"}`; `user` is always the superuser, and `token` is their token.
    """

    def __init__(
        self,
        contract: int,
        data_dir: Path,
        *,
        token: str = "sandbox-token",
        user: str = "importer",
        password: str = "sandbox-password",
        accounts: Mapping[str, str] | None = None,
        rate_limit: bool = False,
        **options: float,
    ) -> None:
        self.contract = contract
        self.data_dir = data_dir
        self.token = token
        self.user = user
        self.password = password
        self.port = free_port()
        self._arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self._arguments += [f"--account={name}:{secret}" for name, secret in (accounts or {}).items()]
        self._arguments += ["--rate-limit"] if rate_limit else []
        self._process: Started | None = None
        self._pipes: tuple[IO[str], ...] = ()
        self._admin: httpx.Client | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # the process

    @property
    def url(self) -> str:
        """Without a slash at the end, and without /api/v1."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The superuser's."""
        return {"Authorization": f"Bearer {self.token}"}

    def start(self) -> None:
        """On the same port each time."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log_path = self.data_dir / "sandbox.log"
        line = _first_line(self._launch(log_path), PATIENCE_S)
        if not line.startswith("sandbox ready http://"):
            self.stop()
            raise SandboxNotReadyError(f"instead of the ready line: {line!r}\n{log_path.read_text(errors='replace')}")
        self._admin = httpx.Client(base_url=f"{self.url}/sandbox", **_PLAIN)

    def stop(self) -> None:
        """As if the power went: killed, not asked. What was stored stays in `data_dir`. Twice is fine."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None
        for pipe in self._pipes:
            pipe.close()
        self._pipes = ()

    def restart(self) -> None:
        """Same port, same data; faults and the journal are gone."""
        self.stop()
        self.start()

    def _launch(self, log_path: Path) -> IO[str]:
        """What it will say on standard output; while its standard input is open it lives."""
        its_input, lifeline = os.pipe()
        said, its_output = os.pipe()
        self._pipes = (os.fdopen(lifeline, "w"), os.fdopen(said, encoding="utf-8"))
        with log_path.open("ab") as log:
            order = Order(self._words(), REPOSITORY, dict(os.environ))
            self._process = start_warm(order, its_input, its_output, log.fileno())
        os.close(its_input)
        os.close(its_output)
        return self._pipes[1]

    def _words(self) -> list[str]:
        return [
            *("-m", "sandbox", "--watch-stdin"),
            f"--contract={self.contract}",
            f"--port={self.port}",
            f"--data-dir={self.data_dir}",
            f"--token={self.token}",
            f"--user={self.user}",
            f"--password={self.password}",
            *self._arguments,
        ]

    # what a test scripts and looks at

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Add fault rules to those in force; see sandbox/faults.py for the kinds."""
        self._ask("POST", "faults", json=[dict(rule) for rule in rules])

    def clear_faults(self, *, keep_held: bool = False) -> None:
        """No rule is in force any more; what is held goes on as well, unless it is to stay held."""
        self._ask("DELETE", "faults", params={"keep_held": keep_held})

    def hold(self, operation: str, **rule: Any) -> None:
        """From now on requests of that operation wait for :meth:`let_go`: an event where `slow` would be a race."""
        self.faults({"operation": operation, "kind": "held", "times": "forever", **rule})

    def until_held(self, operation: str, count: int = 1) -> None:
        """Returns when so many requests have been held (whether or not they still are)."""
        until(lambda: len([entry for entry in self.requests(operation) if entry["fault"] in _HELD]) >= count)

    def let_go(self) -> None:
        """What is held now goes on; the rules stay."""
        self._ask("POST", "let-go")

    def until_idle(self) -> None:
        """Returns when no request is under way, not even one whose client has died."""
        until(lambda: all(entry["finished"] for entry in self.requests()))

    def stop_clock(self) -> None:
        """Seconds are counted no more: for stored names (C1, C2), the lease (C4) and rate limits."""
        self._ask("POST", "clock", json={"stands": True})

    def pass_time(self, seconds: float) -> None:
        self._ask("POST", "clock", json={"seconds_pass": seconds})

    def run_clock(self) -> None:
        self._ask("POST", "clock", json={"stands": False})

    def fault_report(self) -> list[dict[str, Any]]:
        """The rules in force, each with how many requests it has `seen` and how often it `fired`."""
        report: list[dict[str, Any]] = self._ask("GET", "faults").json()
        return report

    def state(self, *, hashes: bool = True) -> dict[str, Any]:
        """`patients`, `images`, `orphans` and `requests` as the sandbox holds them now."""
        state: dict[str, Any] = self._ask("GET", "state", params={"hashes": hashes}).json()
        return state

    def image_bytes(self, image_id: int) -> bytes:
        """What is stored for the image now; httpx.HTTPStatusError when nothing is."""
        return self._ask("GET", f"images/{image_id}/bytes").content

    def requests(self, operation: str | None = None) -> list[dict[str, Any]]:
        """The journal, oldest first: time, finished, operation, method, path, status, filename, patient_id, fault."""
        entries: list[dict[str, Any]] = self._ask("GET", "requests").json()
        return [entry for entry in entries if operation in (None, entry["operation"])]

    def clear_requests(self) -> None:
        self._ask("DELETE", "requests")

    def delete_image(self, image_id: int, *, behind_cache: bool = False) -> None:
        """As somebody deleting it in XieHe; `behind_cache` leaves C3/C4's cached lists stale."""
        self._ask("DELETE", f"images/{image_id}", params={"behind_cache": behind_cache})

    def set_status(self, image_id: int, status: str) -> None:
        """As XieHe's AI worker or archive; the content stays."""
        self._ask("POST", f"images/{image_id}/status", json={"status": status})

    def soft_delete_patient(self, row_id: int, *, behind_cache: bool = False) -> None:
        self._ask("POST", f"patients/{row_id}/soft-delete", params={"behind_cache": behind_cache})

    def reconcile(self, status: str = "COMPLETED") -> int:
        """C4's job, which makes this of each session that is COMPLETING; how many there were."""
        return int(self._ask("POST", "reconcile", json={"status": status}).json()["sessions"])

    def sessions(self, status: str | None = None) -> list[dict[str, Any]]:
        """Rows of XieHe's table of upload sessions, oldest first."""
        rows: list[dict[str, Any]] = self.state(hashes=False)["sessions"]
        return [row for row in rows if status in (None, row["status"])]

    def revoke_tokens(self, *, including_fixed: bool = True) -> None:
        """Every token issued until now is refused, `token` too; a log-in gives a good one."""
        self._ask("POST", "revoke-tokens", json={"including_fixed": including_fixed})

    def reset(self) -> None:
        """Empty as on the first start; row ids begin at 1 again."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        assert self._admin is not None, "the sandbox isn't running"
        return self._admin.request(method, path, **content).raise_for_status()


def _first_line(said: IO[str], deadline_s: float) -> str:
    """The first line on standard output, or "" when none came in time or the process ended."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(said.readline()), daemon=True).start()
    try:
        return lines.get(timeout=deadline_s).strip()
    except queue.Empty:
        return ""


class RawClient:
    """XieHe's API called plainly, for tests that look at the answers themselves. Answers are httpx responses."""

    def __init__(self, sandbox: SandboxProcess, token: str | None = None) -> None:
        self.contract = sandbox.contract
        headers = {"Authorization": f"Bearer {token or sandbox.token}"}
        self.http = httpx.Client(base_url=f"{sandbox.url}/api/v1", headers=headers, **_PLAIN)
        self.storage = httpx.Client(**_PLAIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.storage.close()

    def payload(self, response: httpx.Response) -> Any:
        """The success body without its envelope."""
        response.raise_for_status()
        body = response.json()
        return body if self.contract == 1 else body["data"]

    def rows(self, response: httpx.Response) -> list[dict[str, Any]]:
        """A list's rows, whatever the contract calls them."""
        body = self.payload(response)
        rows: list[dict[str, Any]] = body["patients"] if "patients" in body else body["items"]
        return rows

    def create_patient(self, patient_id: str, **fields: Any) -> httpx.Response:
        body = {"patient_id": patient_id, "name": "测试", "gender": "MALE"} | fields
        return self.http.post("/patients", json=body)

    def patient_row(self, patient_id: str) -> int:
        """A new patient's row id."""
        return int(self.payload(self.create_patient(patient_id))["id"])

    def search(self, text: str, page_size: int = 100) -> list[str]:
        """The patient ids found, sorted."""
        found = self.http.get("/patients", params={"search": text, "page_size": page_size})
        return sorted(row["patient_id"] for row in self.rows(found))

    def images(self, patient_row: int, page: int = 1, page_size: int = 100) -> list[dict[str, Any]]:
        path = f"/image-files/patient/{patient_row}"
        return self.rows(self.http.get(path, params={"page": page, "page_size": page_size}))

    def rename(self, image_id: int, basename: str) -> httpx.Response:
        """C3 and C4; the extension stays."""
        return self.http.patch(f"/image-files/{image_id}/filename", json={"basename": basename})

    def upload_single(
        self, name: str, patient_id: object, content: bytes, mime: str = "image/jpeg", **form: str
    ) -> httpx.Response:
        files = {"file": (name, content, mime)}
        return self.http.post("/upload/single", files=files, data={"patient_id": str(patient_id)} | form)

    def create_session(self, name: str, patient_row: object, size: int, **fields: Any) -> httpx.Response:
        body = {"filename": name, "size": size, "mime_type": "image/jpeg", "patient_id": patient_row} | fields
        return self.http.post("/upload/sessions", json=body)

    def put_parts(self, session: Mapping[str, Any], content: bytes) -> list[dict[str, Any]]:
        """Send the content in the session's parts; what `complete` wants to know of them."""
        size = session["part_size"]
        answers = [
            self.storage.put(part["url"], content=content[index * size : (index + 1) * size]).raise_for_status()
            for index, part in enumerate(session["parts"])
        ]
        return [{"part_number": number, "etag": answer.headers["etag"]} for number, answer in enumerate(answers, 1)]

    def complete(self, session: Mapping[str, Any], parts: list[dict[str, Any]], **fields: Any) -> httpx.Response:
        key = session["session_id"] if self.contract == 4 else session["image_file_id"]
        body: dict[str, Any] = {"parts": parts} | ({"upload_id": session["upload_id"]} if self.contract == 3 else {})
        return self.http.post(f"/upload/sessions/{key}/complete", json=body | fields)

    def upload(self, name: str, patient_row: int, content: bytes, description: str | None = None) -> httpx.Response:
        """One image the contract's own way; the last answer."""
        if self.contract < 3:
            form = {} if description is None else {"description": description}
            return self.upload_single(name, patient_row, content, **form)
        created = self.create_session(name, patient_row, len(content), description=description)
        session = self.payload(created)
        return self.complete(session, self.put_parts(session, content))
