"""What a back end found out about this machine, as plain values; probes make devices of them."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

Vendor = Literal["nvidia", "amd", "apple"]


class TorchBuild(msgspec.Struct, frozen=True):
    """The installed torch.

    Attributes:
        version: None where torch is missing or cannot be imported.
        architectures: what it has kernels for ("sm_90", "compute_120", "gfx1100").
        error: why it cannot be imported, or what it said when it looked for cards in vain.
    """

    version: str | None
    cuda: str | None = None
    hip: str | None = None
    architectures: tuple[str, ...] = ()
    error: str | None = None


class Card(msgspec.Struct, frozen=True):
    """One accelerator that torch lists.

    Attributes:
        architecture: "sm_86" or "gfx1100".
        bf16: whether torch says that it computes in bfloat16.
        integrated: its memory is the host's.
        error: what torch said when it could not even read the card.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    architecture: str = ""
    capability: tuple[int, int] | None = None
    bf16: bool = False
    integrated: bool = False
    error: str | None = None
    uuid: str = ""


class SeenCard(msgspec.Struct, frozen=True):
    """A card that the system knows of, whatever torch thinks of it.

    Attributes:
        driver: version of the driver; None where none answers.
        note: what the driver's own tool said instead.
        uuid, free_bytes: as the driver's tool says; None where it does not.
    """

    vendor: Vendor
    name: str
    driver: str | None = None
    note: str | None = None
    uuid: str | None = None
    free_bytes: int | None = None


class Host(msgspec.Struct, frozen=True):
    """The CPU side. `cores` are those this process may use; memory is within its cgroup's limit."""

    name: str
    system: str
    cores: int
    total_bytes: int
    available_bytes: int
    bf16: bool = False


class Facts(msgspec.Struct, frozen=True):
    """Everything that the probes look at.

    Attributes:
        cuda: cards behind `torch.cuda`; AMD's where `torch.hip` is set.
        seen: cards that the system knows of.
        hidden_by: the variable that hides cards from torch, e.g. "CUDA_VISIBLE_DEVICES=-1".
    """

    torch: TorchBuild
    host: Host
    cuda: tuple[Card, ...] = ()
    xpu: tuple[Card, ...] = ()
    mps: Card | None = None
    seen: tuple[SeenCard, ...] = ()
    hidden_by: str | None = None


class Backend(Protocol):
    """Where facts come from: `TorchBackend`, or a fake in tests."""

    def look(self) -> Facts:
        """Look at everything. May take seconds."""

    def free_bytes(self, torch_device: str) -> int:
        """What this process could still allocate there now."""
