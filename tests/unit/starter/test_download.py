"""One file: resumed, verified, and there only when it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from onebox.starter.download import Remote, fetch, shown
from onebox.starter.errors import PullFailed, SourceUnreachable, WrongContents
from onebox.starter.progress import Progress
from tests.support.shelf import Shelf

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=60) as client:
        yield client


def test_a_file_comes_whole(shelf: Shelf, client: httpx2.Client, tmp_path: Path) -> None:
    progress, target = Progress(), tmp_path / "x"
    fetch(client, Remote(shelf.put("/x", BODY), SHA256), target, progress)
    assert target.read_bytes() == BODY
    assert (progress.done, progress.total) == (len(BODY), len(BODY))
    assert list(tmp_path.iterdir()) == [target]


def test_a_broken_connection_goes_on_where_it_stopped(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    remote = Remote(shelf.put("/x", BODY, breaks=[1000, 500]), SHA256, len(BODY))
    fetch(client, remote, tmp_path / "x", Progress(), wait=lambda _: None)
    assert (tmp_path / "x").read_bytes() == BODY
    assert shelf.ranges_of("/x") == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_pull_goes_on_with_what_an_earlier_one_left(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    remote = Remote(shelf.put("/x", BODY, breaks=[1000, 0, 0, 0, 0]), SHA256)
    waits: list[float] = []
    with pytest.raises(SourceUnreachable, match="try again"):
        fetch(client, remote, tmp_path / "x", Progress(), wait=waits.append)
    assert waits == sorted(waits)
    assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
    shelf.asked.clear()
    fetch(client, remote, tmp_path / "x", Progress())
    assert shelf.ranges_of("/x") == ["bytes=1000-"]
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_file_with_another_hash_is_refused_and_nothing_is_left(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    remote = Remote(shelf.put("/x", BODY + b"!"), SHA256)
    with pytest.raises(WrongContents, match=SHA256):
        fetch(client, remote, tmp_path / "x", Progress())
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_sends_all_again(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    remote = Remote(shelf.put("/x", BODY, breaks=[700], ranges=False), SHA256)
    fetch(client, remote, tmp_path / "x", Progress(), wait=lambda _: None)
    assert (tmp_path / "x").read_bytes() == BODY


def test_an_answer_longer_than_announced_is_cut_off(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    remote = Remote(shelf.put("/x", BODY), "", 100)
    with pytest.raises(WrongContents, match="more than 100 bytes"):
        fetch(client, remote, tmp_path / "x", Progress())
    assert not (tmp_path / "x").exists()


def test_a_file_larger_than_the_disk_is_not_asked_for(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    with pytest.raises(PullFailed, match="make room"):
        fetch(client, Remote(shelf.put("/x", BODY), "", 1 << 60), tmp_path / "x", Progress())
    assert shelf.asked == []


def test_a_status_is_told_and_not_tried_again(
    shelf: Shelf, client: httpx2.Client, tmp_path: Path
) -> None:
    with pytest.raises(PullFailed, match="status 404"):
        fetch(client, Remote(shelf.url + "/none"), tmp_path / "x", Progress())
    assert len(shelf.asked) == 1


def test_a_file_on_this_machine_is_copied(client: httpx2.Client, tmp_path: Path) -> None:
    source = tmp_path / "a b.bin"
    source.write_bytes(BODY)
    fetch(client, Remote(source.as_uri(), SHA256), tmp_path / "x", Progress())
    assert (tmp_path / "x").read_bytes() == BODY


def test_an_address_is_shown_without_its_secrets() -> None:
    assert shown("https://me:secret@host:8/a/b?token=x#y") == "https://host:8/a/b"
