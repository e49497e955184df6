"""Family `textual_inversion`: learned vectors that a word of a prompt stands for, in one file.

They are named by `textual_inversions` of a request and set for its run.
"""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import TaskNotSupported
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import FLOATS, bytes_as
from onebox.imaging.diffusion.inversion_files import kind_of


class TextualInversion(Family):
    name = "textual_inversion"

    def matches(self, on_disk: OnDisk) -> Match | None:
        if on_disk.is_folder or on_disk.path.suffix.lower() != ".safetensors":
            return None
        tensors = on_disk.tensors(on_disk.path.name)
        if not all(tensor.dtype in FLOATS for tensor in tensors.values()):
            return None
        kind = kind_of({name: tensor.shape for name, tensor in tensors.items()})
        if kind is None:
            return None
        told = {"base": kind.base, "word": kind.word}
        facts = {"tokens": kind.count, **{name: value for name, value in told.items() if value}}
        return Match("TextualInversion", facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return bytes_as(on_disk.tensors(on_disk.path.name).values(), device.dtype)

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is a textual inversion and is not loaded by itself; name it in "
            "`textual_inversions` of a request",
            param="model",
        )


FAMILIES.register(TextualInversion.name, TextualInversion())
