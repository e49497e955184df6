"""Family `lora`: small differences to the weights of a picture model, in one safetensors file, or
in a folder as PEFT saves it.

They are named by `loras` of a request and set for its run; nothing of them is loaded before.
"""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import bytes_as
from onebox.imaging.diffusion.lora_base import base_of
from onebox.imaging.diffusion.lora_config import refuse_config
from onebox.imaging.diffusion.lora_keys import is_lora, read_names, refuse_unusable


class Lora(Family):
    name = "lora"

    def matches(self, on_disk: OnDisk) -> Match | None:
        file = _weights(on_disk)
        if file is None:
            return None
        tensors = on_disk.tensors(file)
        names = read_names(tensors)
        if not is_lora(names, len(tensors)):
            return None
        refuse_unusable(names, tensors)
        if on_disk.is_folder:
            refuse_config(on_disk.read_json(ADAPTER_CONFIG))
        elif names.needs_config:
            raise ModelBroken(
                f"it is in PEFT's own layout, whose strength lies in {ADAPTER_CONFIG}; put both "
                f"into a folder of their own, this one as {ADAPTER_WEIGHTS}"
            )
        base = base_of(names, tensors)
        components = sorted({name.component for name in names.layers})
        facts = {"components": components, **({"base": base} if base else {})}
        return Match("LoRA", facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        file = _weights(on_disk)
        return 0 if file is None else bytes_as(on_disk.tensors(file).values(), device.dtype)

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is a LoRA and is not loaded by itself; name it in `loras` of a request",
            param="model",
        )


def _weights(on_disk: OnDisk) -> str | None:
    """The file with the tensors; None for what is no LoRA by its files."""
    if on_disk.is_folder:
        return (
            ADAPTER_WEIGHTS if {ADAPTER_WEIGHTS, ADAPTER_CONFIG} <= on_disk.files.keys() else None
        )
    name = on_disk.path.name
    return name if name.lower().endswith(".safetensors") else None


FAMILIES.register(Lora.name, Lora())
