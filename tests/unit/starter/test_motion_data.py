"""The clips that `onebox-shapes-motion` learns from, and their captions."""

import random
from itertools import pairwise

import pytest

from onebox.starter.motion_data import (
    DIRECTIONS,
    MAX_FRAMES,
    REVERSED,
    clip_caption,
    clip_prompts,
    ending,
    helping_words,
    loose_caption,
    motion_words,
    path,
    still_scenes,
    training_clips,
)
from onebox.starter.shapes_data import IMAGE_SIZE, held_out


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_shape_goes_the_asked_way_in_even_steps(direction: str) -> None:
    places = path(direction, random.Random(1))
    across, down = DIRECTIONS[direction]
    steps = [(b.x - a.x, b.y - a.y) for a, b in pairwise(places)]
    assert len(places) == MAX_FRAMES
    assert all(x * across + y * down > 7 for x, y in steps)
    assert all(abs(x * down) + abs(y * across) < 1e-9 for x, y in steps)
    assert max(steps) == pytest.approx(min(steps))


def test_a_shape_stays_inside_the_picture() -> None:
    for clip in training_clips(200, seed=4):
        for scene in clip.scenes:
            place = scene.places[0]
            assert 1.2 * place.radius < place.x < IMAGE_SIZE - 1.2 * place.radius
            assert 1.2 * place.radius < place.y < IMAGE_SIZE - 1.2 * place.radius


def test_a_clip_keeps_its_colours_size_and_turn() -> None:
    for clip in training_clips(50, seed=5):
        assert {scene.combination for scene in clip.scenes} == {clip.combination}
        assert len({(s.places[0].radius, s.places[0].angle) for s in clip.scenes}) == 1


def test_clips_of_one_seed_are_the_same_and_a_longer_list_begins_with_the_shorter() -> None:
    assert list(training_clips(20, seed=6))[:5] == list(training_clips(5, seed=6))


def test_held_out_combinations_are_never_learnt() -> None:
    learnt = {clip.combination for clip in training_clips(3000, seed=7)}
    learnt |= {scene.combination for scene in still_scenes(1000, seed=7)}
    assert not learnt & held_out()


def test_the_main_caption_is_a_plain_sentence() -> None:
    text = clip_caption(("orange", "star", "blue"), "up")
    assert text == "an orange star moving up on a blue background"


def test_loose_captions_name_shape_colour_and_direction_and_use_known_words_only() -> None:
    words = set(motion_words())
    rng = random.Random(8)
    texts = {loose_caption(("red", "ring", "orange"), "left", rng) for _ in range(200)}
    assert len(texts) == 5
    for text in texts:
        assert {"red", "ring", "moving", "left"} <= set(text.replace(",", "").split())
        assert set(text.replace(",", " ,").split()) <= words


def test_a_clip_backwards_goes_the_opposite_way() -> None:
    for direction, opposite in REVERSED.items():
        x, y = DIRECTIONS[direction]
        assert DIRECTIONS[opposite] == (-x, -y)


def test_prompts_of_the_score_ask_for_each_direction_alike_and_for_unseen_combinations() -> None:
    prompts = clip_prompts(100, seed=9)
    directions = [direction for _, direction, _ in prompts]
    assert {directions.count(direction) for direction in DIRECTIONS} == {25}
    assert sum(combination in held_out() for combination, _, _ in prompts) == 20


def test_a_moving_shape_is_said_to_end_where_the_path_ends() -> None:
    assert ending("a red ring moving up on a blue background", "up") == (
        "a red ring at the top on a blue background"
    )
    assert ending("red ring moving to the left, blue background", "left") == (
        "red ring on the left, blue background"
    )


def test_the_words_beside_a_direction_or_place_are_found() -> None:
    numbers = {
        "a red ring moving up on a blue background": [3],
        "red ring moving to the left": [2, 3, 4],
        "a red ring at the top on a blue background": [3, 4],
        "a red ring on a blue background": [],
    }
    for text, expected in numbers.items():
        assert list(helping_words(text.split())) == expected
