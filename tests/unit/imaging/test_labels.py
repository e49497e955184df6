from __future__ import annotations

import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.segmentation.labels import chosen_labels
from onebox.imaging.segmentation.library import MAX_SIDE, seen_size, working_pixels

CLOTHES = ["Background", "Hat", "Upper-clothes"]
ROOM = ["wall", "sofa", "lamp"]


@pytest.mark.parametrize(
    ("labels", "wanted", "expected"),
    [
        (CLOTHES, None, [1, 2]),
        (CLOTHES, ["hat"], [1]),
        (CLOTHES, ["UPPER-CLOTHES", "Hat", "hat"], [1, 2]),
        (CLOTHES, ["background"], [0]),
        (["person", "Unlabeled"], None, [0]),
        (["LABEL_0", "LABEL_1"], None, [1]),
        (ROOM, ["lamp"], [2]),
        ([], None, []),
    ],
)
def test_what_a_cutout_is_made_of(labels, wanted, expected):
    assert chosen_labels(labels, wanted) == expected


@pytest.mark.parametrize(
    ("labels", "wanted", "reason"),
    [
        (CLOTHES, ["hat", "shoe"], "does not know 'shoe'; it knows Background, Hat, Upper-clothes"),
        (ROOM, None, "wall, sofa, lamp apart, and none of them is the background; say in labels"),
        ([], ["hat"], "only tells an object from its background; leave labels out"),
        ([f"thing {n}" for n in range(150)], None, "thing 19 and 130 more"),
    ],
)
def test_other_wishes_are_refused_with_what_there_is(labels, wanted, reason):
    with pytest.raises(InvalidInput, match=reason) as told:
        chosen_labels(labels, wanted)
    assert told.value.param == "labels"


@pytest.mark.parametrize(
    ("size", "told", "expected"),
    [
        ((900, 600), {"height": 512, "width": 640}, (640, 512)),
        ((900, 600), {"shortest_edge": 512}, (768, 512)),
        ((900, 600), {"shortest_edge": 512, "longest_edge": 600}, (608, 384)),
        ((5000, 100), {"shortest_edge": 512}, (1344, 32)),
        ((300, 300), {}, (512, 512)),
    ],
)
def test_a_model_is_shown_what_its_preprocessor_tells(size, told, expected):
    assert seen_size(size, told) == expected
    assert expected[0] * expected[1] <= working_pixels(told) * 1.2


def test_no_model_is_shown_more_than_so_many_pixels():
    assert working_pixels({"shortest_edge": 9000}) == MAX_SIDE**2
