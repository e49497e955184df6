"""What families see of a checkpoint on disk, names and headers, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

# An adapter as PEFT saves it: its weights, and their strength beside them.
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor as a weight file's header describes it.

    `dtype` is the safetensors name, e.g. "F16".
    """

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


class GgufHeader(msgspec.Struct, frozen=True):
    """What the header of a GGUF file says.

    Attributes:
        metadata: key → text, number or boolean; of arrays only short ones of numbers, as tuples.
        array_lengths: key → number of items of every array, kept or not.
        tensors: in the file's order; `dtype` is ggml's name, e.g. "Q4_1", and `shape` as in torch.
    """

    metadata: Mapping[str, Any]
    array_lengths: Mapping[str, int]
    tensors: Mapping[str, TensorInfo]


class OnDisk(Protocol):
    """Cheap facts about one checkpoint on disk, read from names and headers; weights are never
    loaded.

    `read_json` raises ModelBroken for a file that is missing, too large or not a JSON object.
    """

    path: Path
    name: str
    """Of the file or folder as its owner sees it; of what was converted, the original's."""
    is_folder: bool
    overrides: Mapping[str, Any]
    """The checkpoint's `onebox.toml`, once it is known; empty while it is being recognised."""

    @property
    def files(self) -> Mapping[str, int]:
        """Relative POSIX path → size in bytes, of every file that loading may read."""

    def read_json(self, relative: str) -> dict[str, Any]: ...

    def tensors(self, relative: str) -> Mapping[str, TensorInfo]:
        """Header of one `.safetensors` file. Raises ModelBroken when it does not parse."""

    def metadata(self, relative: str) -> Mapping[str, str]:
        """What a `.safetensors` file says of itself in short by the keys that begin with
        "modelspec.": claims, which anybody can write. Raises ModelBroken when it does not parse.
        """

    def gguf(self, relative: str) -> GgufHeader:
        """Header of one `.gguf` file. Raises ModelBroken when it does not parse."""


@dataclass(frozen=True, slots=True)
class Match:
    """A family's claim on a checkpoint.

    Attributes:
        facts: plain values its tasks may want (native size, …).
        tasks: those of the family's tasks that this checkpoint can do; None: all of them.

    """

    kind: str
    facts: Mapping[str, Any]
    tasks: frozenset[str] | None = None
