"""int8 layers: how near they come, and that no row knows of its neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onebox.language.decoding import quantize
from onebox.language.decoding.quantize import (
    FbgemmProjection,
    Int8Linear,
    PortableProjection,
    create_int8_projection,
    int8_bytes,
    join,
    quantize_int8,
    quantized,
)

SHAPES = [(96, 64), (7, 33), (1, 100), (49, 576)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ROWS = 70


def both() -> list[Any]:
    return [PortableProjection, *([FbgemmProjection] if quantize._has_fbgemm() else [])]


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("kind", both())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_row_is_the_same_bits_alone_and_beside_others(
    kind: Any, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    projection = kind(*quantized(values(*shape)), values(shape[0], seed=1))
    x = values(ROWS, shape[1], seed=2)
    x[5] *= 1000
    x[6] = 0
    x = x.to(dtype)
    together = projection(x)
    assert together.dtype == dtype
    for count in (1, 2, 3, 5, 16, 33):
        for start in range(0, ROWS - count, 7):
            part = projection(x[start : start + count])
            assert torch.equal(part, together[start : start + count])


@pytest.mark.parametrize("kind", both())
def test_an_outlier_costs_its_own_row_alone(kind: Any) -> None:
    weight = values(96, 64)
    projection = kind(*quantized(weight))
    x = values(ROWS, 64, seed=2)
    x[5] *= 1000
    exact = x @ weight.T
    assert max(off(found, right) for found, right in zip(projection(x), exact, strict=True)) < 0.03


@pytest.mark.parametrize("kind", both())
def test_sums_are_exact(kind: Any) -> None:
    """Against the same integers in double precision."""
    weight, scales = quantized(values(96, 576))
    x = values(16, 576, seed=2)
    largest = x.abs().amax(1, keepdim=True)
    whole = (x / largest * 127).round().double()
    expected = (whole @ weight.double().T) * scales.double() * (largest.double() / 127)
    assert off(kind(weight, scales)(x), expected) < 1e-6


def test_extreme_values_do_not_overflow_on_this_cpu() -> None:
    limit = quantize.weight_limit()
    assert limit in (quantize.FULL_LIMIT, quantize.REDUCED_LIMIT)
    weight = torch.full((40, 1024), limit, dtype=torch.int8)
    for kind in both():
        projection = kind(weight, torch.ones(40))
        for rows in (1, 7, 32):
            ones = torch.ones(rows, 1024)
            assert projection(ones).unique().tolist() == [limit * 1024]
            assert projection(-ones).unique().tolist() == [-limit * 1024]


@pytest.mark.parametrize("kind", both())
def test_a_row_that_is_no_number_stays_alone(kind: Any) -> None:
    projection = kind(*quantized(values(8, 16)))
    x = values(3, 16, seed=2)
    alone = projection(x[:1])
    x[1, 3] = float("nan")
    x[2, 3] = float("inf")
    together = projection(x)
    assert torch.equal(together[:1], alone)
    assert not together[1:].isfinite().any()


@pytest.mark.parametrize("kind", both())
def test_weight_and_scales_can_be_had_back(kind: Any) -> None:
    weight = values(24, 32)
    whole, scales = quantized(weight)
    projection = kind(whole, scales)
    assert torch.equal(projection.weight(), whole)
    assert off(projection.weight() * projection.scales[:, None], weight) < 0.02


@pytest.mark.parametrize("with_bias", [True, False])
def test_joined_projections_give_the_same_numbers(with_bias: bool) -> None:
    parts = [
        create_int8_projection(values(size, 64, seed=size), values(size) if with_bias else None)
        for size in (32, 8, 8)
    ]
    x = values(5, 64, seed=3)
    assert torch.equal(join(parts)(x), torch.cat([part(x) for part in parts], 1))


def test_projections_with_and_without_bias_cannot_be_joined() -> None:
    one = create_int8_projection(values(4, 8), values(4))
    with pytest.raises(ValueError, match="bias"):
        join([one, create_int8_projection(values(4, 8))])


def test_a_residual_is_added_before_rounding() -> None:
    projection = create_int8_projection(values(16, 32))
    x, residual = values(4, 32, seed=2), values(4, 16, seed=3)
    assert torch.equal(projection(x, residual), projection(x) + residual)
    halves = projection(x.bfloat16(), residual.bfloat16())
    assert off(halves, projection(x) + residual) < 0.01


def test_a_layer_takes_any_leading_dimensions() -> None:
    layer = Int8Linear(values(16, 32), values(16))
    x = values(2, 3, 32, seed=2)
    assert layer(x).shape == (2, 3, 16)
    assert torch.equal(layer(x)[1, 2], layer(x[1, 2]))
    assert layer(x[:, :0]).shape == (2, 0, 16)


def test_every_linear_layer_of_a_model_is_replaced_and_its_table_is_not() -> None:
    from transformers import AutoModelForCausalLM

    from tests.families.tiny_language_models import attentive

    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(attentive()).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        before = model(ids).logits
        table = model.model.embed_tokens.weight
        quantize_int8(model)
        assert off(model(ids).logits, before) < 0.05
    assert not [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert model.model.embed_tokens.weight is table
    weights = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 64 * 96 * 3) + 64 * 320
    assert weights < int8_bytes(model) < 1.2 * weights


def test_a_turned_linear_layer_is_replaced_too() -> None:
    from transformers.pytorch_utils import Conv1D

    block = torch.nn.Sequential(Conv1D(24, 16))
    block[0].bias.data = values(24)
    x = values(3, 16, seed=2)
    before = block(x)
    quantize_int8(block)
    assert off(block(x), before) < 0.02
