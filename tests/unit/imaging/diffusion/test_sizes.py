"""The size in which a picture that was sent is drawn on."""

from __future__ import annotations

import pytest

from onebox.imaging.diffusion.sizes import of_area, working_size


@pytest.mark.parametrize(
    ("picture", "native", "multiple", "size"),
    [
        ((512, 512), 512, 8, (512, 512)),
        ((600, 600), 512, 8, (600, 600)),
        ((513, 511), 512, 8, (512, 512)),
        ((4000, 3000), 512, 8, (592, 440)),
        ((3000, 4000), 1024, 16, (880, 1184)),
        ((101, 99), 512, 8, (104, 96)),
        ((8, 8), 512, 8, (64, 64)),
        ((8, 8), 1024, 16, (64, 64)),
        ((8000, 80), 512, 8, (2048, 64)),
        ((1600, 1200), None, 8, (1600, 1200)),
        ((4096, 4096), None, 8, (2048, 2048)),
    ],
)
def test_a_picture_is_drawn_on_in_its_own_size_or_in_the_native_area(
    picture: tuple[int, int], native: int | None, multiple: int, size: tuple[int, int]
) -> None:
    assert working_size(picture, native, multiple) == size


def test_an_area_keeps_the_pictures_shape() -> None:
    assert of_area((1500, 1000), 1024 * 1024, 8) == (1256, 840)
    assert of_area((1000, 1500), 1024 * 1024, 16) == (832, 1248)
