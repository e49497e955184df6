"""What a checkpoint is, from its contents: headers are checked, then families asked in turn."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from onebox.core.contracts import Family
from onebox.core.errors import ModelBroken
from onebox.registry import layout, pickles
from onebox.registry.on_disk import CheckpointOnDisk

_log = structlog.get_logger(__name__)

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_PICKLE_PROTOCOLS = range(2, 6)
_GGUF = b"GGUF"
_FAMILIES = "onebox.families"
_LAYERS = ("audio", "core", "families", "imaging", "language")


class Recognition(msgspec.Struct, frozen=True):
    """What looking into a checkpoint gave. All None: sound, but no family knows it yet.

    `tasks` are those of the family's own that it can do, None for all of them. `reason` says why
    it is broken; with `passing`, looking again may give another answer.
    """

    family: str | None = None
    kind: str | None = None
    facts: dict[str, Any] = {}
    tasks: tuple[str, ...] | None = None
    reason: str | None = None
    passing: bool = False


def recognise(on_disk: CheckpointOnDisk, families: Mapping[str, Family]) -> Recognition:
    """Look into one checkpoint. Never raises: what goes wrong becomes the reason."""
    name = None
    try:
        _check_files(on_disk)
        for name, family in families.items():
            match = family.matches(on_disk)
            if match is not None:
                tasks = None if match.tasks is None else tuple(sorted(match.tasks))
                return Recognition(name, match.kind, _plain(match.facts), tasks)
    except ModelBroken as error:
        return Recognition(family=name, reason=error.message)
    except OSError as error:
        return Recognition(reason=unreadable(error), passing=True)
    except (
        Exception
    ) as error:  # a family from outside must not stop the scan; the log has the whole story
        _log.exception("recognition failed", family=name, checkpoint=on_disk.path.name)
        return Recognition(
            family=name, reason=f"recognition failed: {type(error).__name__}; see the log"
        )
    return Recognition()


def unreadable(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "cannot be read (permission); let the server's user read it"
    return f"cannot be read ({error.strerror or type(error).__name__})"


def recogniser_version(families: Mapping[str, Family]) -> str:
    """Changes with the families and with the code that recognises, ours and theirs."""
    digest = hashlib.sha256(repr(list(families)).encode())
    modules = dict.fromkeys((__name__, *(type(family).__module__ for family in families.values())))
    for source in dict.fromkeys(path for module in modules for path in _sources(module)):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _sources(module_name: str) -> Iterable[Path]:
    """A module's own file, and its siblings when it lies in a package: helpers count too.

    Of our own package those of all layers that families may import.
    """
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return []
    if module_name.startswith(f"{_FAMILIES}."):
        root = Path(file).parents[1]
        return sorted(path for layer in _LAYERS for path in (root / layer).rglob("*.py"))
    return sorted(Path(file).parent.glob("*.py")) if module.__package__ else [Path(file)]


def _check_files(on_disk: CheckpointOnDisk) -> None:
    """Raises ModelBroken for a weight file that cannot be what its name says.

    Of pickles those that would be converted: published folders have weights of other programs
    beside them under the same extensions.
    """
    converted = pickles.targets(on_disk.files, is_folder=on_disk.is_folder)
    for relative in on_disk.files:
        kind = layout.extension(relative)
        if kind == ".safetensors":
            on_disk.tensors(relative)
        elif kind == ".gguf" and on_disk.read_start(relative, 4) != _GGUF:
            raise ModelBroken(f"{relative}: does not begin like a GGUF file")
        elif relative in converted:
            _check_pickle(relative, on_disk.read_start(relative, 4))
        elif relative.endswith(".index.json") and not pickles.is_replaced(relative, on_disk.files):
            _check_shards(relative, on_disk)


def _check_pickle(relative: str, start: bytes) -> None:
    """The first bytes only. Nothing here ever unpickles."""
    is_pickle = start[:1] == _PICKLE and len(start) > 1 and start[1] in _PICKLE_PROTOCOLS
    if start != _ZIP and not is_pickle:
        raise ModelBroken(f"{relative}: does not begin like a PyTorch file (zip or pickle)")


def _check_shards(relative: str, on_disk: CheckpointOnDisk) -> None:
    """Every shard that a weight index names must be there; a download brings them one by one."""
    weight_map = on_disk.read_json(relative).get("weight_map")
    if not isinstance(weight_map, dict):
        return
    folder = relative.rpartition("/")[0]
    for shard in sorted({str(value) for value in weight_map.values()}):
        if (f"{folder}/{shard}" if folder else shard) not in on_disk.files:
            raise ModelBroken(
                f"{relative} names {shard[:200]}, which is missing; finish the download"
            )


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """As they will read after a restart, when they come from the hash store."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(facts)))
    return plain
