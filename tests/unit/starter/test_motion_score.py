"""What the checker of `onebox-shapes-motion` sees in clips that are drawn, not generated."""

import random

import pytest
from PIL import Image

from onebox.starter.motion_data import DIRECTIONS, REVERSED, path
from onebox.starter.motion_score import look_at, movement
from onebox.starter.shapes_data import Placement, Scene, draw


def frames_of(direction: str, frames: int = 3) -> list[Image.Image]:
    places = path(direction, random.Random(3), frames)
    return [draw(Scene("yellow", "cross", "purple", (place,))) for place in places]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_moving_shape_is_seen_to_go_its_way_and_no_other(direction: str) -> None:
    found = look_at(frames_of(direction))
    assert found.goes(direction)
    assert found.goes_clearly(direction)
    assert not found.goes(REVERSED[direction])
    assert not any(found.goes_clearly(other) for other in DIRECTIONS if other != direction)


def test_colours_and_shape_of_a_clip_are_named() -> None:
    found = look_at(frames_of("up"))
    assert (found.colours, found.steady, found.shape) == (("yellow", "purple"), True, "cross")


def test_a_clip_that_changes_colour_is_not_steady() -> None:
    frames = frames_of("left")
    place = Placement(128, 128, 40, 0)
    found = look_at([*frames, draw(Scene("red", "cross", "purple", (place,)))])
    assert found.colours == ("yellow", "purple")
    assert not found.steady


def test_displacement_is_a_share_of_the_side_for_each_frame() -> None:
    places = [Placement(64 + 32 * i, 128, 40, 0) for i in range(3)]
    x, y = movement([draw(Scene("black", "circle", "white", (place,))) for place in places])
    assert x == pytest.approx(0.125, abs=0.005)
    assert y == pytest.approx(0, abs=0.005)


def test_a_frame_without_a_shape_is_passed_over_but_took_its_time() -> None:
    empty = Image.new("RGB", (256, 256), "white")
    scenes = [Scene("black", "circle", "white", (Placement(x, 128, 40, 0),)) for x in (64, 192)]
    first, last = (draw(scene) for scene in scenes)
    assert movement([empty, first, empty, last]) == pytest.approx((0.25, 0), abs=0.005)


def test_a_clip_that_stands_still_or_is_empty_goes_nowhere() -> None:
    still = draw(Scene("black", "circle", "white", (Placement(100, 128, 40, 0),)))
    empty = Image.new("RGB", (256, 256), "white")
    for frames in ([still] * 3, [empty] * 3):
        found = look_at(frames)
        assert not any(found.goes(direction) for direction in DIRECTIONS)
