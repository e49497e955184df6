"""Find a wheel in a package index: the pages of PEP 503 (HTML) and PEP 691 (JSON)."""

from __future__ import annotations

import html.parser
import json
import os
import ssl
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from onebox.starter.download import Remote, local_path, shown
from onebox.starter.errors import PullFailed, SourceUnreachable
from onebox.starter.index_settings import IndexSettings

if TYPE_CHECKING:
    import httpx2

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"
_MAX_PAGE_BYTES = 64 * 1024 * 1024
_NOT_FOUND = (404, 410)
_TIMEOUT_S = 15.0
_READ_TIMEOUT_S = 60.0


class Wheel(NamedTuple):
    """One wheel that an index offers."""

    file_name: str
    version: Version
    remote: Remote
    yanked: bool


class Listed(NamedTuple):
    """One file of a page, of whatever kind."""

    file_name: str
    remote: Remote
    yanked: bool


def open_client(settings: IndexSettings) -> httpx2.Client:
    """For pages and files. Follows redirects; a password goes to no other host."""
    import httpx2

    verify: ssl.SSLContext | bool = True
    if settings.cert:
        verify = ssl.create_default_context(cafile=settings.cert)
    timeout = httpx2.Timeout(_TIMEOUT_S, read=_READ_TIMEOUT_S)
    return httpx2.Client(
        verify=verify, proxy=settings.proxy, timeout=timeout, follow_redirects=True
    )


def find_wheel(
    client: httpx2.Client, settings: IndexSettings, package: str, version: str | None
) -> Wheel:
    """The newest wheel that fits this machine, or the one of that version.

    Raises:
        SourceUnreachable: there is none, and an index did not answer.
        PullFailed: there is none.
    """
    wanted = _parsed(version)
    offered: list[Wheel] = []
    silent: list[str] = []
    for page in _pages(settings, package):
        try:
            offered += _wheels(_listed(client, page), package)
        except SourceUnreachable as error:
            silent.append(error.message)
    fitting = [wheel for wheel in offered if _fits(wheel, wanted)]
    if fitting:
        return max(fitting, key=lambda wheel: (wheel.version, bool(wheel.remote.sha256)))
    name = f"{package} {version}" if version else package
    if silent:
        raise SourceUnreachable(f"no wheel of {name}: {'; '.join(silent)}")
    known = ", ".join(sorted({str(wheel.version) for wheel in offered})[-5:])
    raise PullFailed(
        f"no wheel of {name} for this Python"
        + (f"; there are {known}" if known else " in the package index")
    )


def parse_page(text: str, url: str, *, is_json: bool) -> list[Listed]:
    """Every file that a page lists."""
    if is_json:
        return [_of_json(file, url) for file in _files_of_json(text, url)]
    reader = _Anchors(url)
    reader.feed(text)
    return reader.found


def _parsed(version: str | None) -> Version | None:
    try:
        return Version(version) if version else None
    except InvalidVersion:
        raise PullFailed(f"{version!r} is not a version, as in 1.0.2") from None


def _fits(wheel: Wheel, wanted: Version | None) -> bool:
    if wanted is not None:
        return wheel.version == wanted
    return not wheel.yanked and not wheel.version.is_prerelease


def _pages(settings: IndexSettings, package: str) -> Iterable[str]:
    for index in settings.indexes:
        yield f"{index.rstrip('/')}/{canonicalize_name(package)}/"
    for place in settings.find_links:
        is_address = urllib.parse.urlsplit(place).scheme in ("http", "https", "file")
        yield place if is_address else Path(place).absolute().as_uri()


def _wheels(files: Iterable[Listed], package: str) -> list[Wheel]:
    name, tags = canonicalize_name(package), frozenset(sys_tags())
    found = []
    for file_name, remote, yanked in files:
        try:
            its_name, version, _, its_tags = parse_wheel_filename(file_name)
        except InvalidWheelFilename:
            continue  # a source archive, or another program's file
        if its_name == name and tags & its_tags:
            found.append(Wheel(file_name, version, remote, yanked))
    return found


def _listed(client: httpx2.Client, url: str) -> list[Listed]:
    import httpx2

    if url.startswith("file:"):
        return _listed_here(local_path(url))
    try:
        with client.stream("GET", url, headers={"Accept": _ACCEPT}) as answer:
            if answer.status_code in _NOT_FOUND:
                return []
            answer.raise_for_status()
            raw = b""
            for block in answer.iter_bytes():
                raw += block
                if len(raw) > _MAX_PAGE_BYTES:
                    raise PullFailed(f"{shown(url)} is longer than {_MAX_PAGE_BYTES} bytes")
            is_json = "json" in answer.headers.get("content-type", "")
            return parse_page(raw.decode("utf-8", "replace"), str(answer.url), is_json=is_json)
    except (httpx2.TransportError, httpx2.HTTPStatusError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceUnreachable(f"{shown(url)} does not answer ({problem})") from error


def _listed_here(path: Path) -> list[Listed]:
    """A folder of an index has an index.html; one of `find-links` has the wheels themselves."""
    page = path / "index.html" if path.is_dir() else path
    if page.is_file():
        text = page.read_text(encoding="utf-8", errors="replace")
        return parse_page(text, page.absolute().as_uri(), is_json=False)
    if not path.is_dir():
        return []
    files = (Path(entry.path) for entry in os.scandir(path) if entry.name.endswith(".whl"))
    return [
        Listed(file.name, Remote(file.absolute().as_uri(), "", file.stat().st_size), False)
        for file in files
    ]


def _files_of_json(text: str, url: str) -> list[dict[str, Any]]:
    try:
        files = json.loads(text)["files"]
    except (ValueError, KeyError, TypeError, RecursionError):
        files = None
    if not isinstance(files, list):
        raise SourceUnreachable(f"{shown(url)} answers with something that is no package list")
    return [file for file in files if isinstance(file, dict)]


def _of_json(file: dict[str, Any], page: str) -> Listed:
    hashes, size = file.get("hashes"), file.get("size")
    sha256 = hashes.get("sha256", "") if isinstance(hashes, dict) else ""
    remote = Remote(
        urllib.parse.urljoin(page, str(file.get("url", ""))),
        str(sha256).lower(),
        size if isinstance(size, int) else 0,
    )
    return Listed(str(file.get("filename", "")), remote, bool(file.get("yanked")))


class _Anchors(html.parser.HTMLParser):
    """The links of a page: `<a href="….whl#sha256=…" data-yanked>`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page
        self.found: list[Listed] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "a" or not values.get("href"):
            return
        url, fragment = urllib.parse.urldefrag(urllib.parse.urljoin(self._page, values["href"]))
        name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
        kind, _, digest = fragment.partition("=")
        sha256 = digest.lower() if kind == "sha256" else ""
        self.found.append(Listed(name, Remote(url, sha256), "data-yanked" in values))
