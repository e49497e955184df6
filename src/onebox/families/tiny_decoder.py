"""Family `tiny_decoder`: TAESD and its kin, which make sharper previews while a picture is drawn.

One that goes with a checkpoint is used by itself; without any, previews are made of plain colours.
"""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import bytes_as
from onebox.imaging.diffusion.tiny_decoders import CLASS_NAME, CONFIG, base_of, latent_channels


class TinyDecoder(Family):
    name = "tiny_decoder"
    tasks = frozenset()

    def matches(self, on_disk: OnDisk) -> Match | None:
        name = on_disk.path.stem
        if on_disk.is_folder:
            config = on_disk.read_json(CONFIG) if CONFIG in on_disk.files else {}
            if config.get("_class_name") != CLASS_NAME:
                return None
            name = f"{on_disk.path.name} {config.get('_name_or_path', '')}"
        elif on_disk.path.suffix.lower() != ".safetensors":
            return None
        files = _weights(on_disk)
        found = [latent_channels(on_disk.tensors(file)) for file in files]
        channels = next((number for number in found if number is not None), None)
        if channels is None:
            if on_disk.is_folder:
                raise ModelBroken("there is no decoder in its .safetensors; copy it again")
            return None
        base = base_of(name, channels)
        return Match(CLASS_NAME, {"latent_channels": channels, **({"base": base} if base else {})})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return sum(
            bytes_as(on_disk.tensors(file).values(), device.dtype) for file in _weights(on_disk)
        )

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is a preview decoder and is not loaded by itself; ask a model that "
            "draws for partial_images",
            param="model",
        )


def _weights(on_disk: OnDisk) -> list[str]:
    if not on_disk.is_folder:
        return [on_disk.path.name]
    return [file for file in on_disk.files if file.endswith(".safetensors")]


FAMILIES.register(TinyDecoder.name, TinyDecoder())
