"""Which way a model is decoded: the fastest one that gives what the library gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from onebox.core.errors import ModelBroken
from onebox.language.decoding import decoder as decoders
from onebox.language.decoding.batch_decoder import BatchDecoder
from onebox.language.decoding.decoder import create_decoder
from onebox.language.decoding.library_pass import LibraryPass
from onebox.language.decoding.llama import LlamaPass
from onebox.language.decoding.row_decoder import RowDecoder
from tests.language.decoder_kinds import ALL, LIBRARY, LIKE_LLAMA, long
from tests.language.decoding import CPU, decoder_of, entry, generated, model, prompt, text, write


class Loads:
    """Counts how often a model was loaded."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.count = 0

    def __call__(self) -> Any:
        self.count += 1
        return model(self._config)


@pytest.mark.parametrize("kind", [*LIKE_LLAMA, *LIBRARY])
def test_each_kind_has_its_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for way in (LlamaPass, LibraryPass):
        _note(monkeypatch, way, made)
    load = Loads(ALL[kind]())
    assert isinstance(decoder_of(load), BatchDecoder)
    assert made == ["LlamaPass" if kind in LIKE_LLAMA else "LibraryPass"]
    assert load.count == 1


def _note(monkeypatch: pytest.MonkeyPatch, way: Any, made: list[str]) -> None:
    def create(*args: Any, **named: Any) -> Any:
        made.append(way.__name__)
        return way(*args, **named)

    monkeypatch.setattr(decoders, way.__name__, create)


@pytest.mark.parametrize("wrong", [1.5, float("nan")])
def test_a_pass_that_computes_something_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    class Wrong(LlamaPass):
        def __call__(self, forward: Any) -> Any:
            logits = super().__call__(forward)
            logits[:, ::2] *= wrong
            return logits

    monkeypatch.setattr(decoders, "LlamaPass", Wrong)
    load = Loads(long("llama"))
    with capture_logs() as logs:
        decoder = decoder_of(load)
    assert load.count == 2
    assert [(line["event"], line["way"]) for line in logs] == [("pass_differs", "Wrong")]
    ids = prompt(30)
    assert write(decoder, [text(ids)]) == [generated(model(long("llama")), ids, 10)]


def test_where_both_ways_differ_the_library_s_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for way in (LlamaPass, LibraryPass):

        class Wrong(way):  # type: ignore[misc, valid-type]
            def __call__(self, forward: Any) -> Any:
                return super().__call__(forward).neg()

        monkeypatch.setattr(decoders, way.__name__, Wrong)
    decoder = decoder_of(long("llama"))
    assert isinstance(decoder, RowDecoder)
    ids = prompt(30)
    assert write(decoder, [text(ids)]) == [generated(model(long("llama")), ids, 10)]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gemma2", "softcap"),
        ("gpt-oss", "s_aux"),
        ("mamba", "attention of its own"),
        ("phi3-longrope", "longrope"),
        ("llama-dynamic-rope", "dynamic"),
        ("phimoe-window", "masks"),
    ],
)
def test_the_log_says_why_rows_are_decoded_one_by_one(kind: str, reason: str) -> None:
    with capture_logs() as logs:
        assert isinstance(decoder_of(ALL[kind]()), RowDecoder)
    [line] = [line for line in logs if line["event"] == "decoded_row_by_row"]
    assert reason in line["reason"]


def test_a_model_that_keeps_nothing_of_a_text_is_refused() -> None:
    class Forgetful(torch.nn.Module):
        def forward(self, input_ids: Any) -> Any:
            return input_ids

    with pytest.raises(ModelBroken, match="Forgetful has no cache"):
        RowDecoder(Forgetful())


@pytest.mark.parametrize("kind", ["llama", "olmo2", "gemma2"])
def test_int8_weights_are_counted_and_take_less(kind: str) -> None:
    config = long(kind, hidden_size=256, intermediate_size=512)
    whole, quantized = decoder_of(config), decoder_of(config, quantization="int8")
    assert type(whole) is type(quantized)
    linears = [m for m in model(config).modules() if isinstance(m, torch.nn.Linear)]
    least = sum(linear.weight.numel() for linear in linears)
    assert least < quantized.size_bytes < 0.6 * whole.size_bytes
    write(quantized, [text(prompt(length)) for length in (3, 70)])


def test_a_closed_decoder_keeps_no_weights_and_no_values() -> None:
    decoder = create_decoder(lambda: model(long("llama")), entry(), CPU)
    decoder.attach(lambda _: True, 1 << 20, torch.inference_mode)
    write(decoder, [text(prompt(130))])
    assert decoder.used_bytes > 0
    decoder.close()
    assert decoder.used_bytes == 0
