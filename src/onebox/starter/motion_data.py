"""Draws the clips that `onebox-shapes-motion` learns from and writes their captions.

A clip is one coloured shape that crosses a plain background, drawn by `shapes_data`. No
torch here.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onebox.starter.shapes_data import (
    IMAGE_SIZE,
    NOWHERE,
    Combination,
    Placement,
    Scene,
    caption_words,
    combinations,
    held_out,
    noun_phrase,
    random_scene,
)

MAX_FRAMES = 16
# The way of one frame to the next as signs of (x, y); y grows downwards.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
REVERSED = {"left": "right", "right": "left", "up": "down", "down": "up"}
# The words of `onebox-shapes` for where a path ends.
ENDS = {"left": "on the left", "right": "on the right", "up": "at the top", "down": "at the bottom"}
REACH = 0.26  # share of the side from the middle to where a path begins and ends
NEW_WORDS = ("moving", "up", "down", "to")


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip shows: one scene a frame, and the word for where the shape goes."""

    scenes: tuple[Scene, ...]
    direction: str | None = None

    @property
    def combination(self) -> Combination:
        return self.scenes[0].combination


def path(direction: str, rng: random.Random, frames: int = MAX_FRAMES) -> tuple[Placement, ...]:
    """Evenly spaced places on a line across the picture; size and turn stay.

    Paths vary little, for the same reason as `shapes_data.place_near`. Begin and end vary
    alike, so that a clip shown backwards is a clip of the opposite direction.
    """
    across, radius, angle = rng.uniform(-8, 8), rng.uniform(38, 46), rng.uniform(-5, 5)
    signs = DIRECTIONS[direction]
    begin, end = (side * REACH * IMAGE_SIZE + rng.uniform(-6, 6) for side in (-1, 1))
    places = []
    for frame in range(frames):
        along = begin + (end - begin) * frame / (frames - 1)
        x, y = (IMAGE_SIZE / 2 + (sign * along if sign else across) for sign in signs)
        places.append(Placement(x, y, radius, angle))
    return tuple(places)


def moving_clip(rng: random.Random, allowed: Sequence[Combination]) -> Clip:
    """A random shape on its way, MAX_FRAMES frames long."""
    colour, shape, background = rng.choice(allowed)
    direction = rng.choice(list(DIRECTIONS))
    scenes = [Scene(colour, shape, background, (place,)) for place in path(direction, rng)]
    return Clip(tuple(scenes), direction)


def training_clips(count: int, seed: int) -> Iterator[Clip]:
    """`count` moving clips, none of them of a held-out combination."""
    rng = random.Random(seed)
    allowed = [c for c in combinations() if c not in held_out()]
    for _ in range(count):
        yield moving_clip(rng, allowed)


def still_scenes(count: int, seed: int) -> Iterator[Scene]:
    """`count` scenes as `onebox-shapes` knows them: what a prompt without a direction shows."""
    rng = random.Random(seed)
    allowed = [c for c in combinations() if c not in held_out()]
    for _ in range(count):
        yield random_scene(rng, allowed)


def clip_caption(combination: Combination, direction: str) -> str:
    """The form that most captions have: `a red circle moving right on a blue background`."""
    return _sentence(combination, f"moving {direction}")


def _sentence(combination: Combination, motion: str) -> str:
    phrase, background = noun_phrase(_scene(combination)), combination[2]
    return f"{phrase} {motion} on {_article(background)} {background} background"


def _scene(combination: Combination) -> Scene:
    return Scene(*combination, places=(NOWHERE,))


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def loose_caption(combination: Combination, direction: str, rng: random.Random) -> str:
    """A caption of a moving clip: mostly the main form, one in eight a looser one."""
    if rng.random() >= 0.125:
        return clip_caption(combination, direction)
    background = combination[2]
    bare = noun_phrase(_scene(combination)).split(" ", 1)[1]
    towards = f"moving to the {direction}" if direction in ("left", "right") else None
    loose = (
        f"{bare} moving {direction}",
        f"{bare} moving {direction}, {background} background",
        f"{bare} moving {direction} on {background}",
        _sentence(combination, towards or f"moving {direction}"),
    )
    return rng.choice(loose)


def motion_words() -> list[str]:
    """Every word that a caption of `onebox-shapes` or of a clip may have, and the comma."""
    return sorted({*caption_words(), *NEW_WORDS})


def clip_prompts(count: int, seed: int) -> list[tuple[Combination, str, str]]:
    """(combination, direction, prompt) of the main form; every fifth combination is held out.

    Each direction has a quarter of the prompts.
    """
    rng = random.Random(seed)
    unseen = sorted(held_out())
    seen = sorted(set(combinations()) - held_out())
    chosen = [rng.choice(unseen if i % 5 == 4 else seen) for i in range(count)]
    directions = [list(DIRECTIONS)[i % len(DIRECTIONS)] for i in range(count)]
    return [(c, d, clip_caption(c, d)) for c, d in zip(chosen, directions, strict=True)]


def ending(text: str, direction: str) -> str:
    """The caption of a moving shape turned into that of the place where its path ends."""
    for motion in (f"moving to the {direction}", f"moving {direction}"):
        text = text.replace(motion, ENDS[direction])
    return text


def helping_words(words: Sequence[str]) -> range:
    """The numbers of the words that stand between the shape and the direction or place."""
    for i, word in enumerate(words):
        if word == "moving":
            return range(i, i + (3 if words[i + 1] == "to" else 1))
        if word in ("on", "at") and words[i + 1] == "the":
            return range(i, i + 2)
    return range(0)
