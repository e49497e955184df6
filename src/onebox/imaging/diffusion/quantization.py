"""Denoisers quantised by bitsandbytes while they are loaded. Needs CUDA and the extra `bnb`."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken
from onebox.imaging.diffusion.memory_plan import DENOISERS, plan_for


def quantization_arguments(
    entry: Entry, device: Device, components: Collection[str], dtype: Any
) -> dict[str, Any]:
    """What `from_pretrained` of a pipeline takes for what the checkpoint's `onebox.toml` says.

    Args:
        components: names of the pipeline's parts.
        dtype: torch's, to compute in.

    Raises:
        ModelBroken: device or packages do not allow it.
    """
    wanted = plan_for(entry.overrides, {}, device).quantization
    if wanted is None:
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelBroken(
            f'quantization "{wanted}" needs bitsandbytes; install it with pip install onebox[bnb]'
        )
    from diffusers import PipelineQuantizationConfig

    four = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": dtype,
    }
    config = PipelineQuantizationConfig(
        quant_backend=f"bitsandbytes_{wanted}",
        quant_kwargs=four if wanted == "4bit" else {"load_in_8bit": True},
        components_to_quantize=[name for name in DENOISERS if name in components],
    )
    return {"quantization_config": config}
