"""`decoded`: the frames that a video pipeline's latents stand for, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import structlog

from onebox.core.contracts import RunContext
from onebox.hardware.picture_rules import no_numbers
from onebox.imaging.diffusion import precision
from onebox.imaging.video.decoders import Shape, decoder_of
from onebox.imaging.video.tiles import in_tiles

log = structlog.get_logger(__name__)


def decoded(
    pipeline: Any,
    latents: Any,
    *,
    frames: int,
    width: int,
    height: int,
    generator: Any,
    context: RunContext,
) -> Iterator[Any]:
    """Arrays [n, h, w, 3] of uint8, which together are the `frames` asked for.

    Between them the device is handed over. When memory is short, or the VAE has `use_tiling` on,
    it decodes in parts of the picture too.

    Args:
        latents: of one video, as the pipeline gives them with `output_type="latent"`: packed,
            scaled, and with the frames at the front that it would leave out.
        frames: how many there are to be.
        generator: the one of the call, for decoders that want noise.

    Raises what `context.check` does, and InferenceFailed when what comes out are no numbers, in
    full precision neither.
    """
    shape = Shape(frames, width, height)
    decoding = _Decoding(pipeline, latents, shape, generator, in_tiles=context.lean)
    may_retry = precision.can_be_raised(SimpleNamespace(components={"vae": pipeline.vae}))
    given = 0
    try:
        for chunk in decoding.chunks(may_be_black=not may_retry):
            given += len(chunk)
            yield chunk
            context.hand_over()
        return
    except _Wrong:
        if not may_retry:
            raise no_numbers(context.entry.name, context.device) from None
    log.warning("decoded_again_in_full_precision", model=context.entry.name)
    with precision.widened(pipeline.vae):
        try:
            for chunk in decoding.chunks(may_be_black=True):
                if len(chunk) > given:
                    yield chunk[given:]
                given = max(0, given - len(chunk))
                # Whoever got the device now would find other weights than those it loaded.
                context.check()
        except _Wrong:
            raise no_numbers(context.entry.name, context.device) from None


class _Wrong(Exception):
    """What the decoder computed was no picture."""


class _Decoding:
    """Of one video, from its start as often as asked, with the same noise."""

    def __init__(
        self, pipeline: Any, latents: Any, shape: Shape, generator: Any, *, in_tiles: bool
    ) -> None:
        self._pipeline = pipeline
        self._decoder = decoder_of(pipeline.vae)
        self._latents = self._decoder.unscale(pipeline, latents, shape)
        self._shape = shape
        self._generator = generator
        self._noise = generator.get_state()
        self._in_tiles = in_tiles or getattr(pipeline.vae, "use_tiling", False)

    def chunks(self, may_be_black: bool) -> Iterator[Any]:
        """Raises _Wrong."""
        import torch

        self._generator.set_state(self._noise)
        pixels = self._stream()
        try:
            while True:
                _wake(self._pipeline.vae)
                # Not around the loop: it would hold for whoever takes the chunks.
                with torch.inference_mode():
                    chunk = next(pixels, None)
                    if chunk is None:
                        return
                    chunk = _as_bytes(chunk, may_be_black)
                yield chunk
        finally:
            self._pipeline.maybe_free_model_hooks()

    def _stream(self) -> Iterator[Any]:
        vae, shape = self._pipeline.vae, self._shape
        latents = self._latents.to(vae.dtype)
        stream = self._decoder.create(self._generator, shape)
        if self._in_tiles:
            return in_tiles(stream, vae, latents, shape.width, shape.height)
        return stream(vae, latents)


def _wake(vae: Any) -> None:
    """Bring the weights where they are used, if they lie elsewhere between calls."""
    hook = getattr(vae, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(vae)


def _as_bytes(pixels: Any, may_be_black: bool) -> Any:
    """[n, h, w, 3] of pixels [1, 3, n, h, w] between -1 and 1, rounded as diffusers does.

    Raises _Wrong.
    """
    import torch

    values = pixels[0].float() * 0.5 + 0.5
    if precision.is_wrong(values):
        raise _Wrong
    values = values.clamp(0, 1)
    if not may_be_black and precision.is_black(values):
        raise _Wrong
    return (values * 255).round().to(torch.uint8).movedim(0, -1).contiguous().cpu().numpy()
