"""VITS' waveform decoder, computed without the channels that are always zero.

A voice whose residual blocks have one convolution at a time was given twice the channels, so that
transformers can load it (`onebox.starter.piper_decoder`). Computed as it stands, seven eighths of
the work are multiplications by zero, or by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def simplify(decoder: Any) -> bool:
    """Put the smaller layers in place of those of a VitsHifiGan, if all of it has the doubled form.

    The results are the same but for rounding. False: it has not, and nothing was changed.
    """
    slope = decoder.config.leaky_relu_slope
    layers = [decoder.conv_pre, *decoder.upsampler]
    if not all(_is_half_empty(layer) for layer in layers):
        return False
    blocks = list(decoder.resblocks)
    if not all(_is_doubled(block, slope) for block in blocks):
        return False
    halved = decoder.config.upsample_initial_channel // 2
    decoder.conv_pre = _with(decoder.conv_pre, decoder.conv_pre.weight[:halved])
    for i, layer in enumerate(decoder.upsampler):
        into, out = layer.weight.shape[0] // 2, layer.weight.shape[1] // 2
        decoder.upsampler[i] = _with(layer, layer.weight[:into, :out])
    for block in blocks:
        for j, layer in enumerate(block.convs1):
            channels = layer.weight.shape[0] // 2
            block.convs1[j] = _with(layer, layer.weight[:channels, :channels])
        del block.convs2
        block.forward = _single(block)
    post = decoder.conv_post
    decoder.conv_post = _with(post, post.weight[:, : post.weight.shape[1] // 2])
    return True


def _single(block: Any) -> Callable[[Any], Any]:
    """x + conv(leaky(x)), one convolution after the other."""
    from torch.nn.functional import leaky_relu

    slope, convolutions = block.leaky_relu_slope, tuple(block.convs1)

    def forward(hidden: Any) -> Any:
        for convolution in convolutions:
            hidden = hidden + convolution(leaky_relu(hidden, slope))
        return hidden

    return forward


def _with(layer: Any, weight: Any) -> Any:
    """A layer of the same kind with a part of the weights, and of the biases."""
    import torch

    transposed = isinstance(layer, torch.nn.ConvTranspose1d)
    into, out = weight.shape[:2] if transposed else (weight.shape[1], weight.shape[0])
    small = type(layer)(
        into,
        out,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        bias=layer.bias is not None,
    )
    small.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)
    if layer.bias is not None:
        small.bias = torch.nn.Parameter(layer.bias.detach()[:out].clone(), requires_grad=False)
    return small.eval()


def _is_half_empty(layer: Any) -> bool:
    """Whether the second half of what it gives is zero."""
    import torch

    out = 1 if isinstance(layer, torch.nn.ConvTranspose1d) else 0
    half = layer.bias.shape[0] // 2
    rest = layer.weight.narrow(out, half, half)
    return not layer.bias[half:].any() and not rest.any()


def _is_doubled(block: Any, slope: float) -> bool:
    """Whether it adds one convolution at a time: [h, -h], and then their difference."""
    import torch

    for first, second in zip(block.convs1, block.convs2, strict=True):
        half = first.weight.shape[0] // 2
        weight = first.weight[:half, :half]
        signs = torch.cat([weight, -weight])
        one = torch.eye(half, dtype=weight.dtype, device=weight.device) / (1 + slope)
        difference = torch.zeros_like(second.weight)
        difference[:half, :, second.weight.shape[2] // 2] = torch.cat([one, -one], 1)
        if not (
            torch.equal(first.weight[:, :half], signs)
            and torch.equal(first.bias, torch.cat([first.bias[:half], -first.bias[:half]]))
            and torch.allclose(second.weight, difference, rtol=1e-5, atol=0)
            and not second.bias.any()
        ):
            return False
    return True
