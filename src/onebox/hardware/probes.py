"""One probe per kind of device, best first; each makes devices of the facts."""

from __future__ import annotations

from collections.abc import Callable

from onebox.core.contracts import Device, DeviceKind
from onebox.hardware import remedies
from onebox.hardware.dtype_policy import dtypes_for, rocm_has_bf16
from onebox.hardware.facts import Card, Facts
from onebox.hardware.memory import HOST_POOL

Probe = Callable[[Facts], list[Device]]


def cuda(facts: Facts) -> list[Device]:
    """NVIDIA cards."""
    return [] if facts.torch.hip else [_card("cuda", "cuda", card, facts) for card in facts.cuda]


def rocm(facts: Facts) -> list[Device]:
    """AMD cards, which torch calls cuda as well."""
    return [_card("rocm", "cuda", card, facts) for card in facts.cuda] if facts.torch.hip else []


def xpu(facts: Facts) -> list[Device]:
    """Intel cards."""
    return [_card("xpu", "xpu", card, facts) for card in facts.xpu]


def mps(facts: Facts) -> list[Device]:
    """The GPU of an Apple chip. Its memory is the host's; total is what macOS lets it use."""
    if facts.mps is None:
        return []
    dtype, vae_dtype = dtypes_for("mps")
    return [
        Device(
            id="mps",
            kind="mps",
            name=facts.mps.name,
            torch_device="mps",
            pool=HOST_POOL,
            total_bytes=facts.mps.total_bytes,
            free_bytes=min(facts.mps.total_bytes, facts.host.available_bytes),
            dtype=dtype,
            vae_dtype=vae_dtype,
        )
    ]


def cpu(facts: Facts) -> list[Device]:
    """The CPU, always there. Its problems are the GPUs that it stands in for."""
    host = facts.host
    dtype, vae_dtype = dtypes_for("cpu", bf16=host.bf16)
    return [
        Device(
            id="cpu",
            kind="cpu",
            name=host.name,
            torch_device="cpu",
            pool=HOST_POOL,
            total_bytes=host.total_bytes,
            free_bytes=host.available_bytes,
            dtype=dtype,
            vae_dtype=vae_dtype,
            cores=host.cores,
            problems=remedies.missed_cards(facts),
        )
    ]


PROBES: tuple[Probe, ...] = (cuda, rocm, mps, xpu, cpu)


def _card(kind: DeviceKind, torch_kind: str, card: Card, facts: Facts) -> Device:
    bf16 = card.bf16 and (kind != "rocm" or rocm_has_bf16(card.architecture))
    dtype, vae_dtype = dtypes_for(
        kind, compute_capability=card.capability, bf16=bf16, name=card.name
    )
    shared = card.integrated and kind == "cuda"
    free = card.free_bytes
    if shared:  # it counts the page cache as used, though the system gives that up on demand
        free = max(free, min(card.total_bytes, facts.host.available_bytes))
    return Device(
        id=f"{kind}:{card.index}",
        kind=kind,
        name=card.name,
        torch_device=f"{torch_kind}:{card.index}",
        pool=HOST_POOL if shared else f"{kind}:{card.index}",
        total_bytes=card.total_bytes,
        free_bytes=free,
        dtype=dtype,
        vae_dtype=vae_dtype,
        compute_capability=card.capability if kind == "cuda" else None,
        problems=remedies.card_problems(card, facts.torch),
    )
