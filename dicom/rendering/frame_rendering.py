"""Data set and pixel element → 8-bit frames: chooses decoder, pipeline and parameters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache, partial

from dicom.decoding import pixel_decoders
from dicom.decoding.pixel_decoders import DecodedFrame, native_layout, shape_native
from dicom.decoding.pixel_frames import (
    EncapsulatedFrames,
    NativeFrames,
    encapsulated_frames,
    native_frames,
    number_kind,
    unencapsulated_frames,
)
from dicom.header.attributes import (
    ImageAttributes,
    PixelGeometry,
    has_shutter,
    image_attributes,
    is_inverted,
    is_supplemental,
    modality_transform,
    padding_range,
    palette_tables,
    pixel_geometry,
    voi_choice,
)
from dicom.header.parsing import ParsedFile, PixelElement
from dicom.header.values import has
from dicom.pixel_maths.colour import interpolate_422, render_palette, render_supplemental, to_rgb
from dicom.pixel_maths.grayscale import GrayscaleFrame, GrayscaleRules, render_grayscale
from dicom.pixel_maths.lookup_tables import PaletteTables
from dicom.pixel_maths.stored_values import CellLayout, NumberKind
from dicom.pixel_maths.voi import Window
from dicom.rendering.declared_depth import fitting_rules
from dicom.rendering.overlays import Bitmap, overlay_planes, overlays_of_frame
from dicom.transfer_syntaxes import Codec, has_decoder
from errors import (
    FileError,
    FileTooLargeError,
    MissingAttributeError,
    NoPixelDataError,
    TooManyFramesError,
    TruncatedPixelDataError,
    UnsupportedImageError,
    UnsupportedTransferSyntaxError,
)
from models import FileWarning, RenderOptions

_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"})
_EIGHT_BITS = 8


class FrameNote(StrEnum):
    """What an operator should know of a frame's image; a warning code."""

    WINDOW_DOES_NOT_FIT = "window_does_not_fit"
    """A window or table of the file does not fit its values and was skipped."""
    LUT_DATA_MISMATCH = "lut_data_mismatch"
    """LUT Data hold fewer entries than their descriptor declares."""
    SHUTTER_NOT_APPLIED = "shutter_not_applied"
    """A Display Shutter would hide a part of the image."""
    OVERLAY_NOT_DRAWN = "overlay_not_drawn"
    """An overlay plane has content that is not drawn."""
    COLOUR_LABEL_CONTRADICTED = "colour_label_contradicted"
    """The header's colour space is impossible in the codestream; the samples decided."""
    SURPLUS_PIXEL_DATA = "surplus_pixel_data"
    """Zeros as long as a frame follow the last frame."""


@dataclass(slots=True)
class StageClock:
    """Seconds spent in each stage of one file."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """A rendered frame before it becomes a file.

    Attributes:
        number: counts from 1.
        ready_jpg: a complete JPG of exactly these pixels, for use if nothing is changed.
        drawing: (rows, columns) bool, graphics to draw over the pixels, or None.
        notes, warnings: what an operator should know of the image.
    """

    number: int
    levels: GrayscaleFrame
    geometry: PixelGeometry
    ready_jpg: bytes | None = None
    drawing: Bitmap | None = None
    notes: tuple[FrameNote, ...] = ()
    warnings: tuple[FileWarning, ...] = ()


def render_frames(
    parsed: ParsedFile, options: RenderOptions, numbers: tuple[int, ...] | None, clock: StageClock
) -> Iterator[RenderedFrame]:
    """Decodes and renders frames (1-based; None: all), one at a time.

    Raises:
        FileError: no pixels, too many or too large frames, unknown syntax, damaged pixel data ...
    """
    pixels = parsed.pixels
    if pixels is None:
        raise _missing_pixels_error(parsed)
    image = image_attributes(parsed.dataset, number_kind(pixels))
    wanted = requested_frames(numbers, image.frames, options.max_frames)
    _require_size(image, options.max_pixels_bytes)
    source = _open_frames(parsed, pixels, image)
    rules_of = lru_cache(1)(partial(frame_rules, parsed, image, options))
    own_rules = has(parsed.dataset, "PerFrameFunctionalGroupsSequence")  # PS3.3 C.7.6.16
    padded = isinstance(source, NativeFrames) and source.padded
    planes = overlay_planes(parsed.dataset, image)
    for number in wanted:
        started = time.perf_counter()
        decoded = _decode(source, parsed, image, number - 1)
        started = clock.add("decode", started)
        rules, warnings = _adapted_rules(decoded, image, rules_of(number - 1 if own_rules else 0))
        levels = render_frame(parsed, image, decoded, rules)
        overlays = overlays_of_frame(planes, number - 1, decoded.cells, decoded.layout, draw=options.draw_overlays)
        clock.add("render", started)
        relabelled = decoded.relabelled
        del decoded  # frees memory while the image is written
        notes = _notes(rules, levels, left_out=overlays.left_out, relabelled=relabelled, padded=padded)
        yield RenderedFrame(number, levels, rules.geometry, None, overlays.drawing, tuple(notes), warnings)


def _notes(
    rules: FrameRules, levels: GrayscaleFrame, *, left_out: bool, relabelled: bool, padded: bool
) -> Iterator[FrameNote]:
    gray = rules.grayscale
    if levels.window_skipped:
        yield FrameNote.WINDOW_DOES_NOT_FIT
    if gray is not None and (gray.modality.damaged_table or gray.voi.damaged_table):
        yield FrameNote.LUT_DATA_MISMATCH
    if rules.shutter:
        yield FrameNote.SHUTTER_NOT_APPLIED
    if left_out:
        yield FrameNote.OVERLAY_NOT_DRAWN
    if relabelled:
        yield FrameNote.COLOUR_LABEL_CONTRADICTED
    if padded:
        yield FrameNote.SURPLUS_PIXEL_DATA


@dataclass(frozen=True, slots=True)
class FrameRules:
    """The data set's rules for a frame.

    Attributes:
        grayscale: its pipeline; None for colour.
        supplemental: its colours above the gray range, or None.
        shutter: a Display Shutter hides a part of it.
    """

    geometry: PixelGeometry
    grayscale: GrayscaleRules | None
    supplemental: PaletteTables | None
    shutter: bool


def _missing_pixels_error(parsed: ParsedFile) -> FileError:
    """The error for a non-image, or for an image whose pixels are lost (an Image Pixel module, PS3.3 C.7.6.3)."""
    if all(has(parsed.dataset, keyword) for keyword in ("Rows", "Columns", "BitsAllocated")):
        return TruncatedPixelDataError("文件头描述了图像，但没有像素数据：文件可能被截断，请重新获取该文件")
    return NoPixelDataError("该 DICOM 对象不含图像（如报告、关键对象或治疗计划），无法生成图片")


def requested_frames(numbers: tuple[int, ...] | None, frames: int, limit: int) -> tuple[int, ...] | range:
    """The frames to render (1-based), checked before allocation.

    Raises:
        TooManyFramesError: the file has more than ``limit``. MissingAttributeError: it has no frame of such a number.
    """
    if frames > limit:
        raise TooManyFramesError(f"文件有 {frames} 帧，超过上限 MAX_FRAMES_PER_FILE={limit}")
    if numbers is None:
        return range(1, frames + 1)
    beyond = [number for number in numbers if not 1 <= number <= frames]
    if beyond:
        raise MissingAttributeError(f"文件只有 {frames} 帧，没有第 {beyond[0]} 帧")
    return numbers


def _require_size(image: ImageAttributes, limit: int) -> None:
    frame_bytes = image.frame_pixels * image.samples * -(-image.bits_allocated // 8)
    if frame_bytes > limit:
        raise FileTooLargeError(
            f"图像 {image.columns}×{image.rows} 解码后每帧 {frame_bytes} 字节，超过上限 {limit} 字节"
        )


def _open_frames(parsed: ParsedFile, pixels: PixelElement, image: ImageAttributes) -> NativeFrames | EncapsulatedFrames:
    """Locates the frames by transfer syntax, with which the pixel element must agree."""
    uid = parsed.transfer_syntax
    if parsed.codec is Codec.NATIVE:
        if pixels.length is None:
            raise UnsupportedTransferSyntaxError(f"像素数据是压缩的，但传输语法为 {uid or '未注明'}，无法选择解码器")
        return native_frames(parsed, pixels, image)
    if not has_decoder(uid):
        raise UnsupportedTransferSyntaxError(f"没有可用于传输语法 {uid} 的解码器")
    if pixels.length is not None:
        return unencapsulated_frames(parsed, pixels, image)
    return encapsulated_frames(parsed, pixels, image.frames)


def _decode(
    source: NativeFrames | EncapsulatedFrames, parsed: ParsedFile, image: ImageAttributes, frame: int
) -> DecodedFrame:
    if isinstance(source, EncapsulatedFrames):
        return pixel_decoders.decode(parsed.transfer_syntax or "", source.read(frame), image)
    cells = source.read(frame, image)
    if source.subsampled:
        return DecodedFrame(interpolate_422(cells, image.rows, image.columns), native_layout(image), image.photometric)
    return DecodedFrame(shape_native(cells, image), native_layout(image), image.photometric)


def frame_rules(parsed: ParsedFile, image: ImageAttributes, options: RenderOptions, frame: int) -> FrameRules:
    ds = parsed.dataset
    geometry, shutter = pixel_geometry(ds, frame), has_shutter(ds, frame)
    if not image.monochrome:
        return FrameRules(geometry, None, None, shutter)
    supplemental = palette_tables(ds, image.signed) if is_supplemental(ds, frame) else None
    return FrameRules(geometry, grayscale_rules(parsed, image, options, frame), supplemental, shutter)


def _adapted_rules(
    decoded: DecodedFrame, image: ImageAttributes, rules: FrameRules
) -> tuple[FrameRules, tuple[FileWarning, ...]]:
    if rules.grayscale is None:
        return rules, ()
    grayscale, warnings = fitting_rules(decoded, image.bits_stored, rules.grayscale)
    return replace(rules, grayscale=grayscale), warnings


def render_frame(
    parsed: ParsedFile, image: ImageAttributes, decoded: DecodedFrame, rules: FrameRules
) -> GrayscaleFrame:
    """Decoded cells of a frame → 8-bit levels."""
    if rules.grayscale is not None:
        if decoded.cells.ndim != 2:
            raise UnsupportedImageError(f"{image.photometric} 图像却有 {image.samples} 个分量，无法解释")
        if rules.supplemental is not None:
            return render_supplemental(decoded.cells, decoded.layout, rules.grayscale, rules.supplemental)
        return render_grayscale(decoded.cells, decoded.layout, rules.grayscale)
    if image.photometric == "PALETTE COLOR":
        palette = palette_tables(parsed.dataset, image.signed)
        if palette is None:
            raise MissingAttributeError("PALETTE COLOR 图像缺少调色板（Palette Color LUT），无法还原颜色")
        return GrayscaleFrame(render_palette(decoded.cells, decoded.layout, palette), None)
    if image.photometric not in _COLOUR:
        raise UnsupportedImageError(f"不支持颜色空间（PhotometricInterpretation）{image.photometric}")
    return GrayscaleFrame(to_rgb(decoded.cells, decoded.layout, decoded.photometric), None)


def grayscale_rules(parsed: ParsedFile, image: ImageAttributes, options: RenderOptions, frame: int) -> GrayscaleRules:
    ds = parsed.dataset
    modality = modality_transform(ds, frame, image)
    integers = image.kind is NumberKind.INTEGER
    ct_default = integers and modality.hounsfield and image.bits_stored > _EIGHT_BITS
    return GrayscaleRules(
        modality=modality,
        voi=voi_choice(ds, frame, image, modality),
        requested=requested_window(options),
        default=_window(options.default_window_center, options.default_window_width) if ct_default else None,
        padding=padding_range(ds, image),
        invert=is_inverted(ds, image),
        full_range=_full_range(image) if integers else None,
        must_fit=image.projection,
        percentiles=image.projection and image.bits_stored > _EIGHT_BITS,
    )


def requested_window(options: RenderOptions) -> Window | None:
    return _window(options.window_center, options.window_width)


def _window(center: float | None, width: float | None) -> Window | None:
    return Window(center, width) if center is not None and width is not None else None


def _full_range(image: ImageAttributes) -> tuple[int, int] | None:
    """All stored values of 1-bit and 8-bit images, which are shown unchanged; None for others."""
    if image.bits_stored not in (1, _EIGHT_BITS):
        return None
    return CellLayout(image.bits_stored, signed=image.signed and image.bits_stored > 1).full_range


def is_constant(levels: GrayscaleFrame) -> bool:
    pixels = levels.pixels
    return bool((pixels[0] == pixels[0, 0]).all()) and bool((pixels == pixels[0, 0]).all())
