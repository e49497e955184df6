"""The CPU side and the cards that the system knows of, found out without torch.

Functions that parse take text or a folder, so that they can be tested anywhere.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from onebox.core.os_support import usable_cpus
from onebox.hardware.facts import Host, SeenCard, Vendor

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last is ARM's
_PROC = Path("/proc")
_CPUINFO = _PROC / "cpuinfo"
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_PCI = Path("/sys/bus/pci/devices")
_NVIDIA_QUERY = (
    "--query-gpu=name,driver_version,uuid,memory.free",
    "--format=csv,noheader,nounits",
)
_NVIDIA_SMI_WSL = "/usr/lib/wsl/lib/nvidia-smi"
_VENDORS: dict[str, Vendor] = {"0x10de": "nvidia", "0x1002": "amd"}
_DISPLAY_CLASS = "0x03"
# Smaller ones are the graphics of a desktop processor, which nobody expects to compute.
_LEAST_AMD_BYTES = 4 * 1024**3
_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_TOOL_TIMEOUT_S = 20.0


def read_host(bf16: bool | None = None) -> Host:
    """The CPU and its memory.

    Args:
        bf16: what is known from elsewhere, where the system has no way to say it (Windows).
    """
    name, known = _read_cpu()
    total, available = read_memory()
    return Host(
        name=name or platform.processor() or platform.machine(),
        system=platform.platform(),
        cores=usable_cpus(),
        total_bytes=total,
        available_bytes=available,
        bf16=bool(bf16) if known is None else known,
    )


def read_memory() -> tuple[int, int]:
    """Total and available bytes of host memory, both within the limit of this process's cgroup."""
    memory = psutil.virtual_memory()
    limit, used = cgroup_memory(_CGROUP, _own_cgroup()) or (memory.total, 0)
    return min(memory.total, limit), max(0, min(memory.available, limit - used))


def anonymous_bytes(pid: int) -> int:
    """Physical memory that a process holds and no file backs. 0 for one that is gone.

    On Linux alone; elsewhere all that it holds, which is the nearest that every system tells.
    """
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    return parse_status(status).get("RssAnon", 0)


def parse_status(text: str) -> dict[str, int]:
    """The memory lines of `/proc/<pid>/status`, e.g. "RssAnon", in bytes."""
    rows = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def _read_cpu() -> tuple[str, bool | None]:
    """The CPU's name, and whether it computes in bfloat16 if the system says so."""
    if _CPUINFO.is_file():
        return parse_cpuinfo(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string"), _sysctl("hw.optional.arm.FEAT_BF16") == "1"
    return "", None


def parse_cpuinfo(text: str) -> tuple[str, bool]:
    """Name and bfloat16 from `/proc/cpuinfo`: AVX512_BF16 or AMX on x86, BF16 on ARM."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip().lower(), value.strip())
    flags = found.get("flags") or found.get("features") or ""
    return found.get("model name", ""), not _BF16_FLAGS.isdisjoint(flags.split())


def _own_cgroup() -> str:
    with contextlib.suppress(OSError):
        for line in _OWN_CGROUP.read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return line[3:].strip("/")
    return ""


def cgroup_memory(root: Path, own: str = "") -> tuple[int, int] | None:
    """Limit of this process's cgroup and what counts against it, less cache that can be dropped."""
    for folder, limit, usage, cache in (
        (root / own, "memory.max", "memory.current", "inactive_file"),
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            bound = int((folder / limit).read_text())
            used = int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return bound, max(0, used - int(stat.get(cache, "0")))
    return None


def seen_cards() -> tuple[SeenCard, ...]:
    """Cards that the system knows of, by the driver's tool and, on Linux, on the PCI bus."""
    answered, trouble = _ask_nvidia_smi()
    on_bus = [card for card in pci_cards(_PCI, trouble) if card.vendor != "nvidia" or not answered]
    apple = sys.platform == "darwin" and _sysctl("hw.optional.arm64") == "1"
    return (
        *answered,
        *on_bus,
        *([SeenCard("apple", "the GPU of this Apple chip")] if apple else []),
    )


def _ask_nvidia_smi() -> tuple[list[SeenCard], str | None]:
    tool = shutil.which("nvidia-smi") or shutil.which(_NVIDIA_SMI_WSL)
    if tool is None:
        return [], None
    try:
        done = _run([tool, *_NVIDIA_QUERY])
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi failed: {type(error).__name__}"
    cards = parse_nvidia_smi(done.stdout) if done.returncode == 0 else []
    said = " ".join((done.stdout or done.stderr).split())[:200]
    return cards, None if cards else f"nvidia-smi says: {said}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TOOL_TIMEOUT_S,
        check=False,
    )


def parse_nvidia_smi(text: str) -> list[SeenCard]:
    """Cards from the answer to `_NVIDIA_QUERY`; a field may read [N/A]."""
    rows = (line.rsplit(",", 3) for line in text.splitlines())
    return [_nvidia_card(*(field.strip() for field in row)) for row in rows if len(row) == 4]


def _nvidia_card(name: str, driver: str, uuid: str, free_mib: str) -> SeenCard:
    free = int(free_mib) * 1024**2 if free_mib.isdecimal() else None
    return SeenCard("nvidia", name, driver, uuid=uuid.removeprefix("GPU-"), free_bytes=free)


def pci_cards(bus: Path, note: str | None = None) -> Iterator[SeenCard]:
    """Graphics and compute cards on the PCI bus, less those handed to a virtual machine."""
    for slot in sorted(bus.iterdir()) if bus.is_dir() else []:
        vendor = _VENDORS.get(_read(slot / "vendor"))
        if vendor is None or not _read(slot / "class").startswith(_DISPLAY_CLASS):
            continue
        if (slot / "driver").resolve().name == "vfio-pci":
            continue
        if vendor == "amd" and int(_read(slot / "mem_info_vram_total") or 0) < _LEAST_AMD_BYTES:
            continue
        yield SeenCard(
            vendor,
            f"{vendor.upper()} card at {slot.name}",
            note=note if vendor == "nvidia" else None,
        )


def hidden_by(environment: Mapping[str, str] = os.environ) -> str | None:
    """The setting that hides all cards from torch, if one does."""
    for name in _HIDING:
        if environment.get(name, "0").strip() in {"", "-1"}:
            return f"{name}={environment[name]}"
    return None


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip()
    return ""


def _sysctl(name: str) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = _run(["sysctl", "-n", name])
        return done.stdout.strip()
    return ""
