from __future__ import annotations

import numpy as np
import pytest

from onebox.imaging.segmentation.matte import confidence, edge_sharpness, matte_of


def square(inside=1.0, outside=0.0):
    seen = np.full((40, 60), outside, np.float32)
    seen[10:30, 20:40] = inside
    return seen


def ramp(pixels):
    """From nothing to all over so many pixels, left to right."""
    steps = np.clip((np.arange(60) - 30) / pixels + 0.5, 0, 1)
    return np.tile(steps.astype(np.float32), (40, 1))


def test_a_matte_has_the_pictures_size():
    matte = np.asarray(matte_of(square(), (120, 80), stretched=False))
    assert matte.shape == (80, 120)
    assert matte[40, 60] == 255
    assert matte[2, 2] == 0


@pytest.mark.parametrize(("stretched", "expected"), [(True, (0, 255)), (False, (26, 204))])
def test_what_the_model_is_surest_of_counts_as_whole_where_it_is_stretched(stretched, expected):
    matte = matte_of(square(0.8, 0.1), (60, 40), stretched=stretched)
    assert matte.getextrema() == expected


def test_a_picture_without_differences_has_an_empty_matte():
    assert matte_of(square(0.3, 0.3), (60, 40), stretched=True).getbbox() is None


def test_confidence_is_the_mean_of_the_foreground():
    assert confidence(square(0.9, 0.4)) == pytest.approx(0.9)
    assert confidence(square(0.4, 0.1)) == 0.0


def test_a_step_is_sharp_and_a_slope_is_not():
    assert edge_sharpness(square()) == 1.0
    assert edge_sharpness(ramp(10)) == pytest.approx(0.1, abs=0.01)
    assert edge_sharpness(square(1.0, 1.0)) == 0.0


def test_edges_count_in_both_directions():
    assert edge_sharpness(ramp(4)) == edge_sharpness(np.ascontiguousarray(ramp(4).T))
