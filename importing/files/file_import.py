"""One file's trip: read it, settle whose it is and what it is called, render, upload, tell the outcome.

A trip ends in one :class:`FileOutcome` or, for what is none to import, in an :class:`IgnoredFile`.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

from domain import outcome_codes as codes
from domain.patient_identity import check_patient_id, form_key, normal_patient_id
from errors import (
    ConfigurationError,
    FileError,
    HeldFileError,
    MisplacedFileError,
    PatientDeletedInXieHeError,
    PatientUnavailableError,
    RenderCrashedError,
    TooManyFramesError,
    UnstableFileError,
    file_error,
)
from history import SeenSource
from importing.files.outcome_details import KIND_OF_CODE, code_of, detail_of, frame_list
from importing.naming.name_decision import NameDecision
from importing.naming.stored_names import BYTES_HASH, NameChoices, name_choices, named_dicom, named_image, stem_of
from importing.naming.ticket_lock import Ticket
from importing.patients.identity_rules import Identity, check_demographics, identify, new_patient
from importing.patients.patient_cache import NameReservation, PatientEntry
from importing.runs.run_context import RunContext
from importing.settings_mapping import check_exam_rules
from importing.telemetry import Stage
from importing.uploads.image_upload import ImageUpload, UploadedImages
from models import (
    DicomHeader,
    Failure,
    FileOutcome,
    FileWarning,
    IgnoredFile,
    ImportedImage,
    OutcomeKind,
    PatientMismatchPolicy,
    ReadReply,
    ReadRequest,
    RenderedImage,
    SourceFile,
    display_path,
)

_NOTHING_DONE = UploadedImages(0, None)
CLAIM_LOOK_S = 1.0


class FileImport:
    """The state of one file on its way; used once."""

    def __init__(self, context: RunContext, source: SourceFile, *, misplaced: bool = False) -> None:
        self._context = context
        self._tools = context.tools
        self._source = source
        self._misplaced = misplaced
        self._turn_key = _turn_key(context, source)
        self._turn: Ticket = context.name_order.take(self._turn_key)
        self._begun = time.monotonic()
        self._header: DicomHeader | None = None
        self._patient_id: str | None = None
        self._reply = ReadReply()
        self._pictures: list[RenderedImage] = []
        self._decision: NameDecision | None = None
        self._warnings: list[FileWarning] = []
        self._stages: dict[str, float] = {}
        self._partial_prefix = f"{self._tools.partial_dir}/{uuid.uuid4().hex}"
        self._recorded: bool | None = None

    async def run(self) -> FileOutcome | IgnoredFile:
        """Takes the whole trip.

        Raises:
            TaskStopped: the task was cancelled, or the service is stopping; nothing is recorded then.
        """
        try:
            with self._tools.telemetry.in_flight(Stage.FILE):
                return await self._process()
        except FileError as error:
            return self._failed(error)
        finally:
            self._context.name_order.leave(self._turn_key, self._turn)
            self._remove_partial_pictures()

    async def _process(self) -> FileOutcome | IgnoredFile:
        probably_uploaded = not self._misplaced and await self._is_likely_there()
        renders = not self._misplaced and not probably_uploaded
        self._take_reply(await self._context.retry_after_pause(lambda: self._read(render=renders)))
        if self._reply.ignored is not None:
            return IgnoredFile(self._source.path, self._reply.ignored)
        if self._misplaced:
            raise MisplacedFileError("文件不在 <月份>/<患者ID>/ 目录之内；未导入")
        if self._header is None:
            raise _error_of(self._reply.failure)
        chosen = self._settle_id(self._header)
        with self._tools.patient_cache.acquire(chosen.patient_id, form_key(chosen.patient_id)) as desk:
            return await self._import_for(desk, self._header)

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _is_likely_there(self) -> bool:
        """Whether XieHe lists the plain name already, so that the header alone will probably do."""
        folder_id = normal_patient_id(self._source.patient_dir)
        try:
            check_patient_id(folder_id)
        except FileError:
            return False  # XieHe cannot have such a patient, nor be asked for one
        filename = os.path.basename(self._source.path)

        async def look() -> bool:
            return desk.probably_uploaded(filename)

        with self._tools.patient_cache.acquire(folder_id, form_key(folder_id)) as desk:
            try:
                return await self._context.with_patient_lock(desk, look)
            except PatientUnavailableError:
                self._patient_id = folder_id
                raise

    async def _read(self, *, render: bool) -> ReadReply:
        holds = self._context.options.on_patient_mismatch is PatientMismatchPolicy.HOLD
        name = os.path.basename(self._source.path)
        request = ReadRequest(
            path=self._source.path,
            named_dicom=named_dicom(name),
            plain_image=named_image(name, self._tools.image_extensions),
            output_prefix=self._partial_prefix,
            render=self._context.render if render else None,
            only_if_patient_id=self._source.patient_dir if holds else None,
            exam_rules_path=self._tools.exam_rules_path,
            max_file_bytes=self._tools.max_file_bytes,
            skip_for_processing=self._tools.skip_for_processing,
            area=self._tools.sources,
        )
        with self._tools.telemetry.in_flight(Stage.RENDER if render else Stage.READ):
            return await self._believed(self._tools.renderer.run(request))

    async def _believed(self, reading: Awaitable[ReadReply]) -> ReadReply:
        """What a renderer answers, but for a complaint of rules that are in order.

        Raises:
            ConfigurationError: EXAM_RULES_FILE cannot be used any more.
            RenderCrashedError: the renderer says so, and it is not true.
        """
        try:
            return await reading
        except ConfigurationError as error:
            await asyncio.to_thread(check_exam_rules, self._tools.exam_rules_path)
            raise RenderCrashedError("渲染进程不能使用体位规则，而规则文件无误") from error

    def _take_reply(self, reply: ReadReply) -> None:
        self._reply = reply
        self._header = reply.header or self._header
        self._pictures.extend(reply.images)
        self._warn((*reply.warnings, *(reply.header.warnings if reply.header else ())))
        for stage, seconds in reply.stage_seconds.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + seconds

    def _settle_id(self, header: DicomHeader) -> Identity:
        self._patient_id = header.patient.patient_id or normal_patient_id(self._source.patient_dir)
        chosen = identify(self._source.patient_dir, header.patient, self._context.options.on_patient_mismatch)
        self._patient_id = chosen.patient_id
        self._warn(chosen.warnings)
        return chosen

    # --- the patient -----------------------------------------------------------------------------------------------

    async def _import_for(self, desk: PatientEntry, header: DicomHeader) -> FileOutcome:
        with ExitStack() as stack:
            ledger, instance = self._tools.instances, header.image.sop_instance_uid
            stack.enter_context(ledger.holding(instance, desk.patient_id))
            await self._context.retry_after_pause(lambda: ledger.check(instance, desk.patient_id))
            claim = await self._decide(desk, header)
            self._decision = claim.decision
            stack.callback(desk.release, claim)
            self._turn.passed()
            self._warn(ledger.name(instance, desk.patient_id, claim.keys[0]))
            return await self._carry_out(desk, header, claim)

    async def _decide(self, desk: PatientEntry, header: DicomHeader) -> NameReservation:
        """Find-or-create, then the names, in the order of the scan."""
        await self._turn.come()
        while True:
            claimed = await self._context.with_patient_lock(desk, lambda: self._try_to_claim(desk, header))
            if isinstance(claimed, NameReservation):
                return claimed
            await self._wait_for(claimed)

    async def _try_to_claim(self, desk: PatientEntry, header: DicomHeader) -> NameReservation | list[NameReservation]:
        """The names, or the claims of the same instance that have to arrive first. Under the desk's lock."""
        await self._settle_patient(desk, header)
        choices, instance = self._choices(header), self._instance(header)
        reupload = self._context.options.reupload_removed
        return desk.pending_claims(choices, instance) or desk.claim(choices, instance, reupload_removed=reupload)

    def _choices(self, header: DicomHeader) -> NameChoices:
        """Raises TooManyFramesError; a header that lies of its frames must not become as many names."""
        frames, limit = header.image.frames, self._context.render.max_frames
        if frames > limit:
            raise TooManyFramesError(f"共 {frames} 帧，超过 MAX_FRAMES_PER_FILE={limit}")
        return name_choices(os.path.basename(self._source.path), self._instance(header), frames)

    async def _wait_for(self, claims: Sequence[NameReservation]) -> None:
        """Claims may be another task's, paused for long; so this task's own end is looked for in between."""
        for claim in claims:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLAIM_LOOK_S):
                    await claim.done.wait()
        await self._context.task.gate()

    async def _settle_patient(self, desk: PatientEntry, header: DicomHeader) -> None:
        if desk.refusal is not None:
            raise type(desk.refusal)(desk.refusal.detail)
        options = self._context.options
        if desk.patient is not None:
            if options.on_patient_mismatch is not PatientMismatchPolicy.TRUST_FOLDER:
                self._warn(check_demographics(header.patient, desk.patient, options.on_demographics_mismatch))
            await self._context.count_patient(desk, created=False)
        if self._reply.failure is not None:
            raise _error_of(self._reply.failure)
        if desk.patient is None:
            if not self._reply.images:
                await self._render_missing()
            await self._create(desk, header)
        if desk.form_differs and desk.patient is not None:
            message = f"XieHe 中的患者ID写作 {desk.patient.patient_id}，仅大小写或全半角不同"
            self._warn((FileWarning("patient_id_form_differs", message),))

    async def _create(self, desk: PatientEntry, header: DicomHeader) -> None:
        tools, task_id, key = self._tools, self._context.task.task_id, form_key(desk.patient_id)
        new = new_patient(desk.patient_id, header.patient, self._context.options.on_patient_mismatch)
        await tools.history.intend_patient(task_id, key)
        try:
            made = await desk.create(new, tools.backend_url, tools.client, tools.history)
        except FileError:
            await tools.history.drop_patient_intent(task_id, key)
            raise
        if not made:
            await tools.history.drop_patient_intent(task_id, key)
        await self._context.count_patient(desk, created=made)

    # --- the names -------------------------------------------------------------------------------------------------

    def _instance(self, header: DicomHeader) -> str:
        return header.image.sop_instance_uid or f"{BYTES_HASH}{self._reply.content_sha256}"

    async def _render_missing(self) -> None:
        """Reads the file again, for its pictures. Fails where another file lies there by now."""
        assert self._header is not None
        before = (self._header.patient, self._header.image, self._reply.content_sha256)
        self._take_reply(await self._read(render=True))
        if self._reply.failure is not None:
            raise _error_of(self._reply.failure)
        after = (self._header.patient, self._header.image, self._reply.content_sha256)
        if self._reply.ignored is not None or before != after:
            raise UnstableFileError("文件在两次读取之间被替换；未上传")
        if not self._reply.images:
            raise RenderCrashedError("渲染进程没有交出图像，也没有给出原因")

    # --- the pictures ----------------------------------------------------------------------------------------------

    async def _carry_out(self, desk: PatientEntry, header: DicomHeader, claim: NameReservation) -> FileOutcome:
        upload = ImageUpload(self._context, self._source, desk, header, claim)
        if upload.missing and not self._reply.images:
            await self._context.retry_after_pause(self._render_missing)
        begun = time.monotonic()
        try:
            with self._tools.telemetry.in_flight(Stage.UPLOAD):
                done = await upload.run(self._reply.images, self._instance(header))
        finally:
            self._stages["upload"] = time.monotonic() - begun
            self._remove_partial_pictures()  # before anything waits: the history may want the room
        if isinstance(done.failure, PatientDeletedInXieHeError):
            desk.look_again()
        outcome = self._failed_frames(done) if done.failure else self._arrived(header, claim.decision, done)
        if done.unrecorded:
            await self.record(outcome, done.unrecorded)  # while the instance is still held
            for row in done.unrecorded:  # names read anew since the upload did not have them from the history yet
                desk.remember(row)
        return outcome

    async def record(self, outcome: FileOutcome, images: Sequence[ImportedImage] = ()) -> bool:
        """Tells the history how the trip ended, once; whether that was new to it."""
        if self._recorded is None:
            task_id, seen, record = self._context.task.task_id, self._seen(outcome), self._tools.history.record_outcome
            self._recorded = await self._context.retry_after_pause(lambda: record(task_id, outcome, images, seen))
        return self._recorded

    def _arrived(self, header: DicomHeader, decision: NameDecision, done: UploadedImages) -> FileOutcome:
        code = code_of(decision, done, planned=self._context.options.dry_run)
        if code == codes.DUPLICATE_BY_NAME:
            self._warn((FileWarning("content_not_verified", "XieHe 中的同名影像不是本服务导入的，内容未核对"),))
        if done.removed:
            message = "曾经导入过，但 XieHe 中已看不到（被人删除，或当前账号无权查看）"
            self._warn((FileWarning(codes.REMOVED_IN_XIEHE, message),))
        return self._outcome(KIND_OF_CODE[code], code, detail_of(code, done), done)

    def _failed_frames(self, done: UploadedImages) -> FileOutcome:
        assert done.failure is not None
        frames = self._header.image.frames if self._header else 1
        where = "" if frames == 1 else f"第 {frame_list(done.missing_frames)} 帧未上传（共 {frames} 帧）："
        return self._outcome(OutcomeKind.FAILED, done.failure.code, where + done.failure.detail, done)

    # --- outcomes --------------------------------------------------------------------------------------------------

    def _failed(self, error: FileError) -> FileOutcome:
        return self._outcome(OutcomeKind.FAILED, error.code, error.detail, held=isinstance(error, HeldFileError))

    def _outcome(
        self, kind: OutcomeKind, code: str, detail: str, done: UploadedImages = _NOTHING_DONE, *, held: bool = False
    ) -> FileOutcome:
        image = None if self._header is None else self._header.image
        window = self._reply.images[0].window if self._reply.images else None
        return FileOutcome(
            source_path=self._source.path,
            month=self._source.month or None,
            kind=kind,
            code=code,
            detail=display_path(detail),
            finished_at=datetime.now(UTC),
            patient_id=None if self._patient_id is None else display_path(self._patient_id),
            sop_instance_uid=image.sop_instance_uid if image else None,
            transfer_syntax=image.transfer_syntax if image else None,
            modality=image.modality if image else None,
            charset_source=self._header.patient.charset_source if self._header else None,
            exam_type=image.exam_type if image else None,
            exam_rule=image.exam_rule if image else None,
            upload_filename=done.first.stored_name if done.first else None,
            jpg_path=done.jpg_path,
            image_file_id=done.first.image_file_id if done.first else None,
            window_center=window.center if window else None,
            window_width=window.width if window else None,
            window_source=window.source if window else None,
            frames_total=image.frames if image else 0,
            frames_uploaded=done.new_frames,
            bytes_uploaded=done.new_bytes,
            held=held,
            warnings=tuple(self._warnings),
            size_bytes=self._source.size_bytes,
            mtime_ns=self._source.mtime_ns,
            duration_seconds=time.monotonic() - self._begun,
            stage_seconds=dict(self._stages),
        )

    def _seen(self, outcome: FileOutcome) -> SeenSource | None:
        """What lets a later run pass this file without opening it; None where its outcome may change."""
        if self._header is None or self._decision is None or outcome.kind is OutcomeKind.FAILED:
            return None
        return SeenSource(
            backend_url=self._tools.backend_url,
            source_path=self._source.path,
            size_bytes=self._source.size_bytes,
            mtime_ns=self._source.mtime_ns,
            patient_dir=self._source.patient_dir,
            patient_id=outcome.patient_id or "",
            header_patient_id=self._header.patient.patient_id,
            instance=self._instance(self._header),
            sop_instance_uid=self._header.image.sop_instance_uid,
            name_keys=self._decision.keys,
        )

    def _warn(self, warnings: Iterable[FileWarning]) -> None:
        self._warnings.extend(warning for warning in warnings if warning not in self._warnings)

    def _remove_partial_pictures(self) -> None:
        while self._pictures:
            with suppress(OSError):  # what stays is cleared away at the next start
                os.unlink(self._pictures.pop().path)


def _error_of(failure: Failure | None) -> FileError:
    """A failure of the render process, as the error that it was."""
    assert failure is not None, "a reply without header, pictures and failure"
    return file_error(failure.code, failure.detail)


def _turn_key(context: RunContext, source: SourceFile) -> str:
    """Files whose names may meet: same stem, same patient. Under trust_dicom any folder may hold any patient's."""
    stem = stem_of(os.path.basename(source.path))
    if context.options.on_patient_mismatch is PatientMismatchPolicy.TRUST_DICOM:
        return stem
    return f"{form_key(source.patient_dir)}/{stem}"
