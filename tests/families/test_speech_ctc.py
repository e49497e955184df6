"""Family `speech_ctc` on tiny random models of several kinds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from onebox.audio.transcription.bundle import TranscriberBundle
from onebox.audio.transcription.contracts import HeardWord
from onebox.audio.transcription.ctc import by_pauses, collapse
from onebox.core.errors import Cancelled, ModelBroken
from onebox.families.speech_ctc import SpeechCTC
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_listeners as tiny
from tests.families.languages import device, entry
from tests.families.listening import Context, hear, listen, load, text_of

FAMILY = SpeechCTC()
# Every token of a letter lasts, as a rule, one frame of this length.
FRAME_S = 0.02


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ctc")


@pytest.fixture(scope="session")
def wav2vec2(folders: Path) -> Path:
    return tiny.ctc(folders / "wav2vec2")


@pytest.fixture(scope="session")
def bundle(wav2vec2: Path) -> TranscriberBundle:
    return load(FAMILY, wav2vec2)


def reference(folder: Path, samples: Any) -> str:
    """What the library's own classes make of a window."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

    features = AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModelForCTC.from_pretrained(folder).eval()
    given = features(samples / 32768, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        ids = model(**given).logits.argmax(-1)[0]
    text = str(AutoTokenizer.from_pretrained(folder).decode(ids))
    return re.sub("<[^>]*>", "", text)


def test_it_knows_a_folder_and_its_facts(wav2vec2: Path) -> None:
    match = FAMILY.matches(open_on_disk(wav2vec2))
    assert match is not None
    assert match.kind == "Wav2Vec2ForCTC"
    assert match.facts == {
        "languages": [],
        "translates": False,
        "words": True,
        "retries": False,
        "window_values": 3 * 16 * 24_000,
    }


def test_the_estimate_is_what_it_takes(wav2vec2: Path, bundle: TranscriberBundle) -> None:
    assert FAMILY.estimate(open_on_disk(wav2vec2), device()) == bundle.size_bytes


@pytest.mark.parametrize("kind", tiny.CTC_KINDS)
def test_it_hears_what_the_library_hears(folders: Path, kind: str) -> None:
    folder = folders / kind
    if not folder.exists():
        tiny.ctc(folder, kind)
    window = listen(2.0, sound=3)
    (heard,) = hear(load(FAMILY, folder), window)
    assert text_of(heard).split() == reference(folder, window.samples).split()
    assert text_of(heard)


@pytest.mark.parametrize(
    ("kind", "masked"), [("wav2vec2", True), ("data2vec-audio", True), ("hubert", False)]
)
def test_a_window_is_heard_alike_alone_and_beside_others(
    tmp_path: Path, kind: str, masked: bool
) -> None:
    bundle = load(FAMILY, tiny.ctc(tmp_path / "model", kind, masked=masked))
    windows = [listen(1.2, sound=1), listen(2.0, sound=2), listen(0.7, sound=3)]
    together = hear(bundle, *windows)
    alone = [hear(bundle, window)[0] for window in windows]
    assert [text_of(heard) for heard in together] == [text_of(heard) for heard in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)


def test_words_have_the_times_of_their_frames(bundle: TranscriberBundle) -> None:
    for number in range(5):
        window = listen(2.0, sound=number)
        (heard,) = hear(bundle, window)
        at = 0.0
        for segment in heard.segments:
            assert segment.text == "".join(f" {word.text}" for word in segment.words)
            assert segment.words[0].start_s == segment.start_s
            assert segment.words[-1].end_s == segment.end_s
            for word in segment.words:
                assert at <= word.start_s < word.end_s <= 2.0
                assert word.end_s - word.start_s >= FRAME_S * len(word.text) * 0.9
                at = word.end_s


def test_logprobs_are_those_of_its_letters(bundle: TranscriberBundle) -> None:
    (heard,) = hear(bundle, listen(1.0, logprobs=True))
    letters = "".join(token.text for token in heard.logprobs)
    assert letters == text_of(heard).replace(" ", "")
    mean = sum(token.logprob for token in heard.logprobs) / len(heard.logprobs)
    assert heard.avg_logprob == pytest.approx(mean)
    assert heard.avg_logprob < 0


def test_the_shortest_window_is_heard(bundle: TranscriberBundle) -> None:
    for samples in (1, 10, 400):
        (heard,) = hear(bundle, listen(samples / 16_000))
        assert all(segment.end_s <= samples / 16_000 + 1e-9 for segment in heard.segments)


def test_a_window_can_be_left_between_two_layers(bundle: TranscriberBundle) -> None:
    context = Context()
    hear(bundle, listen(), context=context)
    assert context.count > 2
    for left in range(1, context.count + 1):
        stopped = Context(left, Cancelled("gone"))
        with pytest.raises(Cancelled):
            hear(bundle, listen(), context=stopped)
        assert stopped.count == left
    assert hear(bundle, listen())


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("config.json", {"auto_map": {"AutoModelForCTC": "evil.Evil"}}, "remote code"),
        ("config.json", {"quantization_config": {"bits": 4}}, "quantised"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "8000 Hz"),
        ("preprocessor_config.json", None, "preprocessor_config.json is missing"),
        ("vocab.json", None, "vocab.json or tokenizer.json is missing"),
        ("model.safetensors", None, "model.safetensors is missing"),
    ],
)
def test_what_it_will_not_load_is_refused(
    tmp_path: Path, name: str, values: dict[str, Any] | None, expected: str
) -> None:
    folder = tiny.ctc(tmp_path / "model")
    path = folder / name
    if values is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ModelBroken, match=expected):
        FAMILY.matches(open_on_disk(folder))


def test_another_model_is_not_its_own(tmp_path: Path) -> None:
    folder = tiny.moonshine(tmp_path / "model")
    assert FAMILY.matches(open_on_disk(folder)) is None


def test_a_checkpoint_without_some_weights_is_broken(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny.ctc(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelBroken, match=r"lm_head\.weight"):
        FAMILY.load(entry(folder, FAMILY), device())


def test_a_spoilt_tokenizer_is_told(tmp_path: Path) -> None:
    folder = tiny.ctc(tmp_path / "model")
    (folder / "vocab.json").write_text("[")
    with pytest.raises(ModelBroken, match="cannot be read"):
        FAMILY.load(entry(folder, FAMILY), device())


def test_half_precision_hears_too(wav2vec2: Path) -> None:
    bundle = load(FAMILY, wav2vec2, "bfloat16")
    assert text_of(hear(bundle, listen())[0])


def test_runs_of_a_token_are_one() -> None:
    frames = list(collapse([0, 5, 5, 0, 5, 6], [-1.0, -2.0, -0.5, -1.0, -3.0, -4.0]))
    assert [(frame.id, frame.start, frame.end) for frame in frames] == [
        (0, 0, 1),
        (5, 1, 3),
        (0, 3, 4),
        (5, 4, 5),
        (6, 5, 6),
    ]
    assert frames[1].logprob == -0.5


def test_a_pause_begins_a_new_segment() -> None:
    times = [(0.0, 0.5), (0.6, 1.0), (2.0, 2.5)]
    words: list[Any] = [(HeardWord("x", *time), []) for time in times]
    assert [len(group) for group in by_pauses(words)] == [2, 1]
    assert list(by_pauses([])) == []
