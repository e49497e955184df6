"""Which build of torch fits a machine: a pure table, the probes that describe a machine, an index.

Sources. Architectures per CUDA build: pytorch/pytorch RELEASE.md, "CUDA support matrix" for 2.12
to 2.14 (pull requests 182849, 197555): 12.6 carries sm_50 to sm_90, 13.0 carries sm_75 and up;
on aarch64 both begin at sm_80. Drivers: NVIDIA "CUDA Compatibility", minor-version table: CUDA 12.x
needs 525, 13.x needs 580. ROCm: the PyTorch index has torch 2.13.0+rocm7.2.
"""

from __future__ import annotations

import os
import platform
import shutil
import threading
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

from onebox.setup.process import Outcome, ask

DEFAULT = "default"  # whatever pip's own configuration gives; no extra index
OVERRIDE = "ONEBOX_TORCH_INDEX"
_INDEX = "https://download.pytorch.org/whl/"
_ANSWER_WITHIN_S = 3.0

Ask = Callable[[Sequence[str], float], Outcome]


class Machine(NamedTuple):
    """What the choice depends on, as plain values."""

    system: str
    arch: str
    driver: tuple[int, ...] | None = None
    capabilities: tuple[tuple[int, int], ...] = ()
    rocm: bool = False


class CudaBuild(NamedTuple):
    """One CUDA build: where it exists, and the cards and drivers it runs on."""

    name: str
    platform: tuple[str, str]
    driver: int
    oldest_card: tuple[int, int]
    newest_card: tuple[int, int]


class Choice(NamedTuple):
    """A build by name, and what the person should know about it (mostly nothing)."""

    build: str
    note: str = ""


_ANY_NEWER = (99, 9)
_LINUX, _LINUX_ARM, _WINDOWS = ("Linux", "x86_64"), ("Linux", "aarch64"), ("Windows", "x86_64")
CUDA_BUILDS = (
    CudaBuild("cu130", _LINUX, 580, (7, 5), _ANY_NEWER),
    CudaBuild("cu130", _WINDOWS, 580, (7, 5), _ANY_NEWER),
    CudaBuild("cu130", _LINUX_ARM, 580, (8, 0), _ANY_NEWER),
    CudaBuild("cu126", _LINUX, 525, (5, 0), (9, 9)),
    CudaBuild("cu126", _WINDOWS, 528, (5, 0), (9, 9)),
    CudaBuild("cu126", _LINUX_ARM, 525, (8, 0), (9, 9)),
)
ROCM_BUILDS = {_LINUX: "rocm7.2"}
CPU_BUILDS = {_LINUX: "cpu", _LINUX_ARM: "cpu", _WINDOWS: "cpu"}
_ARCHES = {"amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64"}


def choose(machine: Machine) -> Choice:
    """The current CUDA build, an older one that still carries driver and card, ROCm, or CPU."""
    here = (machine.system, machine.arch)
    fallback = CPU_BUILDS.get(here, DEFAULT)
    if machine.driver is not None:
        # Every card if one build can, else as many cards as possible, newest build first.
        builds = [build for build in CUDA_BUILDS if build.platform == here]
        best = max(builds, key=lambda build: _cards_carried(build, machine), default=None)
        if best is not None and _cards_carried(best, machine):
            return Choice(best.name)
    if machine.rocm and here in ROCM_BUILDS:
        return Choice(ROCM_BUILDS[here])
    return Choice(fallback, _why_not_cuda(machine))


def _cards_carried(build: CudaBuild, machine: Machine) -> int:
    if machine.driver is None or machine.driver[0] < build.driver:
        return 0
    if not machine.capabilities:  # old drivers do not tell; the driver alone decides
        return 1
    return sum(build.oldest_card <= card <= build.newest_card for card in machine.capabilities)


def _why_not_cuda(machine: Machine) -> str:
    if machine.driver is None:
        return ""
    driver = ".".join(map(str, machine.driver))
    cards = ", ".join("{}.{}".format(*card) for card in machine.capabilities) or "unknown"
    return (
        f"no CUDA build of torch runs on NVIDIA driver {driver} with compute capability {cards}; "
        "using the CPU. A driver of version 580 or newer serves cards from capability 7.5 on"
    )


def index_url(build: str) -> str:
    """Where a build lies: an override may be a URL already; the default needs none."""
    if build == DEFAULT:
        return ""
    return build if "://" in build else _INDEX + build


def override() -> str:
    """The person's own choice: a URL, a build's name such as cu126, or `default`."""
    return os.environ.get(OVERRIDE, "").strip()


def inspect(ask: Ask = ask) -> Machine:
    """Look at this machine. Asks nvidia-smi, so it can take seconds: call it only to install."""
    machine = platform.machine().lower()
    driver, capabilities = _ask_nvidia(ask)
    return Machine(
        platform.system(),
        _ARCHES.get(machine, machine),
        driver,
        capabilities,
        rocm=Path("/opt/rocm").is_dir() or shutil.which("rocminfo") is not None,
    )


def hardware_hint() -> str:
    """A cheap text that changes when drivers do, so that a second start need not ask nvidia-smi."""
    parts = [platform.machine(), shutil.which("nvidia-smi") or "no nvidia-smi"]
    for path in ("/proc/driver/nvidia/version", "/opt/rocm/.info/version"):
        try:
            parts.append(Path(path).read_text(encoding="utf-8").strip())
        except OSError:
            continue
    return "\n".join(parts)


def _ask_nvidia(ask: Ask) -> tuple[tuple[int, ...] | None, tuple[tuple[int, int], ...]]:
    # Drivers before 510 refuse the whole question when it names compute_cap.
    for fields in ("driver_version,compute_cap", "driver_version"):
        answer = ask(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], 20)
        if answer.ok:
            return parse_nvidia_smi(answer.text)
    return None, ()


def parse_nvidia_smi(text: str) -> tuple[tuple[int, ...] | None, tuple[tuple[int, int], ...]]:
    """`580.65.06, 9.0` per card; a field may read [N/A], and then it is as if it were not there."""
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines() if line]
    drivers = [_numbers(row[0]) for row in rows]
    cards = [_numbers(row[1]) for row in rows if len(row) > 1]
    driver = next((numbers for numbers in drivers if numbers), None)
    return driver, tuple((card[0], card[1]) for card in cards if len(card) == 2)


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def answers(url: str, within_s: float = _ANSWER_WITHIN_S) -> bool:
    """Whether the index has a page for torch. On a thread, as no timeout covers a name lookup."""
    import urllib.request  # here, because a second start must not pay for it

    good = threading.Event()
    done = threading.Event()

    def knock() -> None:
        try:
            with urllib.request.urlopen(url.rstrip("/") + "/torch/", timeout=within_s):
                good.set()
        except (OSError, ValueError):
            pass
        finally:
            done.set()

    threading.Thread(target=knock, daemon=True).start()
    done.wait(within_s)
    return good.is_set()
