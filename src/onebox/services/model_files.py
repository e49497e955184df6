"""Removing checkpoints from the model folders. Nothing outside them is ever touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from onebox.core.errors import InvalidInput, ModelBusy


def remove_checkpoints(paths: Sequence[str], model_dirs: Sequence[Path]) -> list[str]:
    """Remove files, folders and links; a link goes, and what it points to stays.

    Every path is checked before the first is removed. Blocks. Returns what was removed.
    Raises InvalidInput for a path that is not below a model folder, or that holds one; ModelBusy
    for what the system does not let go.
    """
    roots = [folder.resolve() for folder in model_dirs]
    checkpoints = [Path(path) for path in paths]
    for checkpoint in checkpoints:
        _require_removable(checkpoint, roots)
    return [str(checkpoint) for checkpoint in checkpoints if _remove(checkpoint)]


def _require_removable(path: Path, roots: Sequence[Path]) -> None:
    # The last part is not resolved: of a link it is the link that goes.
    place = path.parent.resolve() / path.name
    is_below = any(place != root and place.is_relative_to(root) for root in roots)
    holds_one = any(root.is_relative_to(place) for root in roots)
    if not is_below or holds_one or path.name in ("", os.curdir, os.pardir):
        raise InvalidInput(
            "its files are not below a model folder, or hold one; remove them by hand",
            param="files",
        )


def _remove(path: Path) -> bool:
    """False for one that is gone already, with an earlier path for example."""
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ModelBusy(
            f"the system does not let its files go: {error.strerror}", should_retry=False
        ) from error
    return True
