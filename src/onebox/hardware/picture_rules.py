"""What devices get wrong with pictures, and what is done about it: the one place for such rules.

| rule | why |
|---|---|
| random numbers come from the CPU on every device | the same seed gives the same noise anywhere |
| the decoder in float32 where half precision overflows | black pictures (`dtype_policy`) |
| on MPS one picture a call | batches have come out wrong (diffusers issues 1056, 2521) |
| numbers that are none, or a black picture: once more in float32 | half precision overflowed |
| still no numbers: an error that says so | never a black picture as if it were a result |
| no float64 anywhere | MPS has none |
"""

from __future__ import annotations

from onebox.core.contracts import Device, DeviceKind, DtypeName
from onebox.core.errors import InferenceFailed

GENERATOR_DEVICE = "cpu"
# Pixels that one call may work on: a batch of small pictures costs little more than one of them,
# while big ones fill the device alone.
BATCH_PIXELS: dict[DeviceKind, int] = {"cpu": 4 * 512 * 512}
OTHER_BATCH_PIXELS = 8 * 1024 * 1024
MAX_BATCH = 8
FULL_PRECISION: DtypeName = "float32"


def batch_size(device: Device, pixels: int) -> int:
    """How many pictures of so many pixels one call may draw on the device."""
    if device.kind == "mps":
        return 1
    limit = BATCH_PIXELS.get(device.kind, OTHER_BATCH_PIXELS)
    return max(1, min(MAX_BATCH, limit // max(1, pixels)))


def may_retry(dtypes: set[str]) -> bool:
    """Whether weights of these dtypes may come out otherwise in full precision.

    Those that are no floating point numbers are quantised, and stay as they are.
    """
    halves = {"float16", "bfloat16"}
    return bool(dtypes & halves) and dtypes <= halves | {FULL_PRECISION}


def no_numbers(model: str, device: Device) -> InferenceFailed:
    """What the client is told when full precision gave no numbers either."""
    return InferenceFailed(
        f"{model} computed values that are no numbers on {device.id}, also in "
        f"{FULL_PRECISION}; its weights are damaged, or its settings are out of their range (a "
        "lower guidance_scale, another scheduler)",
        should_retry=False,
    )
