"""GIF and ZIP: the frames of a clip as pictures."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from onebox.core.cancel import check_now
from onebox.core.clips import Clip
from onebox.core.results import Output
from onebox.encoders.image import ImageEncoder
from onebox.encoders.video_codecs import comment_of

if TYPE_CHECKING:
    import av

# A GIF counts in hundredths of a second, and browsers take less than two of them for ten.
GIF_RATE = 100
GIF_FPS = 50
# Of a block of a GIF's comment.
BLOCK_BYTES = 255
PALETTE_SIDE = 16
# Of a GIF: what comes before the colours of all frames, where the size of those is, and the
# extension that makes it begin anew.
HEADER_BYTES = 13
COLOURS_AT = 10
LOOP_BYTES = 19
COMMENT = b"\x21\xfe"


def frames_as_zip(output: Output) -> bytes:
    """PNG files, numbered from 1. They are packed already, so the ZIP only holds them."""
    from PIL import Image

    clip: Clip = output.value
    embedded = {**output.embedded, "fps": f"{clip.fps:g}"}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, pixels in enumerate(clip, start=1):
            check_now()
            picture = Output("image", Image.fromarray(pixels), {"format": "png"}, {}, embedded)
            png = ImageEncoder().encode(picture).data
            assert png is not None
            # Without a time, so that the same frames give the same file.
            archive.writestr(zipfile.ZipInfo(f"frame-{number:05}.png"), png)
    return file.getvalue()


def animation(output: Output) -> bytes:
    """A GIF that begins anew at its end, in the 256 colours that suit all of its frames best."""
    import av

    clip: Clip = output.value
    stride = math.ceil(clip.fps / GIF_FPS)
    file = io.BytesIO()
    last = round(stride * GIF_RATE / clip.fps)
    options = {"loop": "0", "final_delay": str(last)}
    with av.open(file, "w", format="gif", options=options) as container:
        stream = container.add_stream("gif", rate=GIF_RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "pal8"
        for frame in _in_few_colours(clip, stride):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return _with_comment(file.getvalue(), output.embedded)


def _in_few_colours(clip: Clip, stride: int) -> Iterator[av.VideoFrame]:
    """Goes through the clip twice: what would do it at once keeps all frames until the end."""
    painter = _Painter(clip, _palette(clip, stride))
    for frame in _frames(clip, stride):
        yield from painter.painted(frame)
    yield from painter.painted(None)


def _palette(clip: Clip, stride: int) -> av.VideoFrame:
    """256 colours as a picture of 16 x 16."""
    from av.filter import Graph

    graph = Graph()
    source = _source(graph, clip.width, clip.height, "rgb24")
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add("palettegen", "reserve_transparent=0"), sink).configure()
    for frame in _frames(clip, stride):
        source.push(frame)
    source.push(None)
    palette: av.VideoFrame
    (palette,) = _pulled(sink)
    return palette


class _Painter:
    """Gives frames the colours of a palette."""

    def __init__(self, clip: Clip, palette: av.VideoFrame) -> None:
        from av.filter import Graph

        # The filters live no longer than it does.
        self._graph = graph = Graph()
        self._source = _source(graph, clip.width, clip.height, "rgb24")
        self._sink = graph.add("buffersink")
        colours = _source(graph, PALETTE_SIDE, PALETTE_SIDE, "rgb32")
        painter = graph.add("paletteuse", "diff_mode=rectangle")
        self._source.link_to(painter, 0, 0)
        colours.link_to(painter, 0, 1)
        painter.link_to(self._sink)
        graph.configure()
        palette.pts = 0
        colours.push(palette)
        colours.push(None)

    def painted(self, frame: av.VideoFrame | None) -> Iterator[Any]:
        """What is ready by now; None: there are no more."""
        self._source.push(frame)
        return _pulled(self._sink)


def _source(graph: Any, width: int, height: int, pixel_format: str) -> Any:
    from av.video.format import VideoFormat

    return graph.add_buffer(
        width=width,
        height=height,
        format=VideoFormat(pixel_format),
        time_base=Fraction(1, GIF_RATE),
    )


def _frames(clip: Clip, stride: int) -> Iterator[av.VideoFrame]:
    import av
    import numpy as np

    for number, pixels in enumerate(clip):
        check_now()
        if number % stride == 0:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.time_base = Fraction(1, GIF_RATE)
            frame.pts = round(number * GIF_RATE / clip.fps)
            yield frame


def _pulled(sink: Any) -> Iterator[Any]:
    """What is ready."""
    from av.error import BlockingIOError as NothingYet
    from av.error import EOFError as NothingMore

    while True:
        try:
            yield sink.pull()
        except (NothingYet, NothingMore):
            return


def _with_comment(data: bytes, embedded: Mapping[str, str]) -> bytes:
    """Before the first frame: some programs look no further."""
    if not embedded:
        return data
    text = comment_of(embedded).encode()
    blocks = (text[at : at + BLOCK_BYTES] for at in range(0, len(text), BLOCK_BYTES))
    comment = COMMENT + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    flags = data[COLOURS_AT]
    colours = 3 << (flags % 8 + 1) if flags & 0x80 else 0
    at = HEADER_BYTES + colours + LOOP_BYTES
    return data[:at] + comment + data[at:]
