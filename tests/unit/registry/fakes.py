"""Small checkpoints, a fake family and a fake clock."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.registry import HashStore, Registry

TASKS = {"fake": ("text-to-image",), "fake-lm": ("chat",)}


class FakeFamily(Family):
    """Claims what holds a tensor called `marker`, or a `model_index.json` of its own class."""

    def __init__(self, name: str = "fake", marker: str = "marker") -> None:
        self.called = name
        self.marker = marker
        self.asked: list[str] = []
        self.names: list[str] = []

    def matches(self, on_disk: OnDisk) -> Match | None:
        self.asked.append(on_disk.path.name)
        self.names.append(on_disk.name)
        for relative in on_disk.files:
            if relative == "model_index.json":
                return self._from_index(on_disk.read_json(relative))
            if relative.endswith(".safetensors") and self.marker in on_disk.tensors(relative):
                return Match(kind="Marked", facts={"size": (64, 64)})
        return None

    def _from_index(self, index: Mapping[str, Any]) -> Match:
        if index.get("_class_name") != "FakePipeline":
            raise ModelBroken(f"{index.get('_class_name')} is not on the allow-list")
        return Match(kind="FakePipeline", facts={})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return 0

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise NotImplementedError


class Clock:
    def __init__(self) -> None:
        self.now = 2_000_000_000.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """Opens files, except those whose name is in `unreadable`."""

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self.opened: list[str] = []

    def __call__(self, path: Path) -> BinaryIO:
        self.opened.append(path.name)
        if path.name in self.unreadable:
            raise PermissionError(13, "Permission denied", str(path))
        return path.open("rb", buffering=0)


def header_bytes(header: Any) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw


def weights(payload: bytes = b"12345678", marker: str = "marker") -> bytes:
    """A whole safetensors file with one tensor."""
    tensor = {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}
    return header_bytes({marker: tensor}) + payload


def put(path: Path, content: bytes | str, *, age_s: float | None = 100.0) -> Path:
    """Write a file that was, as far as its time tells, written `age_s` before the fake clock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if age_s is not None:
        when = Clock().now - age_s
        os.utime(path, (when, when))
    return path


def put_pipeline(folder: Path, payload: bytes = b"12345678", name: str = "FakePipeline") -> Path:
    put(folder / "model_index.json", json.dumps({"_class_name": name}))
    put(folder / "unet" / "config.json", "{}")
    put(folder / "unet" / "model.safetensors", weights(payload))
    put(folder / "tokenizer" / "merges.txt", "a b")
    return folder


class Bench:
    """A registry over one folder with a fake clock, driven by hand: no thread runs."""

    def __init__(self, folder: Path, cache: Path, **options: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.disk = Disk()
        self.family = FakeFamily()
        self.store = HashStore(cache)
        settings: dict[str, Any] = {
            "scan_interval_s": 10.0,
            "aliases": {},
            "task_aliases": {},
            "default_models": {},
            "families": {"fake": self.family},
            "tasks_of": lambda family, own: TASKS[family],
            "open_file": self.disk,
            "clock": self.clock,
            "settle_s": 0.5,
        }
        self.registry = Registry([folder], self.store, **(settings | options))

    def scan(self, after_s: float = 0.0) -> dict[str, Entry]:
        self.clock.now += after_s
        self.registry.rescan()
        return self.entries()

    def settle(self) -> dict[str, Entry]:
        """Scan, let time pass, scan, hash: what a change leads to."""
        self.scan()
        self.scan(after_s=1.0)
        self.registry.hash_now()
        return self.entries()

    def entries(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.registry.entries()}
