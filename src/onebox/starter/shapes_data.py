"""Draws the pictures that `onebox-shapes` learns from and writes their captions.

A scene is one to three equal shapes in one colour on a plain background. No torch here.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

IMAGE_SIZE = 256
SUPERSAMPLE = 2

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 25, 30),
    "green": (30, 150, 50),
    "blue": (30, 60, 220),
    "yellow": (250, 225, 40),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "orange": (255, 135, 10),
    "purple": (135, 40, 170),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
SIZES = {"small": (28.0, 36.0), "large": (92.0, 98.0)}
POSITIONS = {
    "on the left": (0.28, 0.5),
    "on the right": (0.72, 0.5),
    "at the top": (0.5, 0.28),
    "at the bottom": (0.5, 0.72),
    "in the center": (0.5, 0.5),
}
COUNTS = {1: "one", 2: "two", 3: "three"}

Point = tuple[float, float]
Combination = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one shape lies: centre and radius in pixels, turn in degrees."""

    x: float
    y: float
    radius: float
    angle: float


NOWHERE = Placement(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows. `size` and `position` are words, None where any would do."""

    colour: str
    shape: str
    background: str
    places: tuple[Placement, ...]
    size: str | None = None
    position: str | None = None

    @property
    def combination(self) -> Combination:
        return (self.colour, self.shape, self.background)


def combinations() -> list[Combination]:
    """All 336 (colour, shape, background) with two different colours, in a fixed order."""
    return [(c, s, b) for c in COLOURS for s in SHAPES for b in COLOURS if c != b]


def held_out() -> frozenset[Combination]:
    """The fixed fifth of the combinations that training never sees."""
    every = combinations()
    return frozenset(random.Random(20).sample(every, len(every) // 5))


def outline(shape: str, place: Placement) -> list[Point]:
    """The corners, in pixels, of a shape that is bounded by straight lines."""
    r = place.radius
    if shape == "square":
        points = _polygon([45, 135, 225, 315], [1.2 * r] * 4)
    elif shape == "triangle":
        points = _polygon([-90, 30, 150], [1.2 * r] * 3)
    elif shape == "star":
        points = _polygon([-90 + 36 * i for i in range(10)], [1.2 * r, 0.5 * r] * 5)
    elif shape == "cross":
        points = _cross(1.1 * r, 0.36 * r)
    else:
        raise ValueError(
            f"{shape!r} has no corners; it is not one of square, triangle, star, cross"
        )
    turn = math.radians(place.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    return [(place.x + x * cos - y * sin, place.y + x * sin + y * cos) for x, y in points]


def _polygon(degrees: list[int], radii: list[float]) -> list[Point]:
    turns = [math.radians(d) for d in degrees]
    return [(r * math.cos(t), r * math.sin(t)) for t, r in zip(turns, radii, strict=True)]


def _cross(long: float, half: float) -> list[Point]:
    quarter = [(half, -half), (half, -long), (-half, -long)]
    points: list[Point] = []
    for _ in range(4):
        points += quarter
        quarter = [(y, -x) for x, y in quarter]
    return points


def draw(scene: Scene, image_size: int = IMAGE_SIZE) -> Image.Image:
    """The scene as an antialiased RGB picture of `image_size` pixels square."""
    side = IMAGE_SIZE * SUPERSAMPLE
    image = Image.new("RGB", (side, side), COLOURS[scene.background])
    pen = ImageDraw.Draw(image)
    for place in scene.places:
        _draw_shape(pen, scene, place)
    return image.resize((image_size, image_size), Image.Resampling.BOX)


def _draw_shape(pen: ImageDraw.ImageDraw, scene: Scene, place: Placement) -> None:
    k = SUPERSAMPLE
    if scene.shape in ("circle", "ring"):
        _draw_disc(pen, place, place.radius, scene.colour)
        if scene.shape == "ring":
            _draw_disc(pen, place, place.radius * 0.55, scene.background)
        return
    corners = [(x * k, y * k) for x, y in outline(scene.shape, place)]
    pen.polygon(corners, fill=COLOURS[scene.colour])


def _draw_disc(pen: ImageDraw.ImageDraw, place: Placement, radius: float, colour: str) -> None:
    x, y, r = place.x * SUPERSAMPLE, place.y * SUPERSAMPLE, radius * SUPERSAMPLE
    pen.ellipse((x - r, y - r, x + r, y + r), fill=COLOURS[colour])


def place_near(
    rng: random.Random, centre: Point, spread: float, radii: tuple[float, float]
) -> Placement:
    """A shape within `spread` pixels of a centre that is given as shares of the side.

    Places vary little on purpose: the network guesses the mean picture first, and a mean
    over every place and size is a blot in which no shape is left to see.
    """
    x, y = (IMAGE_SIZE * part + rng.uniform(-spread, spread) for part in centre)
    return Placement(x, y, rng.uniform(*radii), rng.uniform(-5, 5))


def place_plain(rng: random.Random) -> Placement:
    """One shape of middle size near the middle."""
    return place_near(rng, (0.5, 0.5), 12, (56, 72))


def place_several(rng: random.Random, count: int) -> tuple[Placement, ...]:
    """Two shapes side by side, or three as the corners of a triangle."""
    two, three = ((0.28, 0.5), (0.72, 0.5)), ((0.5, 0.27), (0.27, 0.72), (0.73, 0.72))
    radii = (36.0, 44.0) if count == 2 else (34.0, 40.0)
    return tuple(place_near(rng, centre, 5, radii) for centre in (two if count == 2 else three))


def random_scene(rng: random.Random, allowed: list[Combination]) -> Scene:
    """A random scene: about three of four are one plain shape."""
    colour, shape, background = rng.choice(allowed)
    kind = rng.choices(("plain", "size", "position", "count"), (76, 8, 9, 7))[0]
    plain = Scene(colour, shape, background, (place_plain(rng),))
    if kind == "size":
        size = rng.choice(list(SIZES))
        return replace(plain, size=size, places=(place_near(rng, (0.5, 0.5), 6, SIZES[size]),))
    if kind == "position":
        position = rng.choice(list(POSITIONS))
        return replace(
            plain, position=position, places=(place_near(rng, POSITIONS[position], 6, (40, 48)),)
        )
    if kind == "count":
        return replace(plain, places=place_several(rng, rng.choice((2, 3))))
    return plain


def noun_phrase(scene: Scene) -> str:
    """What the scene shows, without its background: `a small red circle on the left`."""
    count = len(scene.places)
    if count == 1:
        vowel = (scene.size or scene.colour)[0] in "aeiou"
        article, noun = ("an" if vowel else "a"), scene.shape
    else:
        article, noun = COUNTS[count], scene.shape + ("es" if scene.shape == "cross" else "s")
    words = (article, scene.size, scene.colour, noun, scene.position)
    return " ".join(word for word in words if word)


def main_caption(scene: Scene) -> str:
    """The form that most captions have: `a red circle on a blue background`."""
    article = "an" if scene.background[0] in "aeiou" else "a"
    return f"{noun_phrase(scene)} on {article} {scene.background} background"


def caption(scene: Scene, rng: random.Random) -> str:
    """A caption of the scene: mostly the main form, one in eight a looser one."""
    if rng.random() >= 0.125:
        return main_caption(scene)
    phrase = noun_phrase(scene)
    bare = phrase.split(" ", 1)[1] if len(scene.places) == 1 else phrase
    article = "an" if scene.background[0] in "aeiou" else "a"
    loose = (
        bare,
        f"{bare}, {scene.background} background",
        f"{bare} on {scene.background}",
        f"{article} {scene.background} background with {phrase}",
    )
    return rng.choice(loose)


def training_examples(count: int, seed: int) -> Iterator[tuple[Scene, str]]:
    """`count` scenes with captions, none of them of a held-out combination."""
    rng = random.Random(seed)
    allowed = [c for c in combinations() if c not in held_out()]
    for _ in range(count):
        scene = random_scene(rng, allowed)
        yield scene, caption(scene, rng)


def score_prompts(count: int, seed: int) -> list[tuple[Combination, str]]:
    """`count` prompts of the main form; every fifth is of a held-out combination."""
    rng = random.Random(seed)
    unseen = sorted(held_out())
    seen = sorted(set(combinations()) - held_out())
    chosen = [rng.choice(unseen if i % 5 == 4 else seen) for i in range(count)]
    return [(c, main_caption(Scene(*c, places=(NOWHERE,)))) for c in chosen]


def caption_words() -> list[str]:
    """Every word that a caption may have, and the comma."""
    texts = [text for _, text in training_examples(4000, seed=1)]
    words = {word for text in texts for word in text.replace(",", " ,").split()}
    return sorted(words | {"one"})


def word_prompts(word: str, count: int, seed: int) -> list[str]:
    """`count` prompts of seen combinations with one size, position or count word."""
    rng = random.Random(f"{word} {seed}")
    allowed = sorted(set(combinations()) - held_out())
    number = next((n for n, name in COUNTS.items() if name == word), 1)
    scenes = [Scene(*rng.choice(allowed), places=(NOWHERE,) * number) for _ in range(count)]
    if word in SIZES:
        scenes = [replace(scene, size=word) for scene in scenes]
    if word in POSITIONS:
        scenes = [replace(scene, position=word) for scene in scenes]
    return [main_caption(scene) for scene in scenes]


LABEL_COUNTS = (len(COLOURS), len(SHAPES), len(COLOURS), 1 + len(SIZES), 1 + len(POSITIONS), 3)


def scene_labels(scene: Scene) -> tuple[int, ...]:
    """What the main caption says, as one index below each of LABEL_COUNTS."""
    sizes, positions = [None, *SIZES], [None, *POSITIONS]
    return (
        list(COLOURS).index(scene.colour),
        SHAPES.index(scene.shape),
        list(COLOURS).index(scene.background),
        sizes.index(scene.size),
        positions.index(scene.position),
        len(scene.places) - 1,
    )
