"""The picture of a report row, for a person to look at: the one that was uploaded, or the same made afresh."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from config import IMAGE_KINDS, Settings
from errors import PictureNotAvailableError, SourceError
from importing.kept_pictures import KeptPictures
from importing.run_context import ImportTools
from importing.service_settings import render_options, tree_rules
from importing.stored_names import named_dicom, named_image
from importing.thumbnail_cache import Picture, ThumbnailCache
from models import FileOutcome, ImportOptions, ReadReply, ReadRequest, RecordedFile, RenderOptions
from source_tree import TreeRules, check_allowed, real

_THUMBNAILS_BYTES = 32 * 1024 * 1024
_THUMBNAIL_QUALITY = 85
_CHANGED = "源文件在导入之后已被改动，无法再现当时的图像。"
_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True, slots=True)
class PictureWish:
    """Which picture: row ``number`` of a task's report, its frame (1-based), its longest side (None: full size)."""

    task_id: str
    number: int
    frame: int = 1
    size: int | None = None


class PictureView:
    """Pictures of all tasks, from OUTPUT_DIR or rendered; equal wishes at one time cost one rendering."""

    def __init__(
        self, tools: ImportTools, rules: TreeRules, render_of: Callable[[ImportOptions], RenderOptions], at_once: int
    ) -> None:
        """``at_once`` bounds the renderings, so that an import that runs meanwhile is not starved."""
        self._tools = tools
        self._rules = rules
        self._render_of = render_of
        self._kept = KeptPictures(tools)
        self._places = asyncio.Semaphore(at_once)
        self._cache = ThumbnailCache(_THUMBNAILS_BYTES)
        self._under_way: dict[PictureWish, asyncio.Task[Picture]] = {}

    async def picture(self, wish: PictureWish) -> Picture:
        """The picture.

        Raises:
            TaskNotFoundError, FileRowNotFoundError: there is no such task or row.
            PictureNotAvailableError: neither kept nor to be made any more; says why.
            HostError, HistoryError, ServiceStoppingError: not now.
        """
        recorded = await self._tools.history.recorded_file(wish.task_id, wish.number)
        known = self._cache.get(wish)
        if known is not None:
            return known
        if wish not in self._under_way:
            making = asyncio.create_task(self._make(wish, recorded), name="picture")
            making.add_done_callback(lambda made: self._note_made(wish, made))
            self._under_way[wish] = making
        return await asyncio.shield(self._under_way[wish])

    async def close(self) -> None:
        """Gives up what is under way."""
        making = list(self._under_way.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def _note_made(self, wish: PictureWish, made: asyncio.Task[Picture]) -> None:
        del self._under_way[wish]
        if not made.cancelled() and made.exception() is None and wish.size is not None:
            self._cache.put(wish, made.result())

    async def _make(self, wish: PictureWish, recorded: RecordedFile) -> Picture:
        outcome = recorded.row.outcome
        path = await self._kept.path_of(outcome, wish.frame)
        if path is not None:
            picture = await (self._whole(path) if wish.size is None else self._reduced(path, wish))
            if picture is not None:
                return picture
        return await self._afresh(wish, recorded)

    async def _whole(self, path: str) -> Picture | None:
        """None where it has gone in the meantime."""
        try:
            content = await asyncio.to_thread(_read, path)
        except OSError:
            return None
        return Picture(content, _media_type(path), kept=True)

    async def _reduced(self, path: str, wish: PictureWish) -> Picture | None:
        """None where the kept picture cannot be read (any more)."""
        request = self._request(path, _reduced_options(self._render_of(ImportOptions()), wish.size))
        _, picture = await self._render(replace(request, plain_image=True))
        return None if picture is None else replace(picture, kept=True)

    async def _afresh(self, wish: PictureWish, recorded: RecordedFile) -> Picture:
        await asyncio.to_thread(self._check_source, recorded)
        outcome = recorded.row.outcome
        options = self._render_of((await self._tools.history.get_task(wish.task_id)).options)
        request = self._request(recorded.path, _reduced_options(options, wish.size))
        name = os.path.basename(recorded.path)
        reply, picture = await self._render(
            replace(
                request,
                named_dicom=named_dicom(name),
                plain_image=named_image(name, IMAGE_KINDS),
                frames=(wish.frame,),
            )
        )
        if picture is None:
            raise PictureNotAvailableError(reply.failure.detail if reply.failure else "该文件不是图像。")
        if not _unchanged(outcome, reply.size_bytes, reply.mtime_ns) or not _is_the_image(outcome, reply):
            raise PictureNotAvailableError(_CHANGED)
        return picture

    def _check_source(self, recorded: RecordedFile) -> None:
        """The file must lie where imports may read, and be the one that the row tells of."""
        try:
            check_allowed(recorded.path, real(recorded.path), self._rules)
            status = os.stat(recorded.path)
        except SourceError as error:
            raise PictureNotAvailableError("源文件已不在允许的根目录之内。") from error
        except (OSError, ValueError) as error:
            raise PictureNotAvailableError("源文件已无法访问：可能已被移走或删除，或共享未挂载。") from error
        if not _unchanged(recorded.row.outcome, status.st_size, status.st_mtime_ns):
            raise PictureNotAvailableError(_CHANGED)

    def _request(self, path: str, options: RenderOptions) -> ReadRequest:
        prefix = os.path.join(self._tools.partial_dir, f"view-{uuid.uuid4().hex}")
        limit = self._tools.max_file_bytes
        return ReadRequest(path, named_dicom=False, output_prefix=prefix, render=options, max_file_bytes=limit)

    async def _render(self, request: ReadRequest) -> tuple[ReadReply, Picture | None]:
        async with self._places:
            reply = await self._tools.renderer.run(request)
        if reply.failure is not None or not reply.images:
            return reply, None
        path = reply.images[0].path
        return reply, Picture(await asyncio.to_thread(_taken, path), _media_type(path), kept=False)


@asynccontextmanager
async def open_picture_view(settings: Settings, tools: ImportTools) -> AsyncIterator[PictureView]:
    """Pictures beside open rooms; they take half of the render processes at most."""
    at_once = max(1, settings.max_workers // 2)
    view = PictureView(tools, tree_rules(settings), partial(render_options, settings), at_once)
    try:
        yield view
    finally:
        await view.close()


def _is_the_image(outcome: FileOutcome, reply: ReadReply) -> bool:
    """A copy tool can put another file there with size and time of the first; its instance tells them apart."""
    found = reply.header.image.sop_instance_uid if reply.header else None
    return outcome.sop_instance_uid is None or found == outcome.sop_instance_uid


def _unchanged(outcome: FileOutcome, size_bytes: int, mtime_ns: int) -> bool:
    """Where the file could not be looked at when it was imported, there is nothing to compare."""
    then = (outcome.size_bytes, outcome.mtime_ns)
    return then in ((0, 0), (size_bytes, mtime_ns))


def _reduced_options(options: RenderOptions, size: int | None) -> RenderOptions:
    if size is None:
        return options
    return replace(options, output_format="jpg", jpg_quality=_THUMBNAIL_QUALITY, max_side_px=size)


def _media_type(path: str) -> str:
    return _MEDIA_TYPES.get(os.path.splitext(path)[1].lower(), "application/octet-stream")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _taken(path: str) -> bytes:
    """The content of a picture that was made for this, which is gone then."""
    try:
        return _read(path)
    finally:
        with suppress(OSError):
            os.unlink(path)
