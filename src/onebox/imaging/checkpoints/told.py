"""Which kind a file is of those that no shape tells apart, by what it says of itself.

First its metadata in the words of Stability's ModelSpec, as trainers write them; last its name.
None of it is trusted with more than the choice between kinds of the same shapes, and the owner's
`onebox.toml` stands above it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Side in pixels in a file's name, as a word of its own.
_LARGE = re.compile(r"(?<!\d)768(?!\d)|(?<![a-z])v-?pred|(?<![a-z])v-ema", re.IGNORECASE)
_SMALL = re.compile(r"(?<!\d)512(?!\d)|(?<![\da-z])v?2([-_.][01])?[-_.]base", re.IGNORECASE)
_KONTEXT = re.compile("kontext", re.IGNORECASE)
_TITLES = ("modelspec.architecture", "modelspec.title")
# What tells the size, the surest first.
_SIZES = ("modelspec.architecture", "modelspec.resolution", "modelspec.title")
# ComfyUI writes the second.
_PREDICTIONS = ("modelspec.prediction_type", "modelspec.predict_key")


def told(tree: str, metadata: Mapping[str, str], name: str) -> str | None:
    """The kin of a tree that a file says it is; None where it says none.

    Args:
        metadata: those of the file that begin with "modelspec.".
        name: of the file.
    """
    if tree == "flux-dev":
        texts = (*(metadata.get(key, "") for key in _TITLES), name)
        return "flux-kontext" if any(map(_KONTEXT.search, texts)) else None
    if tree == "sd2":
        return "sd2-base" if _is_small(metadata, name) else None
    return None


def predicts_velocity(metadata: Mapping[str, str]) -> bool | None:
    """Whether a file says that its model predicts v, not the noise; None where it says neither."""
    said = next((metadata[key].lower() for key in _PREDICTIONS if key in metadata), "")
    return {"v": True, "v_prediction": True, "epsilon": False, "eps": False}.get(said)


def _is_small(metadata: Mapping[str, str], name: str) -> bool:
    """Whether a Stable Diffusion 2 predicts the noise, as the one of 512 pixels does."""
    velocity = predicts_velocity(metadata)
    if velocity is not None:
        return not velocity
    for text in (*(metadata.get(key, "") for key in _SIZES), name):
        if _LARGE.search(text):
            return False
        if _SMALL.search(text):
            return True
    return False
