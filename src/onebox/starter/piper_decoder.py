"""The waveform decoder of a Piper voice, in the form that transformers' VITS has.

Piper's residual blocks are x + conv(leaky(x)); those of transformers are
x + conv2(leaky(conv1(leaky(x)))). Since leaky(h) - leaky(-h) = (1 + slope) * h, a conv1 that gives
h and -h and a conv2 that subtracts the two come to the same. That takes twice the channels, of
which the second half is zero outside of the blocks. `onebox.audio.synthesis.hifigan` knows the form
and computes only what is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_Layer = tuple[Any, Any]


def doubled_decoder(layers: Mapping[str, _Layer], post: Any, slope: float) -> dict[str, Any]:
    """Tensors by their names in transformers.

    Args:
        layers: weight and bias of `conv_pre`, `ups.<i>` and `resblocks.<i>.convs.<j>`.
        post: weight of the last convolution, [1, channels, kernel].
    """
    import torch

    found = {"decoder.conv_post.weight": torch.cat([post, torch.zeros_like(post)], 1)}
    for name, (weight, bias) in layers.items():
        if name == "conv_pre":
            put = {f"decoder.{name}": (_grown(weight, out=0), _grown(bias, out=0))}
        elif name.startswith("ups."):
            grown = _grown(_grown(weight, out=0), out=1)  # [in, out, kernel]
            put = {f"decoder.upsampler.{name[4:]}": (grown, _grown(bias, out=0))}
        else:
            _, block, _, index = name.split(".")
            place = f"decoder.resblocks.{block}"
            put = {
                f"{place}.convs1.{index}": _both_signs(weight, bias),
                f"{place}.convs2.{index}": _difference(weight, slope),
            }
        for place, (weight, bias) in put.items():
            found |= {f"{place}.weight": weight, f"{place}.bias": bias}
    return found


def _grown(tensor: Any, out: int) -> Any:
    """Twice as long in one dimension, by zeros."""
    import torch

    return torch.cat([tensor, torch.zeros_like(tensor)], out)


def _both_signs(weight: Any, bias: Any) -> _Layer:
    """[h, -h] of the first half of the channels."""
    import torch

    grown = _grown(weight, out=1)
    return torch.cat([grown, -grown]), torch.cat([bias, -bias])


def _difference(weight: Any, slope: float) -> _Layer:
    """h of leaky [h, -h]."""
    import torch

    channels, _, kernel = weight.shape
    both = torch.zeros(2 * channels, 2 * channels, kernel)
    one = torch.eye(channels) / (1 + slope)
    both[:channels, :, kernel // 2] = torch.cat([one, -one], 1)
    return both, torch.zeros(2 * channels)
