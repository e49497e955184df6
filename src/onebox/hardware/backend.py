"""The real back end: what torch and the system say. The only file of this layer to import torch."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from onebox.hardware.facts import Card, Facts, Host, SeenCard, TorchBuild
from onebox.hardware.host import hidden_by, read_host, seen_cards


class TorchBackend:
    """Asks torch; where that cannot be imported, it still tells of the CPU and the cards."""

    def look(self) -> Facts:
        """Look at everything; imports torch."""
        seen, hidden = seen_cards(), hidden_by()
        try:
            torch = _import_torch()
        except (ImportError, OSError) as error:
            build = TorchBuild(version=None, error=_first_line(error))
            return Facts(torch=build, host=read_host(), seen=seen, hidden_by=hidden)
        host = read_host(_cpu_has_bf16(torch))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            cuda = _cards(torch.cuda, torch, _cuda_card)
            cuda = tuple(_with_free(torch, card, seen) for card in cuda)
            xpu = _cards(torch.xpu, torch, _xpu_card)
        complaint = "; ".join(_first_line(warning.message) for warning in said) or None
        return Facts(
            torch=_build(torch, None if cuda else complaint),
            host=host,
            cuda=cuda,
            xpu=xpu,
            mps=_mps(torch, host),
            seen=seen,
            hidden_by=hidden,
        )

    def free_bytes(self, torch_device: str) -> int:
        kind = torch_device.partition(":")[0]
        return _FREE.get(kind, _host_free)(torch_device)


def _import_torch() -> Any:
    return importlib.import_module("torch")


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _build(torch: Any, error: str | None) -> TorchBuild:
    return TorchBuild(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        hip=torch.version.hip,
        architectures=tuple(torch.cuda.get_arch_list()),
        error=error,
    )


def _cpu_has_bf16(torch: Any) -> bool:
    with contextlib.suppress(AttributeError, RuntimeError):
        capabilities = torch.cpu.get_capabilities()
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def _cards(space: Any, torch: Any, read: Callable[[Any, int], Card]) -> tuple[Card, ...]:
    if not space.is_available():
        return ()
    return tuple(_or_error(read, torch, index) for index in range(space.device_count()))


def _or_error(read: Callable[[Any, int], Card], torch: Any, index: int) -> Card:
    try:
        return read(torch, index)
    except RuntimeError as error:
        return Card(
            index=index, name=f"card {index}", total_bytes=0, free_bytes=0, error=_first_line(error)
        )


def _cuda_card(torch: Any, index: int) -> Card:
    about = torch.cuda.get_device_properties(index)
    return Card(
        index=index,
        name=about.name,
        total_bytes=about.total_memory,
        free_bytes=about.total_memory,
        architecture=about.gcnArchName if torch.version.hip else f"sm_{about.major}{about.minor}",
        capability=(about.major, about.minor),
        bf16=bool(torch.cuda.is_bf16_supported()) if torch.version.hip else about.major >= 8,
        integrated=bool(about.is_integrated),
        uuid=str(about.uuid),
    )


def _with_free(torch: Any, card: Card, seen: Iterable[SeenCard]) -> Card:
    """The card with its free memory.

    What the driver's tool said goes before torch: asking torch opens a context of some hundred MiB
    on the card, and every worker looks at every card.
    """
    known = (other.free_bytes for other in seen if card.uuid and other.uuid == card.uuid)
    free = next(known, None)
    if free is not None or card.error:
        return replace(card, free_bytes=min(free or 0, card.total_bytes))
    try:
        return replace(card, free_bytes=torch.cuda.mem_get_info(card.index)[0])
    except RuntimeError as error:
        return replace(card, free_bytes=0, error=_first_line(error))


def _xpu_card(torch: Any, index: int) -> Card:
    about = torch.xpu.get_device_properties(index)
    free = about.total_memory
    with contextlib.suppress(RuntimeError):  # not every driver tells
        free = torch.xpu.mem_get_info(index)[0]
    return Card(
        index=index,
        name=about.name,
        total_bytes=about.total_memory,
        free_bytes=free,
        bf16=bool(torch.xpu.is_bf16_supported()),
    )


def _mps(torch: Any, host: Host) -> Card | None:
    if not torch.backends.mps.is_available():
        return None
    total = int(torch.mps.recommended_max_memory())
    return Card(index=0, name=host.name, total_bytes=total, free_bytes=total)


def _card_free(torch_device: str) -> int:
    """What the driver has left, and what torch keeps without using it."""
    torch = _import_torch()
    space = torch.xpu if torch_device.startswith("xpu") else torch.cuda
    cached = space.memory_reserved(torch_device) - space.memory_allocated(torch_device)
    return int(space.mem_get_info(torch_device)[0]) + int(cached)


def _mps_free(torch_device: str) -> int:
    space = _import_torch().mps
    left = int(space.recommended_max_memory()) - int(space.current_allocated_memory())
    return max(0, min(left, read_host().available_bytes))


def _host_free(torch_device: str) -> int:
    return read_host().available_bytes


_FREE: dict[str, Callable[[str], int]] = {"cuda": _card_free, "xpu": _card_free, "mps": _mps_free}
