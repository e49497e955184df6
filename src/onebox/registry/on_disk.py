"""`OnDisk` as the registry offers it: cheap facts about one checkpoint, each read once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import GgufHeader, TensorInfo
from onebox.registry.fingerprint import OpenFile, open_binary
from onebox.registry.gguf_header import read_gguf_header
from onebox.registry.safetensors_header import Header, read_header
from onebox.registry.scanner import Candidate, scan_one

# The weight index of the largest open models is 9 MB; nothing else a family reads comes near.
MAX_JSON_BYTES = 16 * 1024 * 1024

HeaderT = TypeVar("HeaderT")


class CheckpointOnDisk:
    """One checkpoint, read from names and headers. Paths it accepts are exactly those in `files`.

    An unreadable file raises OSError from the reading methods.

    Args:
        name: of the original, where the candidate is what was made of it.
    """

    def __init__(
        self,
        candidate: Candidate,
        open_file: OpenFile = open_binary,
        overrides: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        self.path = Path(candidate.path)
        self.name = name or self.path.name
        self.overrides = overrides or {}
        self.is_folder = candidate.is_folder
        self._directory = Path(candidate.directory)
        self._files = MappingProxyType({file.relative: file.size for file in candidate.files})
        self._open_file = open_file
        self._json: dict[str, dict[str, Any]] = {}
        self._headers: dict[str, Header] = {}
        self._gguf: dict[str, GgufHeader] = {}

    @property
    def files(self) -> Mapping[str, int]:
        return self._files

    def read_json(self, relative: str) -> dict[str, Any]:
        if relative not in self._json:
            self._json[relative] = _parse_object(
                relative, self.read_start(relative, MAX_JSON_BYTES + 1)
            )
        return self._json[relative]

    def tensors(self, relative: str) -> Mapping[str, TensorInfo]:
        return self._safetensors(relative).tensors

    def metadata(self, relative: str) -> Mapping[str, str]:
        return self._safetensors(relative).metadata

    def gguf(self, relative: str) -> GgufHeader:
        if relative not in self._gguf:
            self._gguf[relative] = self._header(relative, read_gguf_header)
        return self._gguf[relative]

    def _safetensors(self, relative: str) -> Header:
        if relative not in self._headers:
            self._headers[relative] = self._header(relative, read_header)
        return self._headers[relative]

    def _header(self, relative: str, read: Callable[[BinaryIO, int], HeaderT]) -> HeaderT:
        size = self._size(relative)
        with self._open_file(self._directory / relative) as file:
            try:
                return read(file, size)
            except ModelBroken as error:
                raise ModelBroken(f"{relative}: {error.message}") from None

    def read_start(self, relative: str, count: int) -> bytes:
        """The first `count` bytes of a file, fewer if it is shorter."""
        self._size(relative)
        chunks: list[bytes] = []
        with self._open_file(self._directory / relative) as file:
            while count > 0 and (chunk := file.read(count)):
                chunks.append(chunk)
                count -= len(chunk)
        return b"".join(chunks)

    def _size(self, relative: str) -> int:
        """Membership in `files` is the guard: a walk found those, so none leaves the folder."""
        if relative not in self._files:
            raise ModelBroken(f"{relative[:200]} is missing")
        return self._files[relative]


def open_on_disk(path: Path, *, within: Path | None = None) -> CheckpointOnDisk:
    """Open one checkpoint. Its links may not leave `within`, by default its own folder.

    Raises ModelBroken when there is none, or when a link leaves.
    """
    candidate = scan_one(path, within)
    if candidate is None:
        raise ModelBroken(f"{path.name} is not there, or cannot be read")
    if candidate.problem is not None:
        raise ModelBroken(candidate.problem)
    return CheckpointOnDisk(candidate)


def _parse_object(relative: str, raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_JSON_BYTES:
        raise ModelBroken(f"{relative} is larger than {MAX_JSON_BYTES} bytes; it is not read")
    try:
        value = json.loads(raw)
    except RecursionError:
        raise ModelBroken(f"{relative} is nested too deeply") from None
    except ValueError as error:
        raise ModelBroken(f"{relative} is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise ModelBroken(f"{relative} is not a JSON object")
    return value
