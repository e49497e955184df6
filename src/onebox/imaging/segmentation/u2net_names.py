"""The convolutions of U²-Net by name: what a checkpoint of it must have, known without torch.

Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection" (2020). The
names are those of its authors' files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

SIDES = 6
PARTS = ("weight", "bias")
# Stage → levels of its own little U, in the order in which they run.
STAGES = {
    "stage1": 7,
    "stage2": 6,
    "stage3": 5,
    "stage4": 4,
    "stage5": 4,
    "stage6": 4,
    "stage5d": 4,
    "stage4d": 4,
    "stage3d": 5,
    "stage2d": 6,
    "stage1d": 7,
}
# These stay at one size and look farther by dilation instead of pooling.
FLAT = frozenset({"stage5", "stage6", "stage5d"})


def units(levels: int) -> Iterator[str]:
    """The convolutions of a stage in the order in which they run."""
    yield "rebnconvin"
    yield from (f"rebnconv{level}" for level in range(1, levels + 1))
    yield from (f"rebnconv{level}d" for level in range(levels - 1, 0, -1))


def convolutions() -> Iterator[str]:
    """Every convolution in the order in which it runs, but for the sides and the last one."""
    for stage, levels in STAGES.items():
        for unit in units(levels):
            yield f"{stage}.{unit}.conv_s1"


def heads() -> Iterator[str]:
    yield from (f"side{number}" for number in range(1, SIDES + 1))
    yield "outconv"


def looks_like_u2net(names: Collection[str]) -> bool:
    return "stage1.rebnconvin.conv_s1.weight" in names and "side6.weight" in names


def missing(names: Collection[str]) -> list[str]:
    """What a checkpoint that looks like one lacks."""
    wanted = [f"{name}.{part}" for name in (*convolutions(), *heads()) for part in PARTS]
    return [name for name in wanted if name not in names]
