"""Maps settings to the plain values that each package takes."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractAsyncContextManager

from api_client import ClientOptions, Credentials, RetryPolicy
from config import ENV_FILE, Settings
from dicom.exam.exam_rules import load_table, server_crashing_words
from importing.telemetry import Telemetry
from models import ImportOptions, RenderOptions
from render import Confinement, ConfinementState, PoolOptions, RenderExecutor, expected_state
from render.cluster.executor import ClusterOptions, RenderCluster
from render.pool import RenderPool
from source import TreeRules
from webhook import WebhookOptions

_log = logging.getLogger(__name__)

MEGABYTE = 1024 * 1024
_DECODED_SHARE = 3
"""A decoded data set may fill a third of a render process's memory: the rest is for the file and the images."""


def credentials_of(settings: Settings) -> Credentials:
    """How to authenticate at XieHe."""
    token, password = settings.api_token, settings.backend_password
    return Credentials(
        token.get_secret_value() if token else None,
        settings.backend_username,
        password.get_secret_value() if password else None,
    )


def client_options(settings: Settings, telemetry: Telemetry) -> ClientOptions:
    """Of the XieHe client."""
    return ClientOptions(
        base_url=settings.backend_url,
        credentials=credentials_of(settings),
        retry=RetryPolicy(late_commit_window_s=settings.backend_landing_seconds),
        upload_concurrency=settings.upload_concurrency,
        uploads_per_second=settings.uploads_per_second,
        on_call=telemetry.backend_called,
        on_retry=telemetry.backend_retried,
    )


def webhook_options(settings: Settings) -> WebhookOptions | None:
    """Where notices of tasks' ends go; None if WEBHOOK_URL is not set."""
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    return WebhookOptions(settings.webhook_url, settings.webhook_secret.get_secret_value(), settings.data_dir)


def pool_options(settings: Settings) -> PoolOptions:
    """Of the render processes."""
    return PoolOptions(
        workers=settings.max_workers,
        timeout_s=settings.render_timeout_seconds,
        memory_mb=settings.render_memory_mb,
        confinement=confinement_of(settings),
    )


def confinement_of(settings: Settings) -> Confinement:
    """What a render process may read and write; without DICOM_SOURCE_PATH any file may be a source."""
    rules = settings.exam_rules_file
    sources = settings.dicom_source_path or (os.path.abspath(os.sep),)
    return Confinement(
        read=(*sources, settings.output_dir, *(() if rules is None else (rules,))),
        write=partial_dir(settings),
        hidden=(os.path.abspath(ENV_FILE), os.path.abspath(settings.data_dir)),
    )


def confinement_state(settings: Settings) -> ConfinementState:
    """How far render processes will be confined, in the words of readiness."""
    return expected_state(confinement_of(settings))


def renderer_of(settings: Settings) -> AbstractAsyncContextManager[RenderExecutor]:
    """The renderer that RENDER_EXECUTOR names.

    Raises:
        ConfigurationError: when it is opened, if Dask is not installed.
    """
    address = settings.dask_address
    if address is None:
        return RenderPool.open(pool_options(settings))
    options = ClusterOptions(
        address=address,
        pool=pool_options(settings),
        partial_dir=partial_dir(settings),
        roots=settings.dicom_source_path,
        exam_rules_path=settings.exam_rules_file,
    )
    return RenderCluster.open(options)


def render_options(settings: Settings, options: ImportOptions) -> RenderOptions:
    """How one task's images are rendered."""
    return RenderOptions(
        window_center=options.window_center,
        window_width=options.window_width,
        default_window_center=settings.default_window_center,
        default_window_width=settings.default_window_width,
        jpg_quality=settings.jpg_quality,
        output_format=settings.output_format,
        square_pixels=settings.square_pixels,
        draw_overlays=settings.draw_overlays,
        max_frames=settings.max_frames_per_file,
        max_pixels_bytes=settings.render_memory_mb * MEGABYTE // _DECODED_SHARE,
    )


def default_options(settings: Settings) -> ImportOptions:
    """What an import does if its request says nothing else."""
    return ImportOptions(
        on_patient_mismatch=settings.on_patient_mismatch,
        on_demographics_mismatch=settings.on_demographics_mismatch,
    )


def check_exam_rules(path: str | None) -> None:
    """Reads the exam-type table, and warns of types that crash XieHe.

    Raises:
        ConfigurationError: EXAM_RULES_FILE cannot be read or is invalid.
    """
    for exam_type in load_table(path).exam_types:
        if words := server_crashing_words(exam_type):
            _log.warning("XieHe C1/C2 would refuse exam type %r (%s); it is left out there", exam_type, ",".join(words))


def tree_rules(settings: Settings) -> TreeRules:
    """How sources are laid out, and which are allowed."""
    return TreeRules(
        month_folder_format=settings.month_folder_format,
        excluded=(settings.output_dir, settings.data_dir),
        allowed_roots=settings.dicom_source_path,
    )


def partial_dir(settings: Settings) -> str:
    """Where images are rendered before they get their names; on the file system of OUTPUT_DIR."""
    return os.path.join(settings.output_dir, ".partial")
