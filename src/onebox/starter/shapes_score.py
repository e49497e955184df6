"""Says what a picture of `onebox-shapes` shows: colours, shape, count, size and place.

Nothing here is learned: colours are the nearest of a table, a shape is the best of a few
drawn templates. Plain functions of numpy arrays and Pillow images; no torch.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onebox.starter.shapes_data import COLOURS, COUNTS, IMAGE_SIZE, SHAPES, Placement, Scene, draw

Mask = NDArray[np.bool_]

UNKNOWN = "unknown"
WORK_SIZE = 128  # pixels; pictures are looked at in this size
MAX_COLOUR_DISTANCE = 80.0  # RGB units; a pixel farther from every colour has none
MIN_AREA = 0.005  # share of the picture; a smaller patch is dirt, not a shape
MIN_OVERLAP = 0.7  # intersection over union; below it a patch is no known shape
TEMPLATE_SIZE = 48  # pixels
# How many radii a shape is wide or high, whichever is more.
WIDTHS = {"circle": 2.0, "ring": 2.0, "square": 1.8, "triangle": 2.1, "star": 2.3, "cross": 2.3}
TEMPLATE_ANGLES = (-12, -8, -4, 0, 4, 8, 12)  # degrees


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    """The picture as (WORK_SIZE, WORK_SIZE, 3) RGB values from 0 to 255."""
    small = image.convert("RGB").resize((WORK_SIZE, WORK_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def colour_index(image: Image.Image) -> NDArray[np.int64]:
    """For every pixel the index of its colour in COLOURS, or -1 where none is near."""
    table = np.array(list(COLOURS.values()), dtype=np.float32)
    distances = np.linalg.norm(_pixels(image)[:, :, None, :] - table, axis=-1)
    nearest = distances.argmin(axis=-1)
    return np.where(distances.min(axis=-1) <= MAX_COLOUR_DISTANCE, nearest, -1)


def dominant_colours(image: Image.Image) -> tuple[str, str]:
    """(foreground, background) colour names; UNKNOWN where there is none.

    The background is the commonest colour of the border, the foreground the commonest
    other colour of the whole picture.
    """
    names = [*COLOURS, UNKNOWN]
    index = colour_index(image)
    border = np.concatenate(
        [index[:6].ravel(), index[-6:].ravel(), index[:, :6].ravel(), index[:, -6:].ravel()]
    )
    background = _commonest(border)
    rest = index[(index != background) & (index >= 0)]
    enough = rest.size >= MIN_AREA * index.size
    return names[_commonest(rest) if enough else -1], names[background]


def _commonest(index: NDArray[np.int64]) -> int:
    return int(np.bincount(index.ravel() + 1, minlength=len(COLOURS) + 1).argmax()) - 1


def foreground_mask(image: Image.Image) -> Mask:
    """Where the picture differs from its border colour: (WORK_SIZE, WORK_SIZE).

    The limit lies half-way between the border colour and the colour that is farthest off,
    so that softened edges are cut in their middle.
    """
    pixels = _pixels(image)
    border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3)])
    distance = np.linalg.norm(pixels - np.median(border, axis=0), axis=-1)
    top = float(np.percentile(distance, 99.5))
    mask: Mask = distance > max(top / 2, 25.0)
    return mask


def patches(mask: Mask) -> list[Mask]:
    """The connected patches of a mask (four neighbours), largest first, dirt left out."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found: list[Mask] = []
    while left:
        stack, cells = [left.pop()], []
        while stack:
            y, x = stack.pop()
            cells.append((y, x))
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    stack.append(near)
        patch = np.zeros_like(mask)
        patch[tuple(np.array(cells).T)] = True
        found.append(patch)
    found = [p for p in found if p.mean() >= MIN_AREA]
    return sorted(found, key=lambda p: -int(p.sum()))


def normalised(patch: Mask) -> Mask:
    """The patch moved to the middle and scaled to one spread: (TEMPLATE_SIZE, TEMPLATE_SIZE)."""
    ys, xs = np.nonzero(patch)
    centre = np.array([ys.mean(), xs.mean()])
    spread = float(np.sqrt(((ys - centre[0]) ** 2 + (xs - centre[1]) ** 2).mean()))
    steps = (np.arange(TEMPLATE_SIZE) + 0.5) / TEMPLATE_SIZE * 2 - 1
    grid = np.rint(centre[:, None] + steps * max(spread, 1.0) * 2.2).astype(int)
    inside = (grid >= 0) & (grid < patch.shape[0])
    rows, columns = np.clip(grid, 0, patch.shape[0] - 1)
    window: Mask = patch[np.ix_(rows, columns)] & np.outer(inside[0], inside[1])
    return window


@cache
def _templates() -> tuple[tuple[str, Mask], ...]:
    middle = IMAGE_SIZE / 2
    made = []
    for shape in SHAPES:
        for angle in TEMPLATE_ANGLES:
            scene = Scene("white", shape, "black", (Placement(middle, middle, 90, angle),))
            made.append((shape, normalised(_pixels(draw(scene)).mean(axis=-1) > 128)))
    return tuple(made)


def classify_shape(image: Image.Image) -> str:
    """The shape whose template covers the largest patch best, or UNKNOWN."""
    found = patches(foreground_mask(image))
    return classify_patch(found[0]) if found else UNKNOWN


def classify_patch(patch: Mask) -> str:
    """The shape whose template has the highest overlap with the patch, or UNKNOWN."""
    window = normalised(patch)
    best, name = max((_overlap(window, template), shape) for shape, template in _templates())
    return name if best >= MIN_OVERLAP else UNKNOWN


def _overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max(int((a | b).sum()), 1))


def count_shapes(image: Image.Image) -> int:
    """How many separate patches there are."""
    return len(patches(foreground_mask(image)))


def place_and_size(image: Image.Image) -> tuple[float, float, float]:
    """(x, y, extent) of the largest patch, each a share of the side; zeros where none is.

    x and y are its centre; the extent is the longer side of its bounding box.
    """
    found = patches(foreground_mask(image))
    if not found:
        return (0.0, 0.0, 0.0)
    ys, xs = np.nonzero(found[0])
    extent = max(np.ptp(ys), np.ptp(xs)) + 1
    side = found[0].shape[0]
    return (float(xs.mean() / side), float(ys.mean() / side), float(extent / side))


def shows_word(image: Image.Image, word: str) -> bool:
    """Whether the picture agrees with a word for size, position or count.

    The limits lie between what training pictures with and without the word have.
    """
    x, y, extent = place_and_size(image)
    size = extent / WIDTHS.get(classify_shape(image), 2.0)
    checks = {
        "small": 0 < size < 0.175,
        "large": size > 0.325,
        "on the left": 0 < x < 0.4,
        "on the right": x > 0.6,
        "at the top": 0 < y < 0.4,
        "at the bottom": y > 0.6,
        "in the center": abs(x - 0.5) < 0.1 and abs(y - 0.5) < 0.1,
    }
    numbers = {name: number for number, name in COUNTS.items()}
    return count_shapes(image) == numbers[word] if word in numbers else checks[word]
