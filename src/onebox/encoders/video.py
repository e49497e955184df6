"""Encoder `video`: clips to MP4 (H.264), WebM (VP9), GIF, or a ZIP of their frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output
from onebox.core.video_types import VIDEO_TYPES
from onebox.encoders.video_codecs import coded
from onebox.encoders.video_frames import animation, frames_as_zip


class VideoEncoder(Encoder):
    """Takes a `Clip`. Options: `format`, and `quality` from 1 to 100.

    `embedded` goes in as JSON: the comment of an MP4, a WebM and a GIF; in a ZIP it is in the text
    chunks of each frame. Between frames it asks whether anybody still wants the result, so it
    raises what `check_now` does.
    """

    kind = "video"

    def encode(self, output: Output) -> Artifact:
        video_format = output.options.get("format", "mp4")
        data = _MAKERS[video_format](output)
        return Artifact(VIDEO_TYPES[video_format], data, None, output.meta)


_MAKERS: Mapping[str, Callable[[Output], bytes]] = {
    "mp4": coded,
    "webm": coded,
    "gif": animation,
    "zip": frames_as_zip,
}


ENCODERS.register(VideoEncoder.kind, VideoEncoder())
