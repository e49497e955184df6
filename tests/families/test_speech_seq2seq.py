"""Family `speech_seq2seq` on tiny random models of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onebox.audio.transcription.bundle import TranscriberBundle
from onebox.core.errors import Cancelled, ModelBroken
from onebox.families.speech_seq2seq import SpeechSeq2Seq
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_listeners as tiny
from tests.families.languages import device
from tests.families.listening import Context, hear, listen, load, text_of

FAMILY = SpeechSeq2Seq()
KINDS = tuple(tiny.SEQ2SEQ_KINDS)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seq2seq")
    return {kind: make(root / kind) for kind, make in tiny.SEQ2SEQ_KINDS.items()}


@pytest.fixture(scope="session")
def bundles(folders: dict[str, Path]) -> dict[str, TranscriberBundle]:
    return {kind: load(FAMILY, folder) for kind, folder in folders.items()}


def reference(folder: Path, samples: Any, tokens: int) -> list[int]:
    """The tokens that the library's own classes make of a window, without specials."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq, AutoTokenizer

    features = AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder).eval()
    given = features(samples / 32768, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        (ids,) = model.generate(**given, max_new_tokens=tokens, num_beams=1, do_sample=False)
    special = AutoTokenizer.from_pretrained(folder).all_special_ids
    return [token for token in ids.tolist() if token not in special]


def tokens_of(bundle: TranscriberBundle, *windows: Any) -> list[list[int]]:
    return [[token.id for token in heard.logprobs] for heard in hear(bundle, *windows)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_knows_a_folder_and_its_facts(folders: dict[str, Path], kind: str) -> None:
    match = FAMILY.matches(open_on_disk(folders[kind]))
    assert match is not None
    assert match.facts["timestamps"] is False
    assert match.facts["words"] is False
    assert ("window_values" in match.facts) is (kind == "speech-encoder-decoder")


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_near_what_it_takes(
    folders: dict[str, Path], bundles: dict[str, TranscriberBundle], kind: str
) -> None:
    estimate = FAMILY.estimate(open_on_disk(folders[kind]), device())
    assert 0.8 * estimate <= bundles[kind].size_bytes <= 20 * estimate


@pytest.mark.parametrize("kind", KINDS)
def test_it_writes_what_the_library_writes(
    folders: dict[str, Path], bundles: dict[str, TranscriberBundle], kind: str
) -> None:
    window = listen(1.2, sound=2, logprobs=True)
    (mine,) = tokens_of(bundles[kind], window)
    assert mine == reference(folders[kind], window.samples, 31)[: len(mine)]
    assert mine


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_heard_alike_alone_and_beside_others(
    bundles: dict[str, TranscriberBundle], kind: str
) -> None:
    windows = [
        listen(1.2, sound=1, logprobs=True),
        listen(2.0, sound=2, logprobs=True),
        listen(0.7, sound=3, logprobs=True, temperature=0.8),
    ]
    alone = [tokens_of(bundles[kind], window)[0] for window in windows]
    assert tokens_of(bundles[kind], *windows) == alone


def test_a_seed_fixes_what_is_drawn_and_greedy_needs_none(
    bundles: dict[str, TranscriberBundle],
) -> None:
    def drawn(**changes: Any) -> list[int]:
        return tokens_of(bundles["speech_to_text"], listen(logprobs=True, **changes))[0]

    assert drawn(temperature=1.0, seed=1) == drawn(temperature=1.0, seed=1)
    assert drawn(temperature=1.0, seed=1) != drawn(temperature=1.0, seed=2)
    assert drawn(seed=1) == drawn(seed=2)


def test_a_window_never_takes_more_tokens_than_anybody_could_say(
    bundles: dict[str, TranscriberBundle],
) -> None:
    for seconds, most in ((0.5, 22), (3.0, 52), (30.0, 62)):
        (heard,) = hear(bundles["moonshine"], listen(seconds, logprobs=True, temperature=1.0))
        assert len(heard.logprobs) <= most


def test_logprobs_are_below_zero_and_their_mean_is_told(
    bundles: dict[str, TranscriberBundle],
) -> None:
    (heard,) = hear(bundles["speech_to_text"], listen(1.0, logprobs=True))
    values = [token.logprob for token in heard.logprobs]
    assert all(value < 0 for value in values)
    assert min(values) <= heard.avg_logprob <= max(values)


def test_a_window_is_one_segment(bundles: dict[str, TranscriberBundle]) -> None:
    (heard,) = hear(bundles["speech_to_text"], listen(1.5))
    (segment,) = heard.segments
    assert (segment.start_s, segment.end_s) == (0.0, 1.5)
    assert text_of(heard) == text_of(heard).strip()
    assert heard.logprobs == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_can_be_left_in_its_middle(
    bundles: dict[str, TranscriberBundle], kind: str
) -> None:
    context = Context()
    hear(bundles[kind], listen(1.0), context=context)
    for left in (1, context.count // 2, context.count):
        with pytest.raises(Cancelled):
            hear(bundles[kind], listen(1.0), context=Context(left, Cancelled("gone")))
    assert hear(bundles[kind], listen(1.0))


def test_the_shortest_window_is_heard(bundles: dict[str, TranscriberBundle]) -> None:
    for bundle in bundles.values():
        assert len(hear(bundle, listen(1 / 16_000))) == 1


def test_another_model_is_not_its_own(tmp_path: Path) -> None:
    assert FAMILY.matches(open_on_disk(tiny.ctc(tmp_path / "model"))) is None


def test_a_folder_without_its_settings_of_sound_is_broken(tmp_path: Path) -> None:
    folder = tiny.moonshine(tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelBroken, match=r"preprocessor_config\.json is missing"):
        FAMILY.matches(open_on_disk(folder))
