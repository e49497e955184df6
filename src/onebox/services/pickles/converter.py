"""The conversion of one whole checkpoint: its files one by one, and what lies beside them."""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from onebox.core.errors import AppError, ModelBroken, ModelTooLarge, ShuttingDown, WorkerLost
from onebox.registry import pickles
from onebox.services.pickles.process import Child, ChildFailed, PickleRefused

# What stays free on the disk: databases and results are written to it too.
KEPT_FREE_BYTES = 512 * 1024 * 1024
# Larger files that are taken over are linked where the file system can.
LINKED_BYTES = 1024 * 1024
MAX_INDEX_BYTES = 64 * 1024 * 1024

MakeChild = Callable[[Path, Path, int], Child]


class Converter:
    """Used by one thread, but for `stop`.

    Args:
        path: of the checkpoint, a file or a folder.
        files: that belong to it, by their path in the folder, and their sizes in bytes.
    """

    def __init__(
        self,
        path: Path,
        files: Mapping[str, int],
        *,
        is_folder: bool,
        make_child: MakeChild | None = None,
    ) -> None:
        self._path = path
        self._files = files
        self._is_folder = is_folder
        self._folder = path if is_folder else path.parent
        self._make_child = make_child or _make_child
        self._targets = pickles.targets(files, is_folder=is_folder)
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._stopped = False

    def run(self, made: Path, tell: Callable[[float], None]) -> None:
        """Write the converted checkpoint to `made`; `tell` hears how far it is, from 0 to 1.

        On an error a part may be there. Raises ModelBroken for what cannot be converted,
        ModelTooLarge when the disk is too full, WorkerLost when trying again may help,
        ShuttingDown once it was stopped.
        """
        if not self._targets:
            raise ModelBroken("there are no pickled weights in it that are known by name")
        try:
            self._require_room(made.parent)
            if self._is_folder:
                for name in self._files:
                    (made / name).parent.mkdir(parents=True, exist_ok=True)
                self._take_over(made)
                self._write_indexes(made)
            self._convert_all(made, tell)
        except OSError as error:
            raise WorkerLost(
                f"the conversion failed: {error.strerror or type(error).__name__}; try again",
                retry_after_s=10,
            ) from error

    def stop(self) -> None:
        """From any thread: end the child, and so `run`."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.kill()

    def _convert_all(self, made: Path, tell: Callable[[float], None]) -> None:
        whole = sum(self._files[name] for name in self._targets) or 1
        done = 0
        for name, target in sorted(self._targets.items()):
            share = _Share(tell, done / whole, self._files[name] / whole)
            self._convert(name, made / target if self._is_folder else made, share.tell)
            done += self._files[name]

    def _convert(self, name: str, target: Path, tell: Callable[[float], None]) -> None:
        most_bytes = max(_free_bytes(target.parent) - KEPT_FREE_BYTES, 0)
        with self._lock:
            if self._stopped:
                raise _stopped()
            self._child = self._make_child(self._folder / name, target, most_bytes)
        try:
            self._child.run(tell)
        except PickleRefused as error:
            raise _refusal(name, error) from error
        except ChildFailed as error:
            if self._stopped:
                raise _stopped() from error
            raise WorkerLost(
                f"{name} could not be converted: {error}; try again", retry_after_s=10
            ) from error

    def _require_room(self, folder: Path) -> None:
        """A weight keeps its size, or nearly."""
        free = _free_bytes(folder) - KEPT_FREE_BYTES
        needed = sum(self._files[name] for name in self._targets)
        if needed > free:
            raise ModelTooLarge(
                f"its safetensors take about {needed} bytes, and the disk that they are written to "
                f"has {max(free, 0)} to spare; make room, or move the data folder with DATA_DIR",
                param="model",
                details={"needed_bytes": needed, "free_bytes": max(free, 0)},
            )

    def _take_over(self, made: Path) -> None:
        """Everything but the pickles: configurations, tokenizers, other weights."""
        for name in pickles.kept(self._files):
            linked = self._files[name] > LINKED_BYTES
            _copy(self._folder / name, made / name, linked=linked)

    def _write_indexes(self, made: Path) -> None:
        for name in filter(pickles.is_index, self._files):
            folder = posixpath.dirname(name)
            of_it = {
                pickles.index_for(target)
                for source, target in self._targets.items()
                if posixpath.dirname(source) == folder
            } - {None}
            index = pickles.renamed_index(self._read_index(name), folder, self._targets)
            for target in of_it:
                if index is not None and target is not None:
                    (made / target).write_text(json.dumps(index), encoding="utf-8")

    def _read_index(self, name: str) -> dict[str, object]:
        """Raises ModelBroken."""
        if self._files[name] > MAX_INDEX_BYTES:
            raise ModelBroken(f"{name} is larger than {MAX_INDEX_BYTES} bytes; it is not read")
        try:
            index = json.loads((self._folder / name).read_bytes())
        except (ValueError, RecursionError):
            raise ModelBroken(f"{name} is not JSON; copy it again") from None
        if not isinstance(index, dict):
            raise ModelBroken(f"{name} is not a JSON object; copy it again")
        return index


class _Share:
    """One file's part of how far the whole is."""

    def __init__(self, tell: Callable[[float], None], before: float, size: float) -> None:
        self._tell, self._before, self._size = tell, before, size

    def tell(self, fraction: float) -> None:
        self._tell(self._before + fraction * self._size)


def _make_child(source: Path, target: Path, most_bytes: int) -> Child:
    return Child(source, target, most_bytes=most_bytes)


def _refusal(name: str, error: PickleRefused) -> AppError:
    if error.kind == "space":
        return ModelTooLarge(
            f"{name} could not be converted: {error.message}, and the disk that it is written to "
            "has less to spare; make room, or move the data folder with DATA_DIR",
            param="model",
        )
    if error.kind == "code":
        return ModelBroken(
            f"{name} asks for {error.message}, which is code and not weights; none of it was run. "
            "Take a safetensors file, from a source that you trust"
        )
    return ModelBroken(f"{name} cannot be converted to safetensors: {error.message}")


def _stopped() -> ShuttingDown:
    return ShuttingDown("the server is shutting down; try again", retry_after_s=10)


def _copy(source: Path, place: Path, *, linked: bool) -> None:
    """A link where the file system can: the original of a link that changes is converted anew."""
    if linked:
        try:
            os.link(source.resolve(), place)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, place)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
