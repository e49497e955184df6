"""Whatever is written beside it, a greedy text is the one that the library writes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onebox.language.decoding.batch_decoder import BatchDecoder
from onebox.language.decoding.row_decoder import RowDecoder
from tests.families.tiny_language_models import gpt2
from tests.language.decoder_kinds import ALL, ROW_BY_ROW, WINDOW, long
from tests.language.decoding import decoder_of, generated, logprobs, model, prompt, text, write

LENGTHS = (130, 1, 5, 63, 64, 65)
JOINS = (0, 3, 1, 0, 2, 5)
TOKENS = 12
# Where blocks and capacities begin and end, and beyond the largest chunk.
BOUNDS = (255, 256, 257, 511, 512, 513, 600)


@pytest.mark.parametrize("kind", ALL)
def test_greedy_texts_are_the_library_s_alone_and_beside_others(kind: str) -> None:
    config = ALL[kind]()
    library, decoder = model(config), decoder_of(config)
    assert isinstance(decoder, RowDecoder if kind in ROW_BY_ROW else BatchDecoder)
    prompts = [prompt(length) for length in LENGTHS]
    expected = [generated(library, ids, TOKENS) for ids in prompts]

    together = [text(ids, TOKENS) for ids in prompts]
    assert write(decoder, together, JOINS) == expected
    decoder.drop_kept()
    assert [write(decoder, [text(ids, TOKENS)])[0] for ids in prompts] == expected


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gemma3", "gemma2", "mixtral"])
def test_log_probabilities_are_the_library_s(kind: str) -> None:
    config = ALL[kind]()
    library, decoder = model(config), decoder_of(config)
    texts = [text(prompt(length), 6, top_logprobs=0) for length in LENGTHS]
    found: dict[int, list[float]] = {id(one): [] for one in texts}
    while active := [one for one in texts if len(one.output) < 6]:
        for one, token in decoder.step(active):
            one.output.append(token.id)
            found[id(one)].append(token.logprob)
    for one in texts:
        expected = logprobs(library, one.prompt, one.output)
        assert found[id(one)] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gemma3"])
def test_texts_that_outgrow_their_place_stay_the_library_s(kind: str) -> None:
    config = ALL[kind]()
    library, decoder = model(config), decoder_of(config)
    prompts = [prompt(length) for length in BOUNDS]
    expected = [generated(library, ids, TOKENS) for ids in prompts]
    assert write(decoder, [text(ids, TOKENS) for ids in prompts]) == expected
    # Again, now from what is kept of the prompts, and while others are being written.
    busy = [text(prompt(9, seed), 40) for seed in range(3)]
    again = [text(ids, TOKENS) for ids in prompts]
    joins = [0, 0, 0, *range(2, 2 + len(again))]
    assert write(decoder, busy + again, joins)[3:] == expected
    assert [one.cached for one in again] == [(length - 1) // 64 * 64 for length in BOUNDS]


def test_long_prompts_are_computed_in_pieces_while_others_write() -> None:
    config = long("llama")
    library, decoder = model(config), decoder_of(config)
    ids, short = prompt(700), prompt(9)
    writing, late = text(short, 60), text(ids, 4)
    for _ in range(3):
        write_one_step(decoder, [writing])
    steps = 0
    while not late.output:
        write_one_step(decoder, [writing, late])
        steps += 1
        assert len(writing.output) == 3 + steps, "the other one waits for nobody"
    assert steps > 1
    write(decoder, [writing, late])
    assert late.output == generated(library, ids, 4)
    assert writing.output == generated(library, short, 60)


def write_one_step(decoder: Any, active: list[Any]) -> None:
    for one, token in decoder.step(active):
        one.output.append(token.id)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_text_may_take_the_last_position(kind: str, deterministic: bool) -> None:
    positions = 100  # no whole number of blocks
    config: Any = gpt2() if kind == "gpt2" else long("llama", max_position_embeddings=positions)
    config.n_positions = positions
    library, decoder = model(config), decoder_of(config)
    for length in (positions - 1, positions - 8, 70):
        ids, tokens = prompt(length), positions - length
        written = write(decoder, [text(ids, tokens, deterministic=deterministic)])
        assert written == [generated(library, ids, tokens)]


@pytest.mark.parametrize("vocabulary", [301, 257, 320])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_vocabularies_of_any_size_will_do(kind: str, vocabulary: int) -> None:
    config: Any = gpt2() if kind == "gpt2" else long(kind, sliding_window=WINDOW)
    config.vocab_size = vocabulary
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    ids = prompt(20, vocabulary=vocabulary)
    assert write(decoder_of(config), [text(ids)]) == [generated(model(config), ids, 10)]


@pytest.mark.parametrize("kind", ["llama", "olmo2"])
def test_a_head_may_be_wider_than_the_table_of_tokens(kind: str) -> None:
    def wide() -> Any:
        made = model(long(kind))
        narrow = made.lm_head.weight
        made.lm_head = torch.nn.Linear(narrow.shape[1], narrow.shape[0] + 64, bias=False)
        with torch.no_grad():
            made.lm_head.weight.zero_()[: len(narrow)] = narrow
        return made

    decoder = decoder_of(wide)
    assert isinstance(decoder, BatchDecoder)
    ids = prompt(20)
    assert write(decoder, [text(ids)]) == [generated(model(long(kind)), ids, 10)]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_half_precision_on_the_cpu_comes_near_full_precision(kind: str) -> None:
    config = ALL[kind]()
    full, decoder = model(config), decoder_of(config, torch.float16)
    one = text(prompt(40), 1, top_logprobs=5)
    [(_, token)] = decoder.step([one])
    expected = logprobs(full, one.prompt, [token.id])
    assert token.logprob == pytest.approx(expected[0], abs=0.2)
    write(decoder, [text(prompt(length)) for length in (3, 70)])
