"""`ConvertedStore`: safetensors made of pickles, in the data folder, by the original's SHA-256."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from onebox.registry.scanner import Candidate, scan_one

_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})(\.safetensors)?")
_PART = ".part-"


class ConvertedStore:
    """The folder with the conversions: a file `<sha256>.safetensors`, or a folder `<sha256>`.

    One is complete when it is there: it is made beside its place and then moved. Any thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, sha256: str, *, is_folder: bool) -> Path:
        """Where the conversion of the checkpoint with that id lies, or would."""
        return self._folder / (sha256 if is_folder else f"{sha256}.safetensors")

    def find(self, sha256: str, *, is_folder: bool) -> Candidate | None:
        path = self.place(sha256, is_folder=is_folder)
        # A link here is none of ours.
        return None if path.is_symlink() else scan_one(path, self._folder)

    def workspace(self) -> Path:
        """A new empty folder to make a conversion in; the caller's to remove."""
        path = self._folder / f"{_PART}{secrets.token_hex(8)}"
        path.mkdir(parents=True)
        return path

    def keep(self, made: Path, sha256: str, *, is_folder: bool) -> None:
        """Move a complete conversion to its place. One that is there already stays."""
        place = self.place(sha256, is_folder=is_folder)
        try:
            os.rename(made, place)
        except OSError:
            if not place.exists():
                raise

    def clear_unfinished(self) -> None:
        """Remove what a server that was stopped left behind. For the owner of the data folder."""
        for path in self._listed():
            if path.name.startswith(_PART):
                shutil.rmtree(path, ignore_errors=True)

    def drop_all_but(self, sha256s: Collection[str]) -> list[str]:
        """Remove conversions of other originals. Returns their ids. What the system does not let
        go, because it is in use, goes another time.
        """
        dropped = []
        for path in self._listed():
            match = _NAME.fullmatch(path.name)
            if match is None or match["sha256"] in sha256s:
                continue
            with suppress(OSError):
                _remove(path)
                dropped.append(match["sha256"])
        return dropped

    def _listed(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except OSError:
            return []


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
