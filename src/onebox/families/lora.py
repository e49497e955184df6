"""Family `lora`: small differences to the weights of a picture model, in one safetensors file.

They are named by `loras` of a request and set for its run; nothing of them is loaded before.
"""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import TaskNotSupported
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import bytes_as
from onebox.imaging.diffusion.lora_base import base_of
from onebox.imaging.diffusion.lora_keys import is_lora, read_names, refuse_unusable


class Lora(Family):
    name = "lora"

    def matches(self, on_disk: OnDisk) -> Match | None:
        if on_disk.is_folder or on_disk.path.suffix.lower() != ".safetensors":
            return None
        tensors = on_disk.tensors(on_disk.path.name)
        names = read_names(tensors)
        if not is_lora(names, len(tensors)):
            return None
        refuse_unusable(names, tensors)
        base = base_of(names, tensors)
        components = sorted({name.component for name in names.layers})
        facts = {"components": components, **({"base": base} if base else {})}
        return Match("LoRA", facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return bytes_as(on_disk.tensors(on_disk.path.name).values(), device.dtype)

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is a LoRA and is not loaded by itself; name it in `loras` of a request",
            param="model",
        )


FAMILIES.register(Lora.name, Lora())
