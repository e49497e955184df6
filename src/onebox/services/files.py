"""Results kept for a while behind signed links."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onebox.core.audio_types import AUDIO_TYPES
from onebox.core.errors import Unauthorized
from onebox.core.results import Artifact

EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "application/zip": "zip",
    **{AUDIO_TYPES[name]: name for name in AUDIO_TYPES},
}
_NAME = re.compile(r"^[0-9a-f]{32}\.[a-z0-9]{2,4}$")
ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class StoredFile:
    path: Path
    media_type: str


class FileStore:
    """Keeps artifacts under random names and hands out links that expire. Safe from any thread.

    Args:
        secret: what the links are signed with (a key derived from it is used, never itself).
        ttl_s: how long a link works; files older than that are deleted.
    """

    def __init__(
        self, folder: Path, secret: str, *, ttl_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = hmac.new(secret.encode(), b"onebox file links", hashlib.sha256).hexdigest()
        self._ttl_s = ttl_s
        self._clock = clock

    def put(self, artifact: Artifact) -> str:
        """Store an artifact and return its signed name, good for `/files/{signed}`."""
        from jose import jwt

        assert artifact.data is not None
        self._delete_expired()
        name = f"{secrets.token_hex(16)}.{EXTENSIONS.get(artifact.media_type, 'bin')}"
        partial = self._folder / f"{name}.part"
        partial.write_bytes(artifact.data)
        partial.replace(self._folder / name)
        claims = {"file": name, "exp": int(self._clock() + self._ttl_s)}
        return str(jwt.encode(claims, self._key, algorithm=ALGORITHM))

    def open(self, signed: str) -> StoredFile:
        """Raises Unauthorized for an altered, malformed or expired link, or a file that is gone."""
        from jose import JWTError, jwt

        refusal = Unauthorized("the link is not valid, or has expired")
        try:
            claims = jwt.decode(
                signed, self._key, algorithms=[ALGORITHM], options={"require_exp": True}
            )
        except (JWTError, ValueError, TypeError, RecursionError):
            raise refusal from None
        name = claims.get("file")
        if not isinstance(name, str) or not _NAME.match(name):
            raise refusal
        path = self._folder / name
        if not path.is_file():
            raise refusal
        media_types = {extension: media_type for media_type, extension in EXTENSIONS.items()}
        return StoredFile(path, media_types.get(path.suffix[1:], "application/octet-stream"))

    def _delete_expired(self) -> None:
        oldest = self._clock() - self._ttl_s
        for path in self._folder.iterdir():
            # Another thread may have deleted it, or have given it its name.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
