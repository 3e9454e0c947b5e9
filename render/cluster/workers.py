"""Which of a cluster's workers may have jobs: those with our code and our folders, looked at when they come."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace

from render.cluster.code_stamp import difference
from render.cluster.protocol import DISMISS, ENLIST, STAMP, ClusterLink, SharedPathProbe, WorkerRegistration
from render.cluster.worker import file_digest
from render.executor import PoolOptions

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
_UNFIT_AGAIN_S = 30.0
_MAX_UNSEEN = 16

Connect = Callable[[], AbstractAsyncContextManager[ClusterLink]]


@dataclass(frozen=True, slots=True)
class WorkerRegistryOptions:
    """What workers are told when they are enlisted.

    Attributes:
        owner: whose processes theirs are.
        pool: of one worker; it gets as many processes as it has threads.
        partial_dir: where pictures are made.
        roots: folders whose content every worker must see.
        files: files whose content must be the same everywhere.
    """

    owner: str
    pool: PoolOptions
    partial_dir: str
    roots: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class Member:
    """A worker. ``problem`` is None while it is being looked at, and empty where it is fit."""

    threads: int
    problem: str | None = None
    due: float = field(default_factory=time.monotonic)


class WorkerRegistry:
    """Keeps a connection to the cluster and a list of its workers, until :meth:`keep` is cancelled."""

    def __init__(self, connect: Connect, options: WorkerRegistryOptions) -> None:
        self._connect = connect
        self._options = options
        self._members: dict[str, Member] = {}
        self._unseen: dict[str, None] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._nudge = asyncio.Event()
        self.link: ClusterLink | None = None
        self.losses = 0
        self.changed = asyncio.Event()
        """Set at the next change, and then replaced by another one."""

    # --- what is known -----------------------------------------------------------------------------------------------

    @property
    def fit(self) -> frozenset[str]:
        """Addresses of the workers that may have jobs."""
        return frozenset(address for address, member in self._members.items() if member.problem == "")

    @property
    def threads(self) -> tuple[int, int]:
        """Of the fit workers, and of all."""
        fit = sum(member.threads for member in self._members.values() if member.problem == "")
        return fit, sum(member.threads for member in self._members.values())

    @property
    def problems(self) -> Mapping[str, str]:
        """Why which workers are not fit."""
        return {address: member.problem for address, member in self._members.items() if member.problem}

    @property
    def size(self) -> int:
        """Workers, fit or not."""
        return len(self._members)

    # --- what the executor tells -------------------------------------------------------------------------------------

    def distrust(self, address: str, problem: str) -> None:
        """A worker failed where it must not; it is looked at again in a while."""
        member = self._members.get(address)
        if member is not None:
            self._judge(address, member, problem)

    def must_see(self, path: str) -> None:
        """A worker did not see this file's folder."""
        self._unseen[os.path.dirname(path)] = None
        if len(self._unseen) > _MAX_UNSEEN:
            del self._unseen[next(iter(self._unseen))]

    def hurry(self) -> None:
        """Something is wrong: the next look comes at once."""
        self._nudge.set()

    def look_again(self) -> None:
        """Somebody lost our processes without leaving: everyone is looked at again, at once."""
        for member in self._members.values():
            if member.problem == "":
                member.problem, member.due = None, time.monotonic()
        self.hurry()
        self._announce()

    def _announce(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    # --- keeping -----------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Connects, looks, and connects again, until cancelled."""
        reachable = True
        while True:
            try:
                async with self._connect() as link:
                    reachable, self.link = True, link
                    await self._watch(link)
            except ConnectionError as error:
                if reachable:
                    _log.warning("the cluster cannot be reached: %s", error)
                reachable = False
            finally:
                self._disband()
            await asyncio.sleep(_LOOK_S)

    async def dismiss(self) -> None:
        """Lets the workers end our processes."""
        link = self.link
        if link is not None:
            owner = self._options.owner.encode()
            calls = [link.call(address, DISMISS, owner) for address in self.fit]
            await asyncio.gather(*calls, return_exceptions=True)

    async def _watch(self, link: ClusterLink) -> None:
        while True:
            self._compare(await link.workers())
            for address, member in self._members.items():
                if member.problem != "" and member.due <= time.monotonic():
                    member.due = float("inf")
                    self._check(link, address, member)
            self._nudge.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._nudge.wait()

    def _compare(self, threads: Mapping[str, int]) -> None:
        gone = [address for address, member in self._members.items() if threads.get(address) != member.threads]
        for address in gone:
            del self._members[address]
        self._members |= {address: Member(count) for address, count in threads.items() if address not in self._members}
        if gone:
            self.losses += 1
            _log.warning("%d workers left the cluster", len(gone))
            self._announce()

    def _disband(self) -> None:
        for check in self._checks:
            check.cancel()
        self._members.clear()
        self.link = None
        self.losses += 1
        self._announce()

    # --- looking at one worker ---------------------------------------------------------------------------------------

    def _check(self, link: ClusterLink, address: str, member: Member) -> None:
        task = asyncio.create_task(self._look_at(link, address, member), name=f"look at {address}")
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _look_at(self, link: ClusterLink, address: str, member: Member) -> None:
        problem = await self._problem_of(link, address, member.threads)
        if self._members.get(address) is member:
            self._judge(address, member, problem)

    def _judge(self, address: str, member: Member, problem: str) -> None:
        if problem and problem != member.problem:
            _log.warning("worker %s gets no jobs: %s", address, problem)
        member.problem, member.due = problem, time.monotonic() + _UNFIT_AGAIN_S
        self._announce()

    async def _problem_of(self, link: ClusterLink, address: str, threads: int) -> str:
        """Empty, or why a worker may have no jobs."""
        try:
            differs = difference(await link.call(address, STAMP, b""))
        except ConnectionError as error:
            return f"没有应答（{error}）"
        except (RuntimeError, ValueError) as error:
            return f"没有本服务的程序：请把同一版本放到该机，并使 PYTHONPATH 指向它（{error}）"
        return differs or await self._enlist(link, address, threads)

    async def _enlist(self, link: ClusterLink, address: str, threads: int) -> str:
        sight = await asyncio.to_thread(self._lay_out)
        order = WorkerRegistration(self._options.owner, address, replace(self._options.pool, workers=threads), sight)
        try:
            problem = (await link.call(address, ENLIST, _packed(order))).decode()
            return problem or await asyncio.to_thread(_unanswered, sight)
        except ConnectionError as error:
            return f"没有应答（{error}）"
        except RuntimeError as error:
            return f"无法启动渲染进程（{error}）"
        finally:
            await asyncio.to_thread(_clear, sight)

    def _lay_out(self) -> SharedPathProbe:
        """Writes the probe, and chooses what else has to be seen."""
        options = self._options
        token = uuid.uuid4().hex
        sight = SharedPathProbe(
            folder=options.partial_dir,
            probe=f"probe-{token}",
            answer=f"answer-{token}",
            paths=(*map(_first_in, options.roots), *filter(os.path.isdir, list(self._unseen))),
            same=tuple((path, file_digest(path)) for path in options.files),
        )
        with suppress(OSError), open(os.path.join(sight.folder, sight.probe), "w", encoding="ascii") as file:
            file.write(sight.probe)
        return sight


def _packed(order: WorkerRegistration) -> bytes:
    return pickle.dumps(order, protocol=pickle.HIGHEST_PROTOCOL)


def _first_in(root: str) -> str:
    """Something in a root, so that an empty mount point is not taken for it; the root itself where it is empty."""
    try:
        with os.scandir(root) as entries:
            return next((entry.path for entry in entries), root)
    except OSError:
        return os.sep  # it is not here either: that is not for the workers to mend


def _unanswered(sight: SharedPathProbe) -> str:
    """Empty where the worker's file is to be seen from here."""
    try:
        with open(os.path.join(sight.folder, sight.answer), encoding="ascii") as file:
            return "" if file.read() == sight.probe else "写入 OUTPUT_DIR 的内容在本机不同"
    except OSError as error:
        return f"写入 OUTPUT_DIR 的文件在本机看不到（{error.strerror}）：须是同一共享目录"


def _clear(sight: SharedPathProbe) -> None:
    for name in (sight.probe, sight.answer):
        with suppress(OSError):
            os.unlink(os.path.join(sight.folder, name))
