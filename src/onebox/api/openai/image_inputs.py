"""Pictures that a request names by text: data URLs, and links where the operator allows them."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.remote_media import RemoteMedia

MAX_IMAGES = 32
MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
# Base64 of more characters is decoded beside the event loop.
QUICK_CHARS = 256 * 1024


class ImageInputs:
    """Collects the pictures of one request, in the order in which it names them."""

    def __init__(self, *, max_image_bytes: int = MAX_IMAGE_BYTES) -> None:
        self._max_image_bytes = max_image_bytes
        self._named: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._named)

    def add(self, url: str, param: str) -> int:
        """The picture's number. Raises InvalidInput when there are too many."""
        if len(self._named) == MAX_IMAGES:
            raise InvalidInput(
                f"more than {MAX_IMAGES} pictures in one request",
                param=param,
                details={"max": MAX_IMAGES},
            )
        self._named.append((url, param))
        return len(self._named) - 1

    async def load(self, remote: RemoteMedia) -> list[MediaRef]:
        """Their bytes; still encoded pictures of any kind. Raises InvalidInput."""
        loaded: list[MediaRef] = []
        left = MAX_TOTAL_BYTES
        # One after the other, so that what is left is known before each.
        for url, param in self._named:
            loaded.append(await _load(url, param, remote, min(left, self._max_image_bytes)))
            left -= len(loaded[-1].data or b"")
        return loaded


async def _load(url: str, param: str, remote: RemoteMedia, max_bytes: int) -> MediaRef:
    if url[:5].lower() != "data:":
        return await remote.fetch(url, param, max_bytes=max_bytes)
    if len(url) <= QUICK_CHARS:
        return _decoded(url, param, max_bytes)
    return await asyncio.to_thread(_decoded, url, param, max_bytes)


def _decoded(url: str, param: str, max_bytes: int) -> MediaRef:
    # Before the bytes are made: four characters are three of them.
    if len(url) > max_bytes // 3 * 4 + 256:
        raise InvalidInput(
            f"the picture is larger than {max_bytes} bytes (a request may hold "
            f"{MAX_TOTAL_BYTES} in all)",
            param=param,
            details={"max": max_bytes},
        )
    try:
        media = MediaRef.model_validate(url)
    except ValidationError as error:
        told = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidInput(told, param=param) from None
    if not media.media_type.startswith("image/"):
        raise InvalidInput(
            f"a data URL of a picture begins with data:image/…, not data:{media.media_type[:64]}",
            param=param,
        )
    return media
