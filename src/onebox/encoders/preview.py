"""Encoder `preview`: the few pixels that latents stand for, as a picture of the full size."""

from __future__ import annotations

from dataclasses import replace

from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output
from onebox.encoders.image import ImageEncoder

# Half the time of the level of results, and a quarter larger: a run waits for its cores.
PNG_LEVEL = 1


class PreviewEncoder(Encoder):
    """Takes [h, w, 3] of uint8; `size` among the options is the picture's, (width, height)."""

    kind = "preview"

    def encode(self, output: Output) -> Artifact:
        from PIL import Image

        small = Image.fromarray(output.value)
        large = small.resize(output.options["size"], Image.Resampling.BICUBIC)
        options = {"compress_level": PNG_LEVEL, **output.options}
        return ImageEncoder().encode(replace(output, value=large, options=options))


ENCODERS.register(PreviewEncoder.kind, PreviewEncoder())
