"""XieHe's two lists, read whole: patients by search, images by patient."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from errors import BackendUnavailableError, CallEvidence
from models import Contract, RemoteImage, RemotePatient
from xiehe.contracts import PAGE_SIZE, ListPage, image_of, page_of, patient_of
from xiehe.http.responses import Json
from xiehe.http.transport import Call, Transport

_READS = 12
"""Of a list that does not add up, before giving up."""


class ListReader:
    """Reads lists until the number of distinct ids equals XieHe's total.

    Pages can overlap and miss rows: XieHe orders by a whole-second time without tie-break, and rows come and go.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def images(self, row_id: int, contract: Contract) -> list[RemoteImage]:
        """The patient's complete images by ascending id; none for an unknown row id.

        Raises:
            BackendUnavailableError: unreachable, or the list would not add up.
        """
        call = Call("list_images", "GET", f"/image-files/patient/{row_id}")
        rows = await self._whole(call)
        evidence = CallEvidence("GET", call.target)
        images = (image_of(rows[image_id], contract, evidence) for image_id in sorted(rows))
        return [image for image in images if image is not None]

    async def watched(self, row_id: int, contract: Contract, until_s: float) -> AsyncIterator[list[RemoteImage]]:
        """The patient's images now and again, the last time at ``until_s`` (monotonic) or after."""
        pause_s = min(0.2, self._transport.policy.look_every_s)
        while True:
            last = time.monotonic() >= until_s
            yield await self.images(row_id, contract)
            if last:
                return
            await asyncio.sleep(max(0.0, min(pause_s, until_s - time.monotonic())))
            pause_s = min(2 * pause_s, self._transport.policy.look_every_s)

    async def patients(self, search: str | None, look: int = 0) -> list[tuple[RemotePatient, Json]]:
        """All hits of XieHe's substring search (None: all patients), each with its raw row, by ascending row id.

        ``look`` counts repetitions. It changes the page size, so that C3/C4 cannot answer from their 60 s cache.
        """
        params = {} if search is None else {"search": search}
        rows = await self._whole(Call("search_patients", "GET", "/patients", params=params), look)
        evidence = CallEvidence("GET", "/patients")
        return [(patient_of(rows[row_id], evidence), rows[row_id]) for row_id in sorted(rows)]

    async def _whole(self, call: Call, look: int = 0) -> dict[int, Json]:
        """Rows by id. From the second reading on, rows of earlier readings count too."""
        united: dict[int, Json] = {}
        total = 0
        for reading in range(_READS):
            rows: dict[int, Json] = {}
            if reading > 1:
                await asyncio.sleep(self._transport.policy.first_wait_s * min(reading, 4))  # it is being written to
            async for page in self._pages(call, PAGE_SIZE - look - max(0, reading - 2)):
                rows.update((row["id"], row) for row in page.rows if "id" in row)
                total = page.total
            if len(rows) == total:
                return rows
            united.update(rows)
            if len(united) == total:
                return united
        raise BackendUnavailableError(
            f"XieHe 的列表多次读取仍不完整（{call.method} {call.target}：应有 {total} 条，读到 {len(united)} 条），"
            "稍后会重试。",
            CallEvidence(call.method, call.target, 200, "list_incomplete"),
        )

    async def _pages(self, call: Call, size: int) -> AsyncIterator[ListPage]:
        number, seen, total = 1, 0, 1
        while seen < total:
            answer = await self._transport.send(_paged(call, number, size))
            page = page_of(answer)
            total = page.total
            yield page
            if not page.rows:
                return
            seen += len(page.rows)
            number += 1


def _paged(call: Call, number: int, size: int) -> Call:
    params: Mapping[str, str] = {**(call.params or {}), "page": str(number), "page_size": str(size)}
    return Call(call.operation, call.method, call.target, params=params)
