from __future__ import annotations

import hashlib
import io
import threading

import pytest

from onebox.registry.fingerprint import Stopped, sha256_of_file, sha256_of_manifest


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_files_id_is_the_sha256_of_its_bytes(size: int) -> None:
    content = b"x" * size
    assert sha256_of_file(io.BytesIO(content)) == hashlib.sha256(content).hexdigest()


def test_a_folders_id_is_the_sha256_of_its_manifest() -> None:
    manifest = '["a b/ü.json",2,"11"]\n["model.bin",1,"22"]\n'
    files = [("model.bin", 1, "22"), ("a b/ü.json", 2, "11")]
    assert sha256_of_manifest(files) == hashlib.sha256(manifest.encode()).hexdigest()


def test_a_file_name_cannot_pass_for_two_lines() -> None:
    one = sha256_of_manifest([('a",1,"00"]\n["b', 1, "00")])
    assert one != sha256_of_manifest([("a", 1, "00"), ("b", 1, "00")])


def test_stops_between_blocks() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        sha256_of_file(io.BytesIO(b"x"), stop)
