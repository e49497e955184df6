"""A back end that says what a test wants, and shorthands for cards."""

from __future__ import annotations

from dataclasses import dataclass, field

from onebox.hardware.facts import Card, Facts, Host, SeenCard, TorchBuild

GIB = 1024**3
CU130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
CPU_BUILD = TorchBuild(version="2.13.0+cpu")
CUDA_BUILD = TorchBuild(version="2.13.0+cu130", cuda="13.0", architectures=CU130)
ROCM_BUILD = TorchBuild(
    version="2.13.0+rocm7.2", hip="7.2", architectures=("gfx90a", "gfx1030", "gfx1100")
)
HOST = Host(name="A CPU", system="Linux", cores=8, total_bytes=32 * GIB, available_bytes=24 * GIB)
RTX_4090 = SeenCard("nvidia", "NVIDIA GeForce RTX 4090", driver="580.95.05")


def card(name: str, capability: tuple[int, int], index: int = 0, gib: int = 24) -> Card:
    return Card(
        index=index,
        name=name,
        total_bytes=gib * GIB,
        free_bytes=(gib - 1) * GIB,
        architecture=f"sm_{capability[0]}{capability[1]}",
        capability=capability,
        bf16=capability >= (8, 0),
    )


def amd(name: str, architecture: str, index: int = 0) -> Card:
    return Card(index, name, 24 * GIB, 23 * GIB, architecture, (11, 0), bf16=True)


@dataclass
class FakeBackend:
    facts: Facts
    free: dict[str, int] = field(default_factory=dict)

    def look(self) -> Facts:
        return self.facts

    def free_bytes(self, torch_device: str) -> int:
        return self.free[torch_device]
