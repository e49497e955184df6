"""MP4 and WebM: frames through FFmpeg's encoders, into a file that is in memory all the time."""

from __future__ import annotations

import functools
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import structlog

from onebox.core.cancel import check_now
from onebox.core.clips import Clip
from onebox.core.results import Output

if TYPE_CHECKING:
    import av

log = structlog.get_logger(__name__)

QUALITY = 90
# The same on every machine, so that the same frames give the same file.
THREADS = 4
# A player can jump to a frame of its own so often.
KEY_FRAME_S = 2
# Both kinds of 29.97 and 23.976 frames a second are Fractions of this denominator.
LARGEST_DENOMINATOR = 1001
# Numbers of ITU-T H.273 for BT.709; 1 is the range of television too.
BT709 = 1
# What FFmpeg calls a file that is opened to be read.
AVIO_READ = 1
PROBE_SIDE = 256
# What all cards take.
NVENC_SIDES = range(160, 4097)


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoder of FFmpeg's.

    Attributes:
        constant: name of its option for a constant quality; less is better.
        best: of that option at quality 100, and `step` what it goes up for each point less.
    """

    name: str
    constant: str
    best: float
    step: float
    options: Mapping[str, str] = field(default_factory=dict)

    def options_for(self, quality: int) -> dict[str, str]:
        return {**self.options, self.constant: str(round(self.best + (100 - quality) * self.step))}


# Its look ahead by `mbtree` reads memory that nobody wrote: the same frames gave other files.
X264 = Codec("libx264", "crf", 17, 0.27, {"preset": "fast", "mbtree": "0"})
NVENC = Codec("h264_nvenc", "cq", 17, 0.27, {"preset": "p5", "rc": "vbr", "b": "0"})
VP9 = Codec(
    "libvpx-vp9",
    "crf",
    20,
    0.4,
    {"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
)


def coded(output: Output) -> bytes:
    """The file of a `Clip`. A side of odd length gets its last line twice: there is no colour for
    half a pixel pair.
    """
    quality = output.options.get("quality", QUALITY)
    if output.options.get("format", "mp4") == "webm":
        return _file("webm", VP9, output, quality)
    return _by_card(output, quality) or _file("mp4", X264, output, quality)


def _by_card(output: Output, quality: int) -> bytes | None:
    """None where the graphics card cannot do it, or not now: it takes a few videos at a time."""
    from av.error import FFmpegError

    sides = (output.value.width, output.value.height)
    if not all(side in NVENC_SIDES for side in sides) or not has_nvenc():
        return None
    try:
        return _file("mp4", NVENC, output, quality)
    except FFmpegError as error:
        log.warning("nvenc_failed", reason=type(error).__name__)
        return None


@functools.cache
def has_nvenc() -> bool:
    """Whether this machine's graphics card encodes H.264: found out by doing it."""
    import numpy as np
    from av.error import FFmpegError

    black = np.zeros((1, PROBE_SIDE, PROBE_SIDE, 3), dtype=np.uint8)
    try:
        _file("mp4", NVENC, Output("video", Clip([black], 1.0)), QUALITY)
    except FFmpegError as error:
        log.debug("no_nvenc", reason=type(error).__name__)
        return False
    return True


def comment_of(embedded: Mapping[str, str]) -> str:
    return json.dumps(embedded, ensure_ascii=False)


def _file(container_format: str, codec: Codec, output: Output, quality: int) -> bytes:
    import av

    clip: Clip = output.value
    file = _File()
    # Files of the same frames are to be the same.
    options = {"fflags": "+bitexact"}
    if container_format == "mp4":
        # The index is to be in front, so that a player can begin before it has all: for that
        # FFmpeg reads what it wrote, and moves it.
        options["movflags"] = "+faststart"
    with av.open(
        file, "w", format=container_format, options=options, io_open=file.opened
    ) as container:
        if output.embedded:
            container.metadata["comment"] = comment_of(output.embedded)
        stream = _stream(container, codec, clip, quality)
        for frame in _frames(clip):
            check_now()
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _stream(container: Any, codec: Codec, clip: Clip, quality: int) -> av.VideoStream:
    rate = Fraction(clip.fps).limit_denominator(LARGEST_DENOMINATOR)
    stream: av.VideoStream = container.add_stream(
        codec.name, rate=rate, options=codec.options_for(quality)
    )
    stream.width, stream.height = clip.width + clip.width % 2, clip.height + clip.height % 2
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = THREADS
    context.gop_size = math.ceil(KEY_FRAME_S * clip.fps)
    context.color_range = context.colorspace = BT709
    context.color_primaries = context.color_trc = BT709
    return stream


def _frames(clip: Clip) -> Iterator[av.VideoFrame]:
    import av
    import numpy as np
    from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

    reformatter = VideoReformatter()
    for number, pixels in enumerate(clip):
        odd = [(0, side % 2) for side in pixels.shape[:2]]
        even = np.pad(pixels, (*odd, (0, 0)), mode="edge") if any(map(any, odd)) else pixels
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts = number
        frame.time_base = 1 / Fraction(clip.fps).limit_denominator(LARGEST_DENOMINATOR)
        yield frame


class _File(io.BytesIO):
    """Written by FFmpeg, which opens it a second time to read it."""

    def opened(self, url: str, flags: int, options: dict[str, str]) -> _Reader:
        assert flags == AVIO_READ
        return _Reader(self)


class _Reader(io.RawIOBase):
    """Reads what is in a file at that time, from a place of its own."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._file.getbuffer() as written:
            data = bytes(written[self._at : None if size < 0 else self._at + size])
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = (0, self._at, self._file.getbuffer().nbytes)
        self._at = starts[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at
