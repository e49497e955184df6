"""Family `image_encoder`: CLIP vision models, which make of a picture what an IP-Adapter follows.

One is used beside the checkpoint that a request names, together with an IP-Adapter.
"""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as

CONFIG = "config.json"
CLASS_NAME = "CLIPVisionModelWithProjection"
FACTS = ("projection_dim", "hidden_size", "image_size")


class ImageEncoder(Family):
    name = "image_encoder"
    tasks = frozenset()

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or CONFIG not in on_disk.files:
            return None
        config = on_disk.read_json(CONFIG)
        if config.get("architectures") != [CLASS_NAME]:
            return None
        refuse_remote_code(on_disk)
        facts = {name: config.get(name) for name in FACTS}
        if not all(isinstance(value, int) for value in facts.values()):
            raise ModelBroken(f"{CONFIG} does not say {' and '.join(FACTS)}; copy it again")
        if not _weights(on_disk):
            raise ModelBroken("there are no .safetensors beside its config.json; copy them too")
        return Match(CLASS_NAME, facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return sum(
            bytes_as(on_disk.tensors(name).values(), device.dtype) for name in _weights(on_disk)
        )

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is an image encoder and runs beside another model; name it in "
            "image_encoder",
            param="model",
        )


def _weights(on_disk: OnDisk) -> list[str]:
    return [name for name in on_disk.files if name.endswith(".safetensors")]


FAMILIES.register(ImageEncoder.name, ImageEncoder())
