"""The image of a report row, for display: the one that was uploaded, or the same rendered again."""

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
"""Full-size images that are rendered or sent at a time."""
WAIT_FOR_PLACE_S = 60.0
"""Longer than an answer may stay unread (web.server.http_protocol.UNREAD_FOR_S): stuck clients are gone then."""
OpenedImage = Thumbnail | ImageStream
"""An image that is sent in pieces: in memory, or an open file."""
_OUTSIDE = "源文件已不在允许的根目录之内。"
_CHANGED = "源文件在导入之后已被改动，无法再现当时的图像。"
_VANISHED = "转换出的图片已从 OUTPUT_DIR 消失，请再试一次。"
_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """Which image: row ``number`` of a task's report, its frame (1-based), its longest side (None: full size)."""

    task_id: str
    number: int
    frame: int = 1
    size: int | None = None


class ImageService:
    """Images of all tasks, from OUTPUT_DIR or rendered. Equal requests for thumbnails share one rendering."""

    def __init__(self, settings: Settings, tools: ImportTools) -> None:
        self._tools = tools
        self._rules = tree_rules(settings)
        self._render_of = partial(render_options, settings)
        self._kept = KeptImages(tools)
        self._renderings = asyncio.Semaphore(max(1, settings.max_workers // 2))  # an import keeps the other half
        self._full_size = asyncio.Semaphore(WHOLE_AT_ONCE)
        self._cache = ThumbnailCache(_THUMBNAILS_BYTES)
        self._in_progress: dict[ImageRequest, asyncio.Task[Thumbnail]] = {}

    @asynccontextmanager
    async def open(self, request: ImageRequest) -> AsyncIterator[OpenedImage]:
        """The image while it is sent: a thumbnail in memory, a full-size one as a file.

        Raises:
            TooManyClientsError: too many full-size images are being sent.
            TaskNotFoundError, FileRowNotFoundError, PictureNotAvailableError, SourceUnavailableError, HostError,
            HistoryError, ServiceStoppingError: as :meth:`thumbnail`.
        """
        if request.size is not None:
            yield await self.thumbnail(request)
            return
        recorded = await self._tools.history.recorded_file(request.task_id, request.number)
        async with self._full_size_place():
            file = await self._open_kept(request, recorded) or await self._open_rendered(request, recorded)
            try:
                yield file
            finally:
                await for_people(file.close)

    async def thumbnail(self, request: ImageRequest) -> Thumbnail:
        """The reduced image; ``request.size`` is set.

        Raises:
            TaskNotFoundError, FileRowNotFoundError: there is no such task or row.
            PictureNotAvailableError: it was not kept and cannot be rendered again.
            SourceUnavailableError, HostError, HistoryError, ServiceStoppingError: it cannot be read now.
        """
        recorded = await self._tools.history.recorded_file(request.task_id, request.number)
        known = self._cache.get(request)
        if known is not None:
            return known
        if request not in self._in_progress:
            task = asyncio.create_task(self._make_thumbnail(request, recorded), name="thumbnail")
            task.add_done_callback(lambda made: self._note_made(request, made))
            self._in_progress[request] = task
        return await asyncio.shield(self._in_progress[request])

    async def aclose(self) -> None:
        """Cancels renderings in progress."""
        making = list(self._in_progress.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def _note_made(self, request: ImageRequest, made: asyncio.Task[Thumbnail]) -> None:
        del self._in_progress[request]
        if not made.cancelled() and made.exception() is None:
            self._cache.put(request, made.result())

    async def _make_thumbnail(self, request: ImageRequest, recorded: RecordedFile) -> Thumbnail:
        outcome = recorded.row.outcome
        path = await self._kept.path_of(outcome, request.frame)
        if path is not None and (reduced := await self._reduce(path, request)) is not None:
            return reduced
        return await self._load(await self._render_again(request, recorded), kept=False)

    @asynccontextmanager
    async def _full_size_place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_FOR_PLACE_S):
                await self._full_size.acquire()
        except TimeoutError:
            raise TooManyClientsError("同时查看原尺寸图像的人太多，请稍后再试。") from None
        try:
            yield
        finally:
            self._full_size.release()

    async def _open_kept(self, request: ImageRequest, recorded: RecordedFile) -> ImageStream | None:
        """None if it was not kept, or has been removed."""
        path = await self._kept.path_of(recorded.row.outcome, request.frame)
        if path is None:
            return None
        try:
            return await for_people(ImageStream.open, path, _media_type(path), kept=True)
        except OSError:
            return None

    async def _open_rendered(self, request: ImageRequest, recorded: RecordedFile) -> ImageStream:
        path = await self._render_again(request, recorded)
        try:
            return await for_people(ImageStream.open, path, _media_type(path), kept=False)
        except OSError as error:
            raise PictureNotAvailableError(_VANISHED) from error

    async def _reduce(self, path: str, request: ImageRequest) -> Thumbnail | None:
        """The thumbnail of a kept image; None if that cannot be read."""
        read = self._read_request(path, _reduced_options(self._render_of(ImportOptions()), request.size))
        kept = Area((self._tools.output_dir,))
        _, made = await self._render(replace(read, plain_image=True, area=kept))
        return None if made is None else await self._load(made, kept=True)

    async def _render_again(self, request: ImageRequest, recorded: RecordedFile) -> str:
        """The path of an image rendered for this request, in ``.partial``."""
        outcome = recorded.row.outcome
        if not _unchanged(outcome, *await self._tools.looks.look(_size_and_time, recorded.path, self._rules)):
            raise PictureNotAvailableError(_CHANGED)
        options = self._render_of((await self._tools.history.get_task(request.task_id)).options)
        read = self._read_request(recorded.path, _reduced_options(options, request.size))
        name = os.path.basename(recorded.path)
        reply, made = await self._render(
            replace(
                read,
                named_dicom=named_dicom(name),
                plain_image=named_image(name, IMAGE_KINDS),
                frames=(request.frame,),
                area=self._tools.sources,
            )
        )
        if made is None:
            raise PictureNotAvailableError(_why_not(reply))
        if not _unchanged(outcome, reply.size_bytes, reply.mtime_ns) or not _is_the_image(outcome, reply):
            await for_people(_remove, made)
            raise PictureNotAvailableError(_CHANGED)
        return made

    def _read_request(self, path: str, options: RenderOptions) -> ReadRequest:
        prefix = os.path.join(self._tools.partial_dir, f"view-{uuid.uuid4().hex}")
        limit = self._tools.max_file_bytes
        return ReadRequest(path, named_dicom=False, output_prefix=prefix, render=options, max_file_bytes=limit)

    async def _render(self, request: ReadRequest) -> tuple[ReadReply, str | None]:
        async with self._renderings:
            reply = await self._tools.renderer.run(request)
        if reply.failure is not None or not reply.images:
            return reply, None
        return reply, reply.images[0].path

    async def _load(self, path: str, *, kept: bool) -> Thumbnail:
        """Reads a thumbnail that was rendered for this request, and removes its file."""
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
    """Of a source file within the allowed roots."""
    try:
        check_allowed(path, real(path), rules)
        status = os.stat(path)
    except SourceError as error:
        raise PictureNotAvailableError(_OUTSIDE) from error
    except (OSError, ValueError) as error:
        raise PictureNotAvailableError("源文件已无法访问：可能已被移走或删除，或共享未挂载。") from error
    return status.st_size, status.st_mtime_ns


def _is_the_image(outcome: FileOutcome, reply: ReadReply) -> bool:
    """Compares instances: a copy tool can put another file there with the same size and time."""
    found = reply.header.image.sop_instance_uid if reply.header else None
    return outcome.sop_instance_uid is None or found == outcome.sop_instance_uid


def _unchanged(outcome: FileOutcome, size_bytes: int, mtime_ns: int) -> bool:
    """True also if size and time were unknown at the import."""
    imported = (outcome.size_bytes, outcome.mtime_ns)
    return imported in ((0, 0), (size_bytes, mtime_ns))


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
    with suppress(OSError):  # the next start removes it
        os.unlink(path)
