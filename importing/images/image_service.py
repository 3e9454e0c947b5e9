"""The picture of a report row, for a person to look at: the one that was uploaded, or the same made afresh."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from config import IMAGE_KINDS, Settings
from domain.outcome_codes import MOVED_OUTSIDE_ROOTS
from domain.regular_files import only_regular
from errors import PictureNotAvailableError, SourceError, TooManyClientsError
from history import RecordedFile
from importing.images.image_stream import ImageStream
from importing.images.kept_images import KeptImages
from importing.images.thumbnail_cache import Thumbnail, ThumbnailCache
from importing.naming.stored_names import named_dicom, named_image
from importing.runs.run_context import ImportTools
from importing.settings_mapping import render_options, tree_rules
from importing.threads import for_people
from models import Area, FileOutcome, ImportOptions, ReadReply, ReadRequest, RenderOptions
from source import TreeRules, check_allowed, real

_THUMBNAILS_BYTES = 32 * 1024 * 1024
_THUMBNAIL_QUALITY = 85
WHOLE_AT_ONCE = 8
"""Full-size pictures that are made or sent at a time."""
WAIT_FOR_PLACE_S = 60.0
"""Longer than a picture may stay unread (web.server.http_protocol.UNREAD_FOR_S): stuck clients are gone then."""
OpenedPicture = Thumbnail | ImageStream
"""What is sent piece by piece: in memory, or an open file."""
_OUTSIDE = "源文件已不在允许的根目录之内。"
_CHANGED = "源文件在导入之后已被改动，无法再现当时的图像。"
_VANISHED = "转换出的图片已从 OUTPUT_DIR 消失，请再试一次。"
_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """Which picture: row ``number`` of a task's report, its frame (1-based), its longest side (None: full size)."""

    task_id: str
    number: int
    frame: int = 1
    size: int | None = None


class ImageService:
    """Pictures of all tasks, from OUTPUT_DIR or rendered; equal small ones at one time cost one rendering."""

    def __init__(self, settings: Settings, tools: ImportTools) -> None:
        self._tools = tools
        self._rules = tree_rules(settings)
        self._render_of = partial(render_options, settings)
        self._kept = KeptImages(tools)
        self._places = asyncio.Semaphore(max(1, settings.max_workers // 2))  # an import keeps the other half
        self._whole_places = asyncio.Semaphore(WHOLE_AT_ONCE)
        self._cache = ThumbnailCache(_THUMBNAILS_BYTES)
        self._under_way: dict[ImageRequest, asyncio.Task[Thumbnail]] = {}

    @asynccontextmanager
    async def opened(self, wish: ImageRequest) -> AsyncIterator[OpenedPicture]:
        """The picture for as long as it is sent: a small one in memory, a full-size one as a file.

        Raises:
            TooManyClientsError: too many full-size pictures are being sent.
            TaskNotFoundError, FileRowNotFoundError, PictureNotAvailableError, SourceUnavailableError, HostError,
            HistoryError, ServiceStoppingError: as :meth:`picture`.
        """
        if wish.size is not None:
            yield await self.picture(wish)
            return
        recorded = await self._tools.history.recorded_file(wish.task_id, wish.number)
        async with self._whole_place():
            file = await self._kept_whole(wish, recorded) or await self._whole_afresh(wish, recorded)
            try:
                yield file
            finally:
                await for_people(file.close)

    async def picture(self, wish: ImageRequest) -> Thumbnail:
        """The small picture; ``size`` is given.

        Raises:
            TaskNotFoundError, FileRowNotFoundError: there is no such task or row.
            PictureNotAvailableError: neither kept nor to be made any more; says why.
            SourceUnavailableError, HostError, HistoryError, ServiceStoppingError: not now.
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

    async def aclose(self) -> None:
        """Cancels what is under way."""
        making = list(self._under_way.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def _note_made(self, wish: ImageRequest, made: asyncio.Task[Thumbnail]) -> None:
        del self._under_way[wish]
        if not made.cancelled() and made.exception() is None:
            self._cache.put(wish, made.result())

    async def _make(self, wish: ImageRequest, recorded: RecordedFile) -> Thumbnail:
        outcome = recorded.row.outcome
        path = await self._kept.path_of(outcome, wish.frame)
        if path is not None:
            picture = await self._reduced(path, wish)
            if picture is not None:
                return picture
        return await self._taken(await self._afresh(wish, recorded), kept=False)

    @asynccontextmanager
    async def _whole_place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_FOR_PLACE_S):
                await self._whole_places.acquire()
        except TimeoutError:
            raise TooManyClientsError("同时查看原尺寸图像的人太多，请稍后再试。") from None
        try:
            yield
        finally:
            self._whole_places.release()

    async def _kept_whole(self, wish: ImageRequest, recorded: RecordedFile) -> ImageStream | None:
        """None if it was not kept, or has gone in the meantime."""
        path = await self._kept.path_of(recorded.row.outcome, wish.frame)
        if path is None:
            return None
        try:
            return await for_people(ImageStream.open, path, _media_type(path), kept=True)
        except OSError:
            return None

    async def _whole_afresh(self, wish: ImageRequest, recorded: RecordedFile) -> ImageStream:
        path = await self._afresh(wish, recorded)
        try:
            return await for_people(ImageStream.open, path, _media_type(path), kept=False)
        except OSError as error:
            raise PictureNotAvailableError(_VANISHED) from error

    async def _reduced(self, path: str, wish: ImageRequest) -> Thumbnail | None:
        """None where the kept picture cannot be read (any more)."""
        request = self._request(path, _reduced_options(self._render_of(ImportOptions()), wish.size))
        kept = Area((self._tools.output_dir,))
        _, made = await self._render(replace(request, plain_image=True, area=kept))
        return None if made is None else await self._taken(made, kept=True)

    async def _afresh(self, wish: ImageRequest, recorded: RecordedFile) -> str:
        """The path of a picture made for this, in ``.partial``."""
        outcome = recorded.row.outcome
        if not _unchanged(outcome, *await self._tools.looks.look(_size_and_time, recorded.path, self._rules)):
            raise PictureNotAvailableError(_CHANGED)
        options = self._render_of((await self._tools.history.get_task(wish.task_id)).options)
        request = self._request(recorded.path, _reduced_options(options, wish.size))
        name = os.path.basename(recorded.path)
        reply, made = await self._render(
            replace(
                request,
                named_dicom=named_dicom(name),
                plain_image=named_image(name, IMAGE_KINDS),
                frames=(wish.frame,),
                area=self._tools.sources,
            )
        )
        if made is None:
            raise PictureNotAvailableError(_why_not(reply))
        if not _unchanged(outcome, reply.size_bytes, reply.mtime_ns) or not _is_the_image(outcome, reply):
            await for_people(_remove, made)
            raise PictureNotAvailableError(_CHANGED)
        return made

    def _request(self, path: str, options: RenderOptions) -> ReadRequest:
        prefix = os.path.join(self._tools.partial_dir, f"view-{uuid.uuid4().hex}")
        limit = self._tools.max_file_bytes
        return ReadRequest(path, named_dicom=False, output_prefix=prefix, render=options, max_file_bytes=limit)

    async def _render(self, request: ReadRequest) -> tuple[ReadReply, str | None]:
        async with self._places:
            reply = await self._tools.renderer.run(request)
        if reply.failure is not None or not reply.images:
            return reply, None
        return reply, reply.images[0].path

    async def _taken(self, path: str, *, kept: bool) -> Thumbnail:
        """The content of a small picture that was made for this, which is gone then."""
        try:
            return Thumbnail(await for_people(_read, path), _media_type(path), kept)
        except OSError as error:  # gone, or something else in its place
            raise PictureNotAvailableError(_VANISHED) from error
        finally:
            await for_people(_remove, path)


def _why_not(reply: ReadReply) -> str:
    if reply.failure is not None:
        return _OUTSIDE if reply.failure.code == MOVED_OUTSIDE_ROOTS else reply.failure.detail
    return "该文件不是图像。"


def _size_and_time(path: str, rules: TreeRules) -> tuple[int, int]:
    """Of a source file that must lie where imports may read."""
    try:
        check_allowed(path, real(path), rules)
        status = os.stat(path)
    except SourceError as error:
        raise PictureNotAvailableError(_OUTSIDE) from error
    except (OSError, ValueError) as error:
        raise PictureNotAvailableError("源文件已无法访问：可能已被移走或删除，或共享未挂载。") from error
    return status.st_size, status.st_mtime_ns


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
    with open(path, "rb", opener=only_regular) as file:
        return file.read()


def _remove(path: str) -> None:
    with suppress(OSError):  # what stays is cleared away at the next start
        os.unlink(path)
