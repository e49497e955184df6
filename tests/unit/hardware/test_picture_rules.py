"""What devices get wrong with pictures, on devices that are not here."""

from __future__ import annotations

from typing import Any

import pytest

from onebox.core.contracts import Device
from onebox.hardware.dtype_policy import dtypes_for
from onebox.hardware.picture_rules import (
    GENERATOR_DEVICE,
    MAX_BATCH,
    batch_size,
    may_retry,
    no_numbers,
)


def device(kind: Any) -> Device:
    return Device(kind, kind, "Device", kind, "pool", 1, 1, "float16", "float32")


def test_noise_comes_from_the_processor_on_every_device() -> None:
    assert GENERATOR_DEVICE == "cpu"


def test_mps_decodes_in_float32_and_never_takes_bfloat16_or_float64() -> None:
    assert dtypes_for("mps", bf16=True) == ("float16", "float32")


def test_mps_draws_one_picture_a_call() -> None:
    assert batch_size(device("mps"), 64 * 64) == 1


@pytest.mark.parametrize("kind", ["cpu", "cuda", "rocm", "xpu"])
def test_other_devices_draw_small_pictures_together_and_large_ones_alone(kind: str) -> None:
    assert batch_size(device(kind), 256 * 256) == MAX_BATCH
    assert batch_size(device(kind), 100_000_000) == 1


@pytest.mark.parametrize(
    ("dtypes", "may"),
    [
        ({"float16"}, True),
        ({"bfloat16", "float32"}, True),
        ({"float32"}, False),
        ({"float16", "uint8"}, False),
        ({"float8_e4m3fn", "bfloat16"}, False),
        (set(), False),
    ],
)
def test_only_what_has_half_precision_is_computed_once_more(dtypes: set[str], may: bool) -> None:
    assert may_retry(dtypes) is may


def test_no_numbers_in_full_precision_is_an_error_that_a_retry_does_not_mend() -> None:
    error = no_numbers("sd", device("mps"))
    assert "float32" in error.message
    assert error.should_retry is False
