"""The colours that latents stand for, as a matrix: a preview for almost nothing.

It is fitted to the model's own autoencoder: pictures of soft colours are encoded, and each latent
is compared with the mean colour of the pixels it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# So many pictures of so many latents a side; a matrix has at most 16 rows.
PICTURES = 8
SIDE = 8
SEED = 0


@dataclass(frozen=True, slots=True)
class Colours:
    """Latents [n, c, h, w] to colours [n, 3, h, w] between 0 and 1."""

    matrix: Any
    offset: Any

    def paint(self, latents: Any) -> Any:
        import torch

        matrix, offset = self.matrix.to(latents.device), self.offset.to(latents.device)
        return torch.einsum("nchw,cd->ndhw", latents.float(), matrix) + offset[:, None, None]


def fit_colours(vae: Any, device: Any) -> Colours:
    """The best linear map for an autoencoder's latents, as the denoiser sees them."""
    import torch

    pictures = _soft_pictures(SIDE * pixels_per_latent(vae))
    with torch.inference_mode():
        latents = encoded(vae, pictures.to(device, vae.dtype) * 2 - 1).float().cpu()
    means = torch.nn.functional.adaptive_avg_pool2d(pictures, latents.shape[-2:])
    rows = latents.movedim(1, -1).flatten(0, -2)
    known = torch.cat([rows, torch.ones(len(rows), 1)], dim=1).double()
    fitted = torch.linalg.lstsq(known, means.movedim(1, -1).flatten(0, -2).double()).solution
    return Colours(fitted[:-1].float(), fitted[-1].float())


def encoded(vae: Any, pictures: Any) -> Any:
    """Latents [n, c, h, w] of pictures [n, 3, h, w] between -1 and 1, scaled for the denoiser."""
    config = vae.config
    is_video = _takes_frames(vae)
    out = vae.encode(pictures[:, :, None] if is_video else pictures)
    latents = out.latent_dist.mode() if hasattr(out, "latent_dist") else out[0]
    mean, spread = (_of_channels(vae, name) for name in ("latents_mean", "latents_std"))
    if mean is not None and spread is not None:
        shape = (1, -1, *(1,) * (latents.ndim - 2))
        latents = (latents - mean.to(latents.device).view(shape)) / spread.to(latents.device).view(
            shape
        )
    else:
        latents = latents - (config.get("shift_factor") or 0.0)
    scale = config.get("scaling_factor") or 1.0
    return (latents[:, :, 0] if is_video else latents) * scale


def _takes_frames(vae: Any) -> bool:
    """Whether it encodes [n, 3, frames, h, w]."""
    if vae.config.get("temperal_downsample") is not None:
        return True
    encoder = getattr(vae, "encoder", None)
    return encoder is not None and any(weight.ndim == 5 for weight in encoder.parameters())


def _of_channels(vae: Any, name: str) -> Any:
    """A value for each channel of its latents, which some have among their weights."""
    import torch

    told = vae.config.get(name)
    if told is not None:
        return torch.tensor(told)
    own = vae.named_buffers(recurse=False) if hasattr(vae, "named_buffers") else ()
    return dict(own).get(name)


def pixels_per_latent(vae: Any) -> int:
    """Along a side."""
    config = vae.config
    if isinstance(getattr(vae, "spatial_compression_ratio", None), int):
        return int(vae.spatial_compression_ratio)
    for name in ("block_out_channels", "encoder_block_out_channels"):
        if config.get(name):
            return int(2 ** (len(config[name]) - 1))
    return int(2 ** len(config.get("temperal_downsample", (0, 0, 0))))


def unpacked(latents: Any, width: int, height: int, pixels: int) -> Any:
    """Latents [n, c, h, w] of those that a pipeline holds, of pictures of so many pixels.

    FLUX and others hold them as [n, tokens, 4c], a token for each 2x2; some hold one frame more.
    """
    if latents.ndim == 5:
        return latents[:, :, 0]
    if latents.ndim != 3:
        return latents
    rows, columns = height // (2 * pixels), width // (2 * pixels)
    number, _, values = latents.shape
    grid = latents.reshape(number, rows, columns, values // 4, 2, 2)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(number, values // 4, 2 * rows, 2 * columns)


def normalisation_undone(vae: Any, latents: Any) -> Any:
    """Latents as the autoencoder makes them: FLUX.2's go through a normalisation of its own, as
    tokens [n, tokens, 4c].
    """
    if not hasattr(vae, "bn"):
        return latents
    mean, variance = (
        t.to(latents.device).float() for t in (vae.bn.running_mean, vae.bn.running_var)
    )
    return latents * (variance + vae.config.batch_norm_eps) ** 0.5 + mean


def _soft_pictures(side: int) -> Any:
    """Random pictures [n, 3, side, side] between 0 and 1: half of plain colours, half of mixed."""
    import torch

    generator = torch.Generator("cpu").manual_seed(SEED)
    plain = torch.rand(PICTURES // 2, 3, 1, 1, generator=generator).expand(-1, -1, side, side)
    mixed = torch.rand(PICTURES // 2, 3, 3, 3, generator=generator)
    soft = torch.nn.functional.interpolate(mixed, (side, side), mode="bilinear")
    return torch.cat([plain, soft])
