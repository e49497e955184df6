# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others.
from __future__ import annotations

import pytest

from onebox.audio.synthesis.text import frontend
from onebox.audio.synthesis.text.espeak import espeak_phonemes
from onebox.audio.synthesis.text.frontend import speakable
from onebox.core.errors import InvalidInput, TaskNotSupported


@pytest.fixture(autouse=True)
def _no_espeak(monkeypatch):
    """Whatever is installed where these tests run."""
    monkeypatch.setattr(frontend, "espeak_is_here", lambda: False)


def facts(**changed):
    return {"language": "en", "phonemes": None, "symbols": None} | changed


def texts(text, **changed):
    return [sentence.text for sentence in speakable(text, facts(**changed))]


def test_a_text_becomes_its_sentences_in_words():
    assert texts("It is 5 pm in the U.S. today. Dr. Low has $3 with him.") == [
        "It is five pee em in the you ess today.",
        "Doctor Low has three dollars with him.",
    ]


def test_a_voice_that_wants_phonemes_gets_them():
    assert texts("Hello world.", phonemes="espeak") == ["həlˈoʊ wˈɜːld."]


def test_only_symbols_that_the_voice_knows_are_left():
    symbols = "abcdefghijklmnopqrstuvwxyz' "
    assert texts("Café “Ünïcode” — well-known, 你好 5!", symbols=symbols) == [
        "cafe unicode well known five"
    ]


def test_a_heading_ends_like_a_sentence():
    assert texts("An important heading\n\nThe text that follows it.") == [
        "An important heading.",
        "The text that follows it.",
    ]


def test_the_silence_after_a_sentence_goes_by_its_last_sign():
    clause = "we went on along the river and over the hills and far away"
    text = f'{clause}. "{clause}?" {clause}: {clause}; ' + f"{clause}, " * 6
    pauses = [sentence.pause_s for sentence in speakable(text, facts())]
    assert pauses[0] == 0.25
    assert pauses[-1] == min(pauses) == 0.12


@pytest.mark.parametrize("text", ["...", "😀👍", " \n ", "!?", "—", "***", "\u200b"])
def test_a_text_of_no_words_is_refused(text):
    with pytest.raises(InvalidInput, match="nothing to say") as caught:
        speakable(text, facts())
    assert caught.value.param == "input"


def test_a_text_in_letters_that_the_voice_lacks_is_refused():
    with pytest.raises(InvalidInput, match="nothing to say"):
        speakable("你好，世界", facts(phonemes="espeak"))


def test_phonemes_of_other_languages_need_espeak():
    with pytest.raises(TaskNotSupported, match=r"onebox\[espeak\]"):
        speakable("Hallo Welt", facts(language="de", phonemes="espeak"))


def test_espeak_is_used_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(frontend, "espeak_is_here", lambda: True)
    monkeypatch.setattr(frontend, "espeak_phonemes", lambda text, language: f"{language}:{text}")
    assert texts("Zwei B 2", language="de", phonemes="espeak") == ["de:Zwei B zwei."]
    assert texts("Plan B", phonemes="espeak") == ["en:Plan bee."]


@pytest.mark.parametrize("text", ["", "...", "!? ,"])
def test_espeak_is_not_asked_for_what_has_no_letters(text):
    assert espeak_phonemes(text, "en") == ""


def test_a_voice_that_does_not_tell_its_language_speaks_english():
    assert texts("It has 2.", language="", phonemes="espeak") == ["ɪt hɐz tˈuː."]


def test_espeak_does_not_name_letters_that_english_has_not(monkeypatch):
    monkeypatch.setattr(frontend, "espeak_is_here", lambda: True)
    monkeypatch.setattr(frontend, "espeak_phonemes", lambda text, language: text)
    assert texts("Café 你好, привет!", phonemes="espeak") == ["Café , !"]
    with pytest.raises(InvalidInput, match="nothing to say"):
        texts("你好", phonemes="espeak")
