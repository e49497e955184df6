"""Encoder `vectors`: many vectors to the JSON of an embeddings answer."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output

# Numbers of a result that are written at once, in a fraction of a millisecond.
QUICK_NUMBERS = 1024
BLOCK_ROWS = 64
# Below the smallest exponent numbers lie 1.4e-45 apart.
SMALLEST_DIGITS = 45


class VectorsEncoder(Encoder):
    """`value`: {"vectors": float32 [texts, dimensions], "usage": …}. The option `format` is "float"
    or "base64", little-endian float32.
    """

    kind = "vectors"

    def is_quick(self, output: Output) -> bool:
        return int(output.value["vectors"].size) <= QUICK_NUMBERS

    def encode(self, output: Output) -> Artifact:
        write = _base64 if output.options.get("format") == "base64" else _numbers
        # Row by row, so that the engine's thread is not kept waiting by one long call.
        items = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}' % (index, text)
            for index, text in enumerate(write(output.value["vectors"]))
        )
        usage = msgspec.json.encode(output.value["usage"])
        body = b'{"data":[%b],"usage":%b}' % (items, usage)
        return Artifact("application/json", body, None, output.meta)


def _numbers(vectors: Any) -> Iterator[bytes]:
    for start in range(0, len(vectors), BLOCK_ROWS):
        for row in _short(vectors[start : start + BLOCK_ROWS]):
            yield msgspec.json.encode(row.tolist())


def _base64(vectors: Any) -> Iterator[bytes]:
    for row in vectors:
        yield b'"%b"' % base64.b64encode(row.astype("<f4").tobytes())


def _short(vectors: Any) -> Any:
    """As float64 with eight or nine digits, which is what a float32 needs to be read back the same.

    Without this each number would be written with the seventeen digits of its float64.
    """
    import numpy as np

    exponents = (np.ascontiguousarray(vectors).view(np.uint32) >> 23) & 0xFF
    scale = _scales()[exponents]
    with np.errstate(all="ignore"):
        return np.rint(vectors * scale) / scale


@functools.cache
def _scales() -> Any:
    """For each exponent e of a float32 the power of ten that makes 2**e a number of eight digits:
    then the numbers there lie more than one apart.
    """
    import numpy as np

    powers = [10.0 ** (7 - math.floor(math.log10(2.0 ** (e - 127)))) for e in range(1, 256)]
    return np.array([10.0**SMALLEST_DIGITS, *powers])


ENCODERS.register(VectorsEncoder.kind, VectorsEncoder())
