"""Rendered frames → picture files beside each other; memory holds one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from dicom.rendering.frame_rendering import FrameNote, RenderedFrame, StageClock, is_constant
from dicom.rendering.image_files import is_absurd, scale_of, to_fit, to_square, write_picture, write_whole
from dicom.rendering.overlays import draw
from domain.content_etag import file_etag
from models import FileWarning, RenderedImage, RenderOptions, image_path

_CONSTANT, _ABSURD, _UNREADABLE = "constant_picture", "pixel_aspect_ignored", "pixel_spacing_unreadable"
_WHERE = "（共 {n} 帧，首个为第 {first} 帧）"
_MESSAGES = {
    _CONSTANT: f"图片只有一种灰度或颜色{_WHERE}，请核对",
    _ABSURD: "像素长宽比不合理（首个为第 {first} 帧），未校正为方形像素",
    _UNREADABLE: "像素间距或长宽比无法识别（首个为第 {first} 帧），按方形像素处理，请核对比例和角度",
    FrameNote.WINDOW_DOES_NOT_FIT: f"文件自带的窗会使图像几乎全黑或全白，与像素值不符，未采用{_WHERE}，请核对明暗",
    FrameNote.LUT_DATA_MISMATCH: f"查找表（LUT）的数据少于描述的项数：略少则以末项补足，否则未采用{_WHERE}，请核对",
    FrameNote.SHUTTER_NOT_APPLIED: f"文件要求遮挡部分画面（Display Shutter），图片未遮挡{_WHERE}",
    FrameNote.OVERLAY_NOT_DRAWN: f"叠加层（60xx，可能是左右标记）未全部画入{_WHERE}；DRAW_OVERLAYS=true 可画入图形",
    FrameNote.COLOUR_LABEL_CONTRADICTED: f"颜色空间标记与这种码流矛盾，已按像素判断{_WHERE}，请核对颜色",
    FrameNote.SURPLUS_PIXEL_DATA: "像素数据在最后一帧之后还有一帧以上的零字节，按填充处理，请核对帧数",
}


@dataclass(slots=True)
class ImageMaker:
    """Makes the pictures of one file.

    Attributes:
        output_prefix: see :func:`models.image_path`.
        options: how.
        images: the pictures that are on disk so far.
    """

    output_prefix: str
    options: RenderOptions
    images: list[RenderedImage]
    _frames_of: dict[str, list[int]] = field(default_factory=dict)
    _own: dict[str, FileWarning] = field(default_factory=dict)

    def make(self, frames: Iterator[RenderedFrame], clock: StageClock) -> tuple[FileWarning, ...]:
        """Writes each frame; returns what the operator should know of them."""
        for frame in frames:
            started = time.perf_counter()
            self.images.append(self._write(frame))
            for note in frame.notes:
                self._note(note, frame)
            self._own = {warning.code: warning for warning in frame.warnings} | self._own
            clock.add("encode", started)
        return tuple(self._warnings())

    def _write(self, frame: RenderedFrame) -> RenderedImage:
        options, stored = self.options, frame.levels.pixels
        pixels, scale = stored, scale_of(frame.geometry)
        if options.square_pixels:
            pixels, scale = to_square(pixels, frame.geometry, options.max_pixels_bytes)
            if is_absurd(frame.geometry):
                self._note(_ABSURD, frame)
            if frame.geometry.unreadable:
                self._note(_UNREADABLE, frame)
        if frame.drawing is not None:
            pixels = draw(pixels, frame.drawing)
        pixels, scale = to_fit(pixels, scale, options.max_side_px)
        path = image_path(self.output_prefix, frame.number, options.output_format)
        if frame.ready_jpg is not None and pixels is stored and options.output_format == "jpg":
            write_whole(path, frame.ready_jpg)
            size = len(frame.ready_jpg)
        else:
            size = write_picture(path, pixels, scale, options.jpg_quality)
        return self._told(frame, path, (pixels.shape[0], pixels.shape[1]), size)

    def _told(self, frame: RenderedFrame, path: str, shape: tuple[int, int], size_bytes: int) -> RenderedImage:
        constant = is_constant(frame.levels)
        if constant:
            self._note(_CONSTANT, frame)
        return RenderedImage(
            path=path,
            frame_number=frame.number,
            width_px=shape[1],
            height_px=shape[0],
            size_bytes=size_bytes,
            window=frame.levels.window,
            constant=constant,
            storage_etag=_etag(path),
        )

    def _note(self, code: str, frame: RenderedFrame) -> None:
        self._frames_of.setdefault(code, []).append(frame.number)

    def _warnings(self) -> Iterator[FileWarning]:
        yield from self._own.values()
        for code, message in _MESSAGES.items():
            if frames := self._frames_of.get(code):
                yield FileWarning(str(code), message.format(n=len(frames), first=frames[0]))


def _etag(path: str) -> str | None:
    """None if the file cannot be read back; the upload tells of that."""
    try:
        return file_etag(path)
    except OSError:
        return None
