"""`WhisperTranscriber` on a tiny random model, held against the library's own `generate`."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest

from onebox.audio.transcription.contracts import Heard, Listen
from tests.audio import tiny_whisper as tiny


class Context:
    """Counts steps; ends at one of them."""

    def __init__(self, ends_at: int | None = None, *, lean: bool = False) -> None:
        self.steps, self.lean, self._ends_at = 0, lean, ends_at

    def hand_over(self) -> None:
        if self.steps == self._ends_at:
            raise InterruptedError
        self.steps += 1


@pytest.fixture(scope="module")
def library():
    return tiny.model()


def hear(*windows: Listen, lean: bool = False) -> list[Heard]:
    found = tiny.transcriber().transcribe(windows, Context(lean=lean))
    assert all(isinstance(heard, Heard) for heard in found)
    return found


def written(heard: Heard) -> list[int]:
    return [token for segment in heard.segments for token in segment.tokens]


def generate(library: Any, listen: Listen, **options: Any) -> list[int]:
    """The library's text tokens."""
    import torch

    sound = listen.samples.astype("float32") / 32768
    features = tiny.extractor()(sound, sampling_rate=16_000, return_tensors="pt")
    told = tiny.generation_config()
    if not listen.timestamps:
        # Ours never writes times then; the library leaves that to the model.
        told.suppress_tokens += range(tiny.ZERO, tiny.ZERO + tiny.TIMES)
    if listen.prompt:
        ids = tiny.tokenizer().encode(f" {listen.prompt}", add_special_tokens=False)
        options["prompt_ids"] = torch.tensor([tiny.PREVIOUS, *ids])
    most = 32 + 16 * len(sound) / 16_000
    ids = library.generate(
        features.input_features,
        generation_config=told,
        task=listen.task,
        language=listen.language,
        return_timestamps=listen.timestamps,
        max_new_tokens=int(-(-most // 1)),
        # As it comes, before what lies after the last time is cut off.
        force_unique_generate_call=True,
        **options,
    )[0].tolist()
    start = ids.index(tiny.START) + 1 if tiny.START in ids else 0
    return [token for token in ids[start:] if token < tiny.END]


CASES = {
    "plain": Listen(tiny.sound(1), language="en", timestamps=False),
    "times": Listen(tiny.sound(2), language="en"),
    "german": Listen(tiny.sound(3), language="de", timestamps=False),
    "translated": Listen(tiny.sound(4), language="zh", task="translate", timestamps=False),
    "prompted": Listen(tiny.sound(5), language="en", prompt="Of Kings", timestamps=False),
    "full": Listen(tiny.sound(6, tiny.SECONDS), language="en", timestamps=False),
    "short": Listen(tiny.sound(7, 0.3), language="de"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_window_becomes_the_tokens_that_the_library_writes(name: str, library: Any):
    listen = CASES[name]
    expected = generate(library, listen)
    assert written(hear(listen)[0]) == expected
    assert expected


def test_windows_side_by_side_become_what_each_becomes_alone():
    alone = [hear(listen)[0] for listen in CASES.values()]
    together = hear(*CASES.values())
    for one, other in zip(alone, together, strict=True):
        assert written(one) == written(other)
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-5)


def test_where_memory_is_short_windows_are_heard_one_after_the_other():
    assert list(map(written, hear(*CASES.values(), lean=True))) == list(
        map(written, hear(*CASES.values()))
    )


def test_the_language_is_the_one_that_the_library_finds(library: Any):
    sounds = [tiny.sound(seed) for seed in range(10, 18)]
    features = tiny.extractor()(
        [sound.astype("float32") / 32768 for sound in sounds],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    found = library.detect_language(features.input_features).tolist()
    expected = [tiny.CODES[token - 258] for token in found]
    heard = hear(*(Listen(sound) for sound in sounds))
    assert [one.language for one in heard] == expected
    told = hear(Listen(sounds[0], language="zh"), Listen(sounds[1]))
    assert [one.language for one in told] == ["zh", expected[1]]


def test_the_chance_of_silence_is_that_of_its_token_after_the_start(library: Any):
    import torch

    listen = CASES["prompted"]
    prompt = tiny.tokenizer().encode(f" {listen.prompt}", add_special_tokens=False)
    features = tiny.extractor()(
        listen.samples.astype("float32") / 32768, sampling_rate=16_000, return_tensors="pt"
    )
    ids = torch.tensor([[tiny.PREVIOUS, *prompt, tiny.START]])
    logits = library(input_features=features.input_features, decoder_input_ids=ids).logits
    expected = logits[0, -1].softmax(-1)[tiny.NO_SPEECH].item()
    assert hear(listen)[0].no_speech_prob == pytest.approx(expected, rel=1e-3)


def test_log_probabilities_are_those_of_the_tokens_of_the_text():
    heard = hear(replace(CASES["times"], logprobs=True))[0]
    assert [token.id for token in heard.logprobs] == written(heard)
    assert all(token.logprob <= 0 for token in heard.logprobs)
    assert hear(CASES["times"])[0].logprobs == ()


def test_a_seed_gives_the_same_text_wherever_the_window_stands():
    drawn = [replace(CASES["plain"], temperature=1.0, seed=seed) for seed in (1, 2, 2**64 - 1)]
    alone = [written(hear(listen)[0]) for listen in drawn]
    beside = hear(CASES["german"], *reversed(drawn), CASES["times"])
    assert alone == [written(heard) for heard in reversed(beside[1:-1])]
    assert alone[0] != alone[1]
    assert written(beside[0]) == written(hear(CASES["german"])[0])


def test_segments_are_in_order_and_within_the_window():
    for listen in CASES.values():
        heard = hear(listen)[0]
        times = [0.0]
        for segment in heard.segments:
            times += [segment.start_s, segment.end_s]
        assert times == sorted(times)
        assert times[-1] <= len(listen.samples) / 16_000


def test_every_word_has_times_in_order_and_within_the_window():
    cases = [replace(listen, words=True) for listen in CASES.values()]
    for listen, heard in zip(cases, hear(*cases), strict=True):
        words = [word for segment in heard.segments for word in segment.words]
        times = [time for word in words for time in (word.start_s, word.end_s)]
        assert words
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= len(listen.samples) / 16_000
        assert (
            "".join(word.text for word in words).split()
            == "".join(segment.text for segment in heard.segments).split()
        )


def test_asking_for_words_changes_no_text():
    plain = hear(*CASES.values())
    with_words = hear(*(replace(listen, words=True) for listen in CASES.values()))
    assert list(map(written, plain)) == list(map(written, with_words))


def test_special_tokens_in_a_prompt_are_plain_text_that_means_nothing():
    named = replace(CASES["prompted"], prompt="Of <|endoftext|><|0.40|> Kings")
    assert hear(named)[0].segments


def test_a_prompt_of_any_length_leaves_room_for_the_text():
    heard = hear(replace(CASES["prompted"], prompt="many words " * 300))[0]
    assert heard.segments


@pytest.mark.parametrize("step", [0, 3, 12])
def test_what_is_no_longer_wanted_ends_at_the_next_step(step: int):
    context = Context(ends_at=step)
    with pytest.raises(InterruptedError):
        tiny.transcriber().transcribe(list(CASES.values()), context)
    assert context.steps == step


def test_a_window_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 32000"):
        hear(Listen(tiny.sound(1, tiny.SECONDS + 0.1), language="en"))


def test_weights_that_give_no_numbers_are_told_of():
    from onebox.audio.transcription.whisper.transcriber import WhisperTranscriber
    from onebox.core.errors import ModelBroken

    broken = tiny.model()
    broken.model.decoder.layer_norm.weight.data[0] = float("nan")
    transcriber = WhisperTranscriber(broken, tiny.tokenizer(), tiny.extractor())
    (found,) = transcriber.transcribe([CASES["plain"]], Context())
    assert isinstance(found, ModelBroken)


def test_samples_that_may_not_be_written_to_are_heard_without_a_warning():
    """As they come from the decoder."""
    sound = tiny.sound(1)
    sound.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hear(Listen(sound)) == hear(Listen(sound.copy()))
