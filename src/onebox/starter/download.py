"""Fetch one file: resumed where it broke off, and there only once its SHA-256 is the right one."""

from __future__ import annotations

import hashlib
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onebox.starter.errors import PullFailed, SourceUnreachable, WrongContents
from onebox.starter.progress import Progress, human_bytes

if TYPE_CHECKING:
    import httpx2

_BLOCK_BYTES = 1 << 20
_TRIES_WITHOUT_A_BYTE = 4
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
# Nobody publishes a larger single file; an endless answer must not fill the disk.
_MAX_BYTES = 1 << 40


class Remote(NamedTuple):
    """A file somewhere. `size_bytes` is 0 and `sha256` empty where its place does not tell."""

    url: str
    sha256: str = ""
    size_bytes: int = 0


class _Answer(NamedTuple):
    """Where the bytes begin in the file, how many come (0: unknown), and the bytes."""

    start: int
    rest_bytes: int
    blocks: Iterator[bytes]


def fetch(
    client: httpx2.Client,
    remote: Remote,
    target: Path,
    progress: Progress,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Bring the file to `target`, which appears whole or not at all.

    What arrived stays beside it under a hidden name until the rest has come, also over a restart.

    Raises:
        WrongContents: the SHA-256 differs; what came is deleted.
        SourceUnreachable: no answer, several times in a row.
        PullFailed: the source refuses, or the disk is too small.
    """
    name = hashlib.sha256((remote.sha256 or remote.url).encode()).hexdigest()[:16]
    partial = target.with_name(f".{name}.part")
    if partial.exists() and 0 < remote.size_bytes < partial.stat().st_size:
        partial.unlink()
    require_space(target.parent, remote.size_bytes - _size(partial))
    _bring(client, remote, partial, progress, wait)
    verify(partial, remote)
    partial.replace(target)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raises PullFailed when the disk has less than that."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise PullFailed(
            f"{human_bytes(needed_bytes)} are needed in {folder} and {human_bytes(free_bytes)} "
            "are free; make room, or set MODEL_DIRS to a larger disk"
        )


def verify(path: Path, remote: Remote) -> None:
    """Raises WrongContents, and deletes the file, unless it has the size and SHA-256 it should."""
    received_bytes = _size(path)
    problem = ""
    if remote.size_bytes and received_bytes != remote.size_bytes:
        problem = f"has {received_bytes} bytes instead of {remote.size_bytes}"
    elif remote.sha256:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != remote.sha256:
            problem = f"has the SHA-256 {digest} instead of {remote.sha256}"
    if problem:
        path.unlink(missing_ok=True)
        raise WrongContents(f"what came from {shown(remote.url)} {problem}; it was deleted")


def shown(url: str) -> str:
    """The address without user name and password, query and fragment."""
    parts = urllib.parse.urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, place, parts.path, "", ""))


def local_path(url: str) -> Path:
    """The file that a `file:` address means."""
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))


def _bring(
    client: httpx2.Client,
    remote: Remote,
    partial: Path,
    progress: Progress,
    wait: Callable[[float], None],
) -> None:
    """Append until the end, starting again where the connection broke."""
    import httpx2

    failures = 0
    while True:
        before = _size(partial)
        try:
            _append(client, remote, partial, progress)
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            raise PullFailed(f"{shown(remote.url)} answers with status {status}") from error
        except httpx2.TransportError as error:
            failures = 0 if _size(partial) > before else failures + 1
            if failures >= _TRIES_WITHOUT_A_BYTE:
                raise SourceUnreachable(
                    f"{shown(remote.url)} does not answer ({type(error).__name__}: {error}); "
                    "what came so far is kept, so try again"
                ) from error
            wait(float(2**failures))
        except OSError as error:
            raise PullFailed(f"{shown(remote.url)} cannot be fetched: {error}") from error
        else:
            return


def _append(client: httpx2.Client, remote: Remote, partial: Path, progress: Progress) -> None:
    have = _size(partial)
    progress.at(have)
    if remote.size_bytes and have == remote.size_bytes:
        return
    with _opened(client, remote.url, have) as (start, rest, blocks), partial.open("ab") as file:
        file.truncate(start)
        progress.expect(start + rest)
        limit = remote.size_bytes or _MAX_BYTES
        for block in blocks:
            start += len(block)
            if start > limit:
                file.truncate(0)
                raise WrongContents(f"{shown(remote.url)} sends more than {limit} bytes")
            file.write(block)
            progress.at(start)


@contextmanager
def _opened(client: httpx2.Client, url: str, have: int) -> Iterator[_Answer]:
    """A server that knows no ranges starts at 0."""
    if url.startswith("file:"):
        path = local_path(url)
        with path.open("rb") as file:
            rest = max(0, path.stat().st_size - have)
            yield _Answer(file.seek(have), rest, iter(lambda: file.read(_BLOCK_BYTES), b""))
        return
    # As it is: a compressed answer has no byte ranges.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as answer:
        if have and answer.status_code == _RANGE_NOT_SATISFIABLE:
            yield _Answer(have, 0, iter(()))  # nothing is left; `verify` says whether that is so
            return
        answer.raise_for_status()
        start = have if answer.status_code == _PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length") or ""
        rest = int(length) if length.isdecimal() else 0
        # In pieces as they come: blocks of a size would be lost with the connection.
        yield _Answer(start, rest, answer.iter_bytes())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
