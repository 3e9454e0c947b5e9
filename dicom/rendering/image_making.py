"""Rendered frames → image files beside each other. Memory holds one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dicom.rendering.frame_rendering import FrameNote, RenderedFrame, StageClock, is_constant
from dicom.rendering.image_files import (
    is_implausible,
    remove_quietly,
    scale_of,
    to_fit,
    to_square,
    write_image,
    write_whole,
)
from dicom.rendering.overlays import draw
from domain.content_etag import file_etag
from errors import HostError
from models import FileWarning, RenderedImage, RenderOptions, image_path

_CONSTANT, _IMPLAUSIBLE, _UNREADABLE = "constant_picture", "pixel_aspect_ignored", "pixel_spacing_unreadable"
_WHERE = "（共 {n} 帧，首个为第 {first} 帧）"
_MESSAGES = {
    _CONSTANT: f"图片只有一种灰度或颜色{_WHERE}，请核对",
    _IMPLAUSIBLE: "像素长宽比不合理（首个为第 {first} 帧），未校正为方形像素",
    _UNREADABLE: "像素间距或长宽比无法识别（首个为第 {first} 帧），按方形像素处理，请核对比例和角度",
    FrameNote.WINDOW_DOES_NOT_FIT: f"文件自带的窗会使图像几乎全黑或全白，与像素值不符，未采用{_WHERE}，请核对明暗",
    FrameNote.LUT_DATA_MISMATCH: f"查找表（LUT）的数据少于描述的项数：略少则以末项补足，否则未采用{_WHERE}，请核对",
    FrameNote.SHUTTER_NOT_APPLIED: f"文件要求遮挡部分画面（Display Shutter），图片未遮挡{_WHERE}",
    FrameNote.OVERLAY_NOT_DRAWN: f"叠加层（60xx，可能是左右标记）未全部画入{_WHERE}；DRAW_OVERLAYS=true 可画入图形",
    FrameNote.COLOUR_LABEL_CONTRADICTED: f"颜色空间标记与这种码流矛盾，已按像素判断{_WHERE}，请核对颜色",
    FrameNote.SURPLUS_PIXEL_DATA: "像素数据在最后一帧之后还有一帧以上的零字节，按填充处理，请核对帧数",
}


def write_images(
    frames: Iterator[RenderedFrame], output_prefix: str, options: RenderOptions, clock: StageClock
) -> tuple[tuple[RenderedImage, ...], tuple[FileWarning, ...]]:
    """Writes the image of each frame; returns the images and what an operator should know of them.

    Args:
        output_prefix: see :func:`models.image_path`.

    Raises:
        FileError: from rendering; no image stays on disk. HostError: the images stay.
    """
    images: list[RenderedImage] = []
    own: dict[str, FileWarning] = {}
    frames_of: dict[str, list[int]] = {}
    keep = False
    try:
        for frame in frames:
            started = time.perf_counter()
            image = _write(frame, output_prefix, options)
            images.append(image)
            for warning in frame.warnings:
                own.setdefault(warning.code, warning)
            for note in _notes(frame, image, options):
                frames_of.setdefault(note, []).append(frame.number)
            clock.add("encode", started)
        keep = True
    except HostError:
        keep = True
        raise
    finally:
        if not keep:
            for image in images:
                remove_quietly(image.path)
    return tuple(images), (*own.values(), *_warnings(frames_of))


def _write(frame: RenderedFrame, output_prefix: str, options: RenderOptions) -> RenderedImage:
    pixels, scale = frame.levels.pixels, scale_of(frame.geometry)
    if options.square_pixels:
        pixels, scale = to_square(pixels, frame.geometry, options.max_pixels_bytes)
    if frame.drawing is not None:
        pixels = draw(pixels, frame.drawing)
    pixels, scale = to_fit(pixels, scale, options.max_side_px)
    path = image_path(output_prefix, frame.number, options.output_format)
    if frame.ready_jpg is not None and pixels is frame.levels.pixels and options.output_format == "jpg":
        write_whole(path, frame.ready_jpg)
        size_bytes = len(frame.ready_jpg)
    else:
        size_bytes = write_image(path, pixels, scale, options.jpg_quality)
    return RenderedImage(
        path=path,
        frame_number=frame.number,
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        size_bytes=size_bytes,
        window=frame.levels.window,
        constant=is_constant(frame.levels),
        storage_etag=_etag(path),
    )


def _notes(frame: RenderedFrame, image: RenderedImage, options: RenderOptions) -> Iterator[str]:
    yield from frame.notes
    if options.square_pixels and is_implausible(frame.geometry):
        yield _IMPLAUSIBLE
    if options.square_pixels and frame.geometry.unreadable:
        yield _UNREADABLE
    if image.constant:
        yield _CONSTANT


def _warnings(frames_of: dict[str, list[int]]) -> Iterator[FileWarning]:
    for code, message in _MESSAGES.items():
        if frames := frames_of.get(code):
            yield FileWarning(str(code), message.format(n=len(frames), first=frames[0]))


def _etag(path: str) -> str | None:
    """None if the file cannot be read back; the upload reports that."""
    try:
        return file_etag(path)
    except OSError:
        return None
