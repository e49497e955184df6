"""From what a model saw to an alpha matte, and how far that can be trusted."""

from __future__ import annotations

from typing import Any

# From this probability on a pixel is in the foreground.
SURE = 0.5
_LEAST_SPREAD = 1e-6


def matte_of(seen: Any, size: tuple[int, int], *, stretched: bool) -> Any:
    """A Pillow image "L" of this size: 255 where the foreground is, 0 where it is not.

    Args:
        seen: probabilities [height, width], of the whole picture in any size.
        stretched: the least of them becomes 0 and the greatest 255.
    """
    import numpy as np
    from PIL import Image

    if stretched:
        least, greatest = float(seen.min()), float(seen.max())
        seen = (seen - least) / max(greatest - least, _LEAST_SPREAD)
    small = Image.fromarray(np.rint(seen * 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.LANCZOS)


def confidence(seen: Any) -> float:
    """Mean probability of the pixels that count as foreground; 0 if none does."""
    sure = seen[seen >= SURE]
    return float(sure.mean()) if sure.size else 0.0


def edge_sharpness(seen: Any) -> float:
    """How abruptly the foreground ends: 1 from one pixel of the model to the next, 0 not at all.

    The mean step between neighbours that lie on the two sides of its outline.
    """
    import numpy as np

    steps = []
    for rows in (seen, seen.T):
        one, other = rows[:-1], rows[1:]
        across = (one >= SURE) != (other >= SURE)
        steps.append(np.abs(one - other)[across])
    every = np.concatenate(steps)
    return float(every.mean()) if every.size else 0.0
