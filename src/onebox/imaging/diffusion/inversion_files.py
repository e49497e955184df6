"""Files of textual inversions: what they are by their names and shapes, and read into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from onebox.core.contracts import Entry
from onebox.imaging.diffusion.companion_files import owned
from onebox.imaging.diffusion.inversions import Inversion

MAX_VECTORS = 75
# The tensor → the text encoder whose vectors it holds.
_NAMED = {
    "emb_params": "text_encoder",
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
}
_TWO = {"clip_l", "clip_g"}
WIDTHS = {768: "sd1", 1024: "sd2"}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class InversionKind:
    """What a file holds.

    Attributes:
        base: of the checkpoints it goes with; None when the file does not tell.
        tensors: the tensor's name → the text encoder it is for.
        count: vectors, which are as many tokens of a prompt.
        word: that stands for them in a prompt, if the file says.
    """

    base: str | None
    tensors: Mapping[str, str]
    count: int
    word: str | None = None


def kind_of(shapes: Shapes) -> InversionKind | None:
    """None for a file that is no textual inversion."""
    if not shapes or not all(_is_vectors(shape) for shape in shapes.values()):
        return None
    counts = {1 if len(shape) == 1 else shape[0] for shape in shapes.values()}
    if len(counts) != 1:
        return None
    (count,) = counts
    if shapes.keys() == _TWO:
        return InversionKind("sdxl", {name: _NAMED[name] for name in shapes}, count)
    if len(shapes) != 1:
        return None
    ((name, shape),) = shapes.items()
    base, encoder = WIDTHS.get(shape[-1]), _NAMED.get(name)
    if encoder is not None:
        return InversionKind(base, {name: encoder}, count) if name not in _TWO else None
    # In the layout of diffusers the tensor is named after its word.
    if base is None and not (name.startswith("<") and name.endswith(">")):
        return None
    return InversionKind(base, {name: "text_encoder"}, count, name)


def word_of(entry: Entry) -> str:
    """What stands for it in a prompt: as its file says, else the file's name."""
    file_name = PurePosixPath(entry.name).name.removesuffix(entry.extension)
    return str(entry.facts.get("word") or file_name)


def read_inversion(entry: Entry, word: str | None) -> Inversion:
    from safetensors import safe_open

    vectors: dict[str, Any] = {}
    with safe_open(entry.path, framework="pt") as file:
        names = file.keys()
        tensors = {name: owned(file.get_tensor(name)) for name in names}
    kind = kind_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for name, encoder in kind.tensors.items() if kind else ():
        vectors[encoder] = tensors[name].reshape(-1, tensors[name].shape[-1])
    return Inversion(entry.name, word or word_of(entry), vectors)


def _is_vectors(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and 1 <= shape[0] <= MAX_VECTORS)
