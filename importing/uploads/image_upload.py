"""The pictures of one file on their way to XieHe: which frames are missing there, where they lie, intents, receipts."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from domain.descriptors import check_descriptors
from domain.regular_files import regular_size
from errors import (
    BackendError,
    DiskFullError,
    FileError,
    OutOfDescriptorsError,
    OutputUnusableError,
    UnreadableFileError,
    UnstableFileError,
    UploadRejectedError,
    UploadUnconfirmedError,
)
from importing.images.kept_files import keep
from importing.naming.name_decision import NameState
from importing.naming.stored_names import MAX_FOLDER_BYTES, safe_local_name
from importing.patients.patient_cache import NameReservation, PatientEntry
from importing.runs.run_context import OF_THE_BACKEND, RunContext, pause_reason
from importing.uploads.intent_recovery import settle_earlier
from importing.uploads.outage_breaker import UploadFailures, UploadTurn
from models import (
    DicomHeader,
    ImportedImage,
    RemoteImage,
    RenderedImage,
    SourceFile,
    UploadIntent,
    UploadReceipt,
    UploadRequest,
    display_path,
)

_MIME_TYPES = {"jpg": "image/jpeg", "png": "image/png"}
_VANISHED = "转换出的图片在上传完成前从 OUTPUT_DIR 消失，将在任务末尾重试"
_REPLACED = "转换出的图片在上传完成前被改动，将在任务末尾重试"


@dataclass(frozen=True, slots=True)
class UploadedImages:
    """What became of one file's pictures.

    Attributes:
        new_frames: uploaded by this task.
        first: index row of the first frame, where there is one.
        by_name: XieHe had at least one name before us, content not verified.
        removed: at least one frame was imported once and is not listed any more.
        jpg_path: where the first frame's picture lies, or None.
        failure: the first frame's error where frames are missing.
        missing_frames: their numbers.
        new_bytes: size of the new frames' pictures.
        new_name: what XieHe calls the first frame's image by now, or None if that is its stored name.
        unrecorded: index rows that the history is to get together with the file's outcome.
    """

    new_frames: int
    first: ImportedImage | None
    by_name: bool = False
    removed: bool = False
    jpg_path: str | None = None
    failure: FileError | None = None
    missing_frames: tuple[int, ...] = ()
    new_bytes: int = 0
    new_name: str | None = None
    unrecorded: tuple[ImportedImage, ...] = ()


class ImageUpload:
    """Brings the frames of one file to XieHe under names that are already claimed."""

    def __init__(
        self, context: RunContext, source: SourceFile, desk: PatientEntry, header: DicomHeader, claim: NameReservation
    ) -> None:
        self._context = context
        self._tools = context.tools
        self._source = source
        self._desk = desk
        self._header = header
        self._decision = claim.decision
        self._found = claim.found
        self._patient = claim.patient
        self._extension = context.render.output_format
        self._kept: dict[int, str] = {}

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the frames that have to be uploaded, 1-based."""
        wanted = {NameState.FREE, NameState.OTHERS}
        if self._context.options.reupload_removed:
            wanted.add(NameState.REMOVED)
        return tuple(number for number, state in enumerate(self._decision.states, 1) if state in wanted)

    async def run(self, images: Sequence[RenderedImage], instance: str) -> UploadedImages:
        """Uploads what is missing; a frame that XieHe refuses does not keep the others from going."""
        rows = [self._row(number, key, instance) for number, key in enumerate(self._decision.keys, 1)]
        await self._claim_strange(rows)
        by_number = {image.frame_number: image for image in images}
        frames = self.missing
        jobs = [self._bring(by_number[number], rows[number - 1]) for number in frames]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        return self._done(rows, dict(zip(frames, results, strict=True)))

    # --- one frame -------------------------------------------------------------------------------------------------

    async def _bring(self, image: RenderedImage, row: ImportedImage) -> ImportedImage:
        if self._decision.states[row.frame_number - 1] is NameState.OTHERS:
            raise UploadRejectedError(f"文件名 {row.stored_name} 及其加后缀的形式都被其他影像占用")
        try:
            return await self._bring_file(image, row)
        finally:
            if self._has_frames:  # a single picture goes with its trip
                await asyncio.to_thread(_remove, image.path)

    async def _bring_file(self, image: RenderedImage, row: ImportedImage) -> ImportedImage:
        await self._keep(image, row)
        row = replace(row, jpg_size=image.size_bytes, storage_etag=image.storage_etag)
        intent = UploadIntent(
            intent_id=uuid.uuid4().hex,
            image=row,
            known_ids=self._desk.listed_ids(row.name_key),
            created_at=datetime.now(UTC),
        )
        receipt = await self._upload(image.path, intent)
        row = replace(row, image_file_id=receipt.image_file_id, uploaded_at=datetime.now(UTC))
        if self._has_frames:  # each is kept as soon as it is there; a single picture is kept with its file's outcome
            await self._context.retry_after_pause(lambda: self._tools.history.record_image(row, intent.intent_id))
        self._desk.remember(row)
        return row

    async def _keep(self, image: RenderedImage, row: ImportedImage) -> None:
        """Keeps the image before it is uploaded, so that a kill in between loses neither; it is sent from its own file.

        Raises:
            UnstableFileError: the rendered file is missing.
        """
        _require_there(image.path, image.size_bytes)
        if not self._tools.keep_jpg:
            return
        step = partial(asyncio.to_thread, _keep, image.path, self.local_folder, row.stored_name)
        self._kept[row.frame_number] = await self._context.retry_after_pause(step)

    @property
    def _has_frames(self) -> bool:
        return len(self._decision.keys) > 1

    async def _upload(self, path: str, intent: UploadIntent) -> UploadReceipt:
        request = UploadRequest(
            path=path,
            stored_name=intent.image.stored_name,
            patient=self._patient,
            exam_type=self._header.image.exam_type,
            mime_type=_MIME_TYPES[self._extension],
        )
        trial = UploadAttempt(self._context, intent, request)
        try:
            return await self._context.retry_after_pause(trial.run)
        except UploadUnconfirmedError:
            raise  # its intent stays open, for it can still become an image
        except FileError as error:
            await self._context.retry_after_pause(lambda: self._tools.history.drop_intent(intent.intent_id))
            if isinstance(error, UnreadableFileError):
                self._desk.look_again()  # an attempt before this one may have landed
                _require_there(path)
            raise

    async def _claim_strange(self, rows: Sequence[ImportedImage]) -> None:
        """Writes down which instance took a name that XieHe had before us, so that the next one gets another."""
        for row in rows:
            if image := self._found.get(row.name_key):
                await self._claim(row, image)

    async def _claim(self, row: ImportedImage, image: RemoteImage) -> None:
        claimed = replace(
            row,
            uploaded_by_us=False,
            stored_name=image.filename,
            image_file_id=image.image_file_id,
            storage_etag=image.storage_etag,
        )
        await self._context.retry_after_pause(lambda: self._tools.history.record_image(claimed, None))
        self._desk.remember(claimed)

    # --- values ----------------------------------------------------------------------------------------------------

    @property
    def local_folder(self) -> str:
        """``OUTPUT_DIR/<month>/<patient id>``, each part made safe."""
        folder = safe_local_name(self._desk.patient_id, MAX_FOLDER_BYTES)
        return os.path.join(self._tools.output_dir, self._source.month, folder)

    def _row(self, number: int, key: str, instance: str) -> ImportedImage:
        return ImportedImage(
            backend_url=self._tools.backend_url,
            patient_id=self._patient.patient_id,
            row_id=self._patient.row_id,
            name_key=key,
            stored_name=f"{key}.{self._extension}",
            instance=instance,
            sop_instance_uid=self._header.image.sop_instance_uid,
            frame_number=number,
            source_path=display_path(self._source.path),
            size_bytes=self._source.size_bytes,
            mtime_ns=self._source.mtime_ns,
            uploaded_by_us=True,
            task_id=self._context.task.task_id,
            image_file_id=None,
            jpg_size=None,
            uploaded_at=datetime.now(UTC),
        )

    def _done(self, rows: Sequence[ImportedImage], results: dict[int, ImportedImage | BaseException]) -> UploadedImages:
        failures = {number: result for number, result in results.items() if isinstance(result, BaseException)}
        foreign = [failure for failure in failures.values() if not isinstance(failure, FileError)]
        if foreign:
            raise foreign[0]
        states = self._decision.states
        first = results.get(1) or self._desk.row_of(rows[0].name_key)
        earlier = [self._desk.row_of(row.name_key) for row in rows if self._came_earlier(row)]
        arrived = tuple(result for result in results.values() if isinstance(result, ImportedImage))
        new = [*arrived, *filter(None, earlier)]
        return UploadedImages(
            new_frames=len(new),
            new_bytes=sum(row.jpg_size or 0 for row in new),
            first=first if isinstance(first, ImportedImage) else None,
            new_name=self._desk.new_name_of(first) if isinstance(first, ImportedImage) else None,
            by_name=bool({NameState.STRANGE, NameState.CLAIMED_BEFORE}.intersection(states)),
            removed=NameState.REMOVED in states and not self._context.options.reupload_removed,
            jpg_path=self._kept.get(1) if isinstance(results.get(1), ImportedImage) else None,
            failure=next((error for error in failures.values() if isinstance(error, FileError)), None),
            missing_frames=tuple(sorted(failures)),
            unrecorded=() if self._has_frames else arrived,
        )

    def _came_earlier(self, row: ImportedImage) -> bool:
        """True where this task brought the frame before the service was interrupted."""
        known = self._desk.row_of(row.name_key)
        return (
            self._decision.states[row.frame_number - 1] is NameState.OURS
            and known is not None
            and (known.task_id, known.source_path) == (row.task_id, row.source_path)
        )


@dataclass(slots=True, eq=False)
class UploadAttempt:
    """An upload that may be taken again after a fault: once it has begun, it looks before it posts."""

    context: RunContext
    intent: UploadIntent
    request: UploadRequest
    begun: UploadIntent | None = None
    failures: UploadFailures = field(default_factory=UploadFailures)

    async def run(self) -> UploadReceipt:
        """Until it is there, or fails by its own fault."""
        breaker = self.context.tools.outage_breaker
        while True:
            turn = await breaker.turn(self)
            try:
                receipt = None if await self._others_work(turn) else await self._take(turn)
            except UploadUnconfirmedError:
                breaker.unconfirmed(turn)
                raise
            except BackendError as error:
                receipt = await self._failed(turn, error)
                if receipt is None:
                    continue
            except OutOfDescriptorsError as error:
                await self._wait_for_descriptors(error)
                continue
            finally:
                breaker.left(turn)
            breaker.worked(turn)
            if receipt is not None:
                return receipt

    async def _wait_for_descriptors(self, error: OutOfDescriptorsError) -> None:
        """The next round looks first whether what was begun has arrived. Raises TaskStopped."""
        self.context.pause_for(error)
        await self.context.task.gate()

    async def _others_work(self, turn: UploadTurn) -> bool:
        """In place of all others: whether a session works that is no file's."""
        if not turn.asks_session:
            return False
        works = await self.context.tools.client.try_upload(self.request.patient)
        self.failures.none_else_can_tell = not works
        return works

    async def _take(self, turn: UploadTurn) -> UploadReceipt:
        if turn.waited and not turn.probes:
            self.context.task.release_all(OF_THE_BACKEND)
            await self.context.task.gate()
        client = self.context.tools.client
        landed = await self._landed() or await settle_earlier(self.context.tools, self.intent.image, self.request.path)
        return landed or await client.upload(
            self.request,
            known_ids=frozenset(self.intent.known_ids),
            on_begin=self._begin,
            may_send=turn.may_send,
        )

    async def _landed(self) -> UploadReceipt | None:
        if self.begun is None:
            return None
        return await self.context.tools.client.settle(self.begun, self.request.path)

    async def _failed(self, turn: UploadTurn, error: BackendError) -> UploadReceipt | None:
        """Raises UploadRejectedError where the file alone is at fault, and nothing of it can land any more."""
        try:
            self.context.tools.outage_breaker.failed(turn, error)
        except UploadRejectedError:
            landed = await self._landed()
            if landed is None:
                raise
            return landed
        return None

    # --- as the breaker sees it

    @property
    def task_id(self) -> str:
        return self.context.task.task_id

    @property
    def file(self) -> str:
        return self.intent.image.source_path

    @property
    def may_probe(self) -> bool:
        return set(self.context.task.pause_reasons) <= set(OF_THE_BACKEND)

    def hold(self, error: BackendError, detail: str) -> None:
        if pause_reason(error) not in self.context.task.pause_reasons:
            self.context.pause_for(error, detail)

    def check(self) -> None:
        self.context.task.check_alive()

    async def _begin(self, session: str | None) -> None:
        """The intent stands in the history before anything is sent that can become an image."""
        begun = replace(self.intent, session=session, created_at=datetime.now(UTC))
        await self.context.tools.history.add_intent(begun)
        self.begun = begun


def _keep(private: str, folder: str, stored_name: str) -> str:
    """As :func:`importing.images.kept_files.keep`.

    Raises:
        UnstableFileError: the rendered file is missing.
        DiskFullError, OutputUnusableError: OUTPUT_DIR does not take it.
        OutOfDescriptorsError: there is none to write it.
    """
    try:
        return keep(private, folder, stored_name)
    except OSError as error:
        check_descriptors(error)
        _require_there(private)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fault = DiskFullError if full else OutputUnusableError
        raise fault(f"无法写入 OUTPUT_DIR（{errno.errorcode.get(error.errno or 0, '未知错误')}）") from error


def _require_there(path: str, size_bytes: int | None = None) -> None:
    """Raises UnstableFileError: the image is gone, or something else is in its place; it can be made again."""
    try:
        size_found = regular_size(path)
    except OSError as error:
        raise UnstableFileError(_VANISHED) from error
    if size_bytes not in (None, size_found):
        raise UnstableFileError(_REPLACED)


def _remove(path: str) -> None:
    with suppress(OSError):  # a picture that stays is no fault of its file
        os.unlink(path)
