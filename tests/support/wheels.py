"""Wheels with model files, made in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping


def wheel_of(files: Mapping[str, bytes]) -> bytes:
    """A wheel with these members, in this order."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return memory.getvalue()
