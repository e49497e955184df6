# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others.
from __future__ import annotations

import pytest

from onebox.audio.synthesis.text.english.lexicon import english_lexicon
from onebox.audio.synthesis.text.english.phonemes import english_phonemes


def said(text):
    return english_phonemes(text, english_lexicon())


# As espeak-ng 1.52 writes them.
@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("hello world, this is a test.", "həlˈoʊ wˈɜːld, ðɪs ɪz ɐ tˈɛst."),
        ("the old man and the sea", "ðɪ ˈoʊld mˈæn ænd ðə sˈiː"),
        ("it is one of the best", "ɪɾ ɪz wˈʌn ʌvðə bˈɛst"),
        ("are they? yes!", "ɑːɹ ðeɪ? jˈɛs!"),
        ("in the park, on a day like this.", "ɪnðə pˈɑːɹk, ˌɔn ɐ dˈeɪ lˈaɪk ðˈɪs."),
        ("he was too tired to eat", "hiː wʌz tˈuː tˈaɪɚd tʊ ˈiːt"),
        ("the doctor asked him", "ðə dˈɑːktɚɹ ˈæskt hˌɪm"),
        ("twenty-five (quite) common years", "twˈɛntifˈaɪv (kwˈaɪt) kˈɑːmən jˈɪɹz"),
    ],
)
def test_words_in_a_sentence_sound_as_espeak_says_them(text, phonemes):
    assert said(text) == phonemes


def test_a_capital_that_stands_alone_is_the_name_of_a_letter():
    assert said("F B I") == "ˈɛf bˈiː ˈaɪ"
    assert said("a B A") == "ɐ bˈiː ˈeɪ"


def test_a_word_that_is_not_listed_is_guessed_from_its_letters():
    assert english_lexicon().lookup("covid") is None
    assert said("covid") == "kˈɑːvɪd"


# What is noun and verb, or present and past, is told by the words around it.
@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("they live near live music", "ðeɪ lˈɪv nˌɪɹ lˈaɪv mjˈuːzɪk"),
        ("people use it, it has no use", "pˈiːpəl jˈuːz ɪt, ɪt hɐz nˈoʊ jˈuːs"),
        ("close the door, too close", "klˈoʊz ðə dˈɔːɹ, tˈuː klˈoʊs"),
        ("he records the records", "hiː ɹᵻkˈɔːɹdz ðə ɹˈɛkɚdz"),
        ("I object to that object", "aɪ ɑːbdʒˈɛkt tə ðæt ˈɑːbdʒɛkt"),
        ("to read what she has never read", "tə ɹˈiːd wʌt ʃiː hɐz nˈɛvɚ ɹˈɛd"),
        ("lead pipes lead there", "lˈɛd pˈaɪps lˈiːd ðˈɛɹ"),
        ("she lives, they lost their lives", "ʃiː lˈɪvz, ðeɪ lˈɔst ðɛɹ lˈaɪvz"),
        ("to separate two separate ones", "tə sˈɛpɚɹˌeɪt tˈuː sˈɛpɹət wˈʌnz"),
        ("I refuse fresh produce", "aɪ ɹᵻfjˈuːz fɹˈɛʃ pɹˈoʊduːs"),
        ("he wound it around the wound", "hiː wˈaʊnd ɪɾ ɚɹˈaʊnd ðə wˈuːnd"),
        ("my résumé, a minute amount", "maɪ ɹˈɛzuːmˌeɪ, ɐ maɪnˈuːt ɐmˈaʊnt"),
    ],
)
def test_words_written_alike_are_told_apart(text, phonemes):
    assert said(text) == phonemes


def test_contractions_are_made_of_their_parts():
    assert said("he'd've, who'll") == "hiːdəv, hˌuːəl"
    lexicon = Words(glorp="ɡlˈɔːɹp", bant="bˈænt")
    assert english_phonemes("glorp'll bant'd", lexicon) == "ɡlˈɔːɹpəl bˈæntəd"
    assert said("'s" * 2000 + "a" + "'s" * 2000)


def test_sounds_caught_from_neighbours_are_mended():
    assert said("gone caffeine combine song") == "ɡɔn kæfˈiːn kəmbˈaɪn sˈɔŋ"


def test_an_ending_goes_with_a_listed_stem():
    lexicon = Words(glorp="ɡlˈɔːɹp", buzz="bˈʌz", bant="bˈænt")
    assert english_phonemes("glorp's", lexicon) == "ɡlˈɔːɹps"
    assert english_phonemes("buzzes", lexicon) == "bˈʌzᵻz"
    assert english_phonemes("banted banting", lexicon) == "bˈæntᵻd bˈæntɪŋ"


def test_accents_do_not_hide_a_listed_word():
    assert english_phonemes("café", Words(cafe="kæfˈeɪ")) == "kæfˈeɪ"


def test_signs_that_are_no_words_are_left_out():
    assert said("yes ~ [no] {} 你好") == "jˈɛs nˈoʊ"
    assert said("你好") == ""


def test_a_word_without_end_is_guessed_too():
    assert said("xy" * 2000)


class Words:
    """A word list that knows these, and guesses nothing."""

    def __init__(self, **words):
        self._words = words

    def lookup(self, word):
        return self._words.get(word)

    def guess(self, word):
        raise AssertionError(word)
