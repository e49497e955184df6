"""`onebox doctor`: what is on this machine, what Onebox makes of it, and what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from onebox.core.contracts import Device
from onebox.core.errors import InvalidInput
from onebox.core.memory_amounts import GIB
from onebox.core.settings import Settings
from onebox.hardware.detector import choose, devices_from
from onebox.hardware.facts import Backend, Host, TorchBuild
from onebox.hardware.shares import budget_of, threads_of

_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "tokenizers", "fastapi",
    "starlette", "uvicorn", "pydantic", "pydantic-settings", "msgspec", "numpy", "pillow", "psutil",
)  # fmt: skip
_LEAST_DISK = GIB
# Libraries alone take most of that.
_LEAST_MEMORY = GIB
_INSTALL = "python3 app.py installs it"
_DEVICE_HEAD = ("id", "kind", "name", "capability", "memory", "free", "weights", "decoder")
_WORKER_HEAD = ("device", "threads", "memory pool", "budget of the pool")
_FOLDER_HEAD = ("use", "path", "state", "free on disk")


class Folder(msgspec.Struct, frozen=True):
    """A folder of ours, and the room on its disk."""

    path: str
    use: str
    exists: bool
    writable: bool
    free_bytes: int


class Worker(msgspec.Struct, frozen=True):
    """A worker as it would be started. Workers of one memory pool share its budget."""

    device: str
    threads: int
    pool: str
    budget_bytes: int


class Report(msgspec.Struct, frozen=True):
    """Everything `onebox doctor` prints. `healthy` means: no problems."""

    onebox: str | None
    python: str
    torch: TorchBuild
    packages: dict[str, str | None]
    host: Host
    devices: list[Device]
    wanted: list[str]
    workers: list[Worker]
    folders: list[Folder]
    problems: list[str]
    healthy: bool
    warnings: list[str] = []

    def with_more(self, problems: list[str], warnings: list[str]) -> Report:
        """What others have found wrong, beside what is here."""
        problems = list(dict.fromkeys([*self.problems, *problems]))
        warnings = [*self.warnings, *warnings]
        return msgspec.structs.replace(
            self, problems=problems, healthy=not problems, warnings=warnings
        )


def collect(settings: Settings, backend: Backend) -> Report:
    """Look at the machine with these settings. What is wrong becomes a problem, never an error."""
    facts = backend.look()
    devices = devices_from(facts)
    folders = [_folder(settings.data_dir, "data")]
    folders += [_folder(path, "models") for path in settings.model_dirs]
    workers, problems = _plan(settings, devices, facts.host.cores)
    if facts.torch.version is None:
        problems.insert(0, f"torch cannot be imported ({facts.torch.error}): {_INSTALL}")
    problems += [text for folder in folders for text in _folder_problems(folder)]
    problems += _memory_problems(facts.host)
    return Report(
        onebox=_onebox_version(),
        python=platform.python_version(),
        torch=facts.torch,
        packages={name: _version(name) for name in _PACKAGES},
        host=facts.host,
        devices=devices,
        wanted=list(settings.device),
        workers=workers,
        folders=folders,
        problems=list(dict.fromkeys(problems)),
        healthy=not problems,
    )


def as_json(report: Report) -> str:
    """The report for programs."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def as_table(report: Report) -> str:
    """The report for people; what is wrong comes last and loud."""
    rows, doubts = _numbered(report.problems), _numbered(report.warnings)
    verdict = f"!!! PROBLEMS ({len(rows)})" if rows else "ALL IS WELL"
    sections = [
        ("VERSIONS", _aligned(_version_rows(report))),
        ("MACHINE", _aligned(_host_rows(report.host))),
        ("DEVICES", _aligned([_DEVICE_HEAD, *map(_device_row, report.devices)])),
        (
            f"WORKERS for ONEBOX_DEVICE={','.join(report.wanted)}",
            _aligned([_WORKER_HEAD, *map(_worker_row, report.workers)]),
        ),
        ("FOLDERS", _aligned([_FOLDER_HEAD, *map(_folder_row, report.folders)])),
        *([(f"WARNINGS ({len(doubts)})", doubts)] if doubts else []),
        (verdict, rows),
    ]
    blocks = ("\n".join([title, *(f"  {row}" for row in rows)]) for title, rows in sections)
    return "\n\n".join(blocks) + "\n"


def _numbered(texts: list[str]) -> list[str]:
    return [f"{number}. {text}" for number, text in enumerate(texts, 1)]


def _plan(settings: Settings, devices: list[Device], cores: int) -> tuple[list[Worker], list[str]]:
    """The workers that would be started, and what is wrong with them."""
    try:
        chosen = choose(devices, settings.device)
        workers = _workers(settings, chosen, cores)
    except InvalidInput as error:
        return [], [error.message]
    return workers, [text for device in chosen for text in device.problems]


def _workers(settings: Settings, chosen: list[Device], cores: int) -> list[Worker]:
    return [
        Worker(
            device=device.id,
            threads=threads_of(device, chosen, settings.threads, cores),
            pool=device.pool,
            budget_bytes=budget_of(device, chosen, settings.memory_budget),
        )
        for device in chosen
    ]


def _folder(path: Path, use: str) -> Folder:
    """Where the folder is still missing, the room is that of the nearest one above it."""
    nearest = next((p for p in (path, *path.parents) if p.exists()), Path(path.anchor or "."))
    return Folder(
        path=str(path),
        use=use,
        exists=path.is_dir(),
        writable=os.access(nearest, os.W_OK),
        free_bytes=shutil.disk_usage(nearest).free,
    )


def _folder_problems(folder: Folder) -> Iterable[str]:
    setting = "MODEL_DIRS" if folder.use == "models" else "DATA_DIR"
    if folder.use == "models" and not folder.exists:
        yield f"{folder.path} does not exist: create it for models, or set {setting}"
    if folder.use == "data" and not folder.writable:
        yield f"{folder.path} cannot be written to: change its owner, or set {setting}"
    if folder.free_bytes < _LEAST_DISK:
        left = _size(folder.free_bytes)
        yield f"{left} left on the disk of {folder.path}: make room, or set {setting}"


def _memory_problems(host: Host) -> Iterable[str]:
    if host.available_bytes < _LEAST_MEMORY:
        yield (
            f"{_size(host.available_bytes)} of {_size(host.total_bytes)} memory are available: end "
            "other programs, or give this machine more"
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _onebox_version() -> str | None:
    """From the package itself, since it also runs from a checkout that is not installed."""
    return getattr(sys.modules["onebox"], "__version__", None)


def _version_rows(report: Report) -> list[tuple[str, ...]]:
    build = report.torch
    builds = {"CUDA": build.cuda, "ROCm": build.hip}
    made_for = [f"{name} {version}" for name, version in builds.items() if version]
    return [
        ("onebox", report.onebox or "unknown"),
        ("python", report.python),
        *((name, version or "not installed") for name, version in report.packages.items()),
        ("torch is for", " ".join(made_for) or "neither CUDA nor ROCm"),
        ("torch carries", " ".join(build.architectures) or "-"),
    ]


def _host_rows(host: Host) -> list[tuple[str, ...]]:
    return [
        ("system", host.system),
        ("cpu", host.name),
        ("usable cores", str(host.cores)),
        ("bfloat16", "yes" if host.bf16 else "no"),
        ("memory", f"{_size(host.total_bytes)}, {_size(host.available_bytes)} available"),
    ]


def _device_row(device: Device) -> tuple[str, ...]:
    capability = device.compute_capability
    return (
        device.id + (" (!)" if device.problems else ""),
        device.kind,
        device.name,
        ".".join(map(str, capability)) if capability else "-",
        _size(device.total_bytes),
        _size(device.free_bytes),
        device.dtype,
        device.vae_dtype,
    )


def _worker_row(worker: Worker) -> tuple[str, ...]:
    return worker.device, str(worker.threads), worker.pool, _size(worker.budget_bytes)


def _folder_row(folder: Folder) -> tuple[str, ...]:
    state = "missing" if not folder.exists else "writable" if folder.writable else "read-only"
    return folder.use, folder.path, state, _size(folder.free_bytes)


def _size(amount: int) -> str:
    return f"{amount / GIB:.1f} GiB"


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (map(str.ljust, row, widths) for row in table)
    return ["  ".join(line).rstrip() for line in lines]
