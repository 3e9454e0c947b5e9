"""Rendered frames → picture files beside each other; memory holds one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from dicom.frame_rendering import RenderedFrame, StageClock, is_constant
from dicom.picture_files import is_absurd, scale_of, to_fit, to_square, write_picture, write_whole
from models import FileWarning, RenderedImage, RenderOptions


@dataclass(slots=True)
class PictureMaker:
    """Makes the pictures of one file.

    Attributes:
        output_prefix: pictures are written to ``<output_prefix>-<frame, 4 digits>.<ext>``.
        options: how.
        images: the pictures that are on disk so far.
    """

    output_prefix: str
    options: RenderOptions
    images: list[RenderedImage]
    _constant: list[int] = field(default_factory=list)
    _absurd: list[int] = field(default_factory=list)
    _unreadable: list[int] = field(default_factory=list)
    _of_frames: dict[str, FileWarning] = field(default_factory=dict)

    def make(self, frames: Iterator[RenderedFrame], clock: StageClock) -> tuple[FileWarning, ...]:
        """Writes each frame; returns what the operator should know of them."""
        for frame in frames:
            started = time.perf_counter()
            self.images.append(self._write(frame))
            self._of_frames = {warning.code: warning for warning in frame.warnings} | self._of_frames
            clock.add("encode", started)
        return tuple(self._warnings())

    def _write(self, frame: RenderedFrame) -> RenderedImage:
        options, stored = self.options, frame.levels.pixels
        pixels, scale = stored, scale_of(frame.geometry)
        if options.square_pixels:
            pixels, scale = to_square(pixels, frame.geometry, options.max_pixels_bytes)
            self._absurd += [frame.number] if is_absurd(frame.geometry) else []
            self._unreadable += [frame.number] if frame.geometry.unreadable else []
        pixels, scale = to_fit(pixels, scale, options.max_side_px)
        path = f"{self.output_prefix}-{frame.number:04d}.{options.output_format}"
        if frame.ready_jpg is not None and pixels is stored and options.output_format == "jpg":
            write_whole(path, frame.ready_jpg)
            size = len(frame.ready_jpg)
        else:
            size = write_picture(path, pixels, scale, options.jpg_quality)
        return self._told(frame, path, (pixels.shape[0], pixels.shape[1]), size)

    def _told(self, frame: RenderedFrame, path: str, shape: tuple[int, int], size_bytes: int) -> RenderedImage:
        constant = is_constant(frame.levels)
        self._constant += [frame.number] if constant else []
        return RenderedImage(
            path=path,
            frame_number=frame.number,
            width_px=shape[1],
            height_px=shape[0],
            size_bytes=size_bytes,
            window=frame.levels.window,
            constant=constant,
        )

    def _warnings(self) -> Iterator[FileWarning]:
        constant, absurd, unreadable = self._constant, self._absurd, self._unreadable
        yield from self._of_frames.values()
        if constant:
            message = f"图片只有一种灰度或颜色（共 {len(constant)} 帧，首个为第 {constant[0]} 帧），请核对"
            yield FileWarning("constant_picture", message)
        if absurd:
            message = f"像素长宽比不合理（首个为第 {absurd[0]} 帧），未校正为方形像素"
            yield FileWarning("pixel_aspect_ignored", message)
        if unreadable:
            message = f"像素间距或长宽比无法识别（首个为第 {unreadable[0]} 帧），按方形像素处理，请核对比例和角度"
            yield FileWarning("pixel_spacing_unreadable", message)
