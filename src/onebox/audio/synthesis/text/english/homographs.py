"""`homograph`: words that are written alike and said in two ways, told apart by those beside them:
"they live near" and "live music", "to record" and "the record".
"""

# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from onebox.audio.synthesis.text.english.word_kinds import (
    ADVERBS,
    AFTER_NOUN,
    APART,
    BE,
    BEFORE_NOUN,
    BEFORE_VERB,
    DETERMINERS,
    HAVE,
    METAL,
    OBJECTS,
    PAST_TIMES,
    PAUSES,
    PLACES,
    PRONOUNS,
    SAVED,
    SHOWN,
    THIRD,
    TINY,
)

ADVERB_ENDING = "ly"


class Rule(NamedTuple):
    """The sounds of a word between such words; None for any. "" is a pause."""

    before: frozenset[str] | None
    after: frozenset[str] | None
    sounds: str


def homograph(words: Sequence[str], index: int) -> str | None:
    """How the word at `index` is said if that depends on the others; None where the word list is
    right.

    Args:
        words: of one sentence, in small letters, with its punctuation.
    """
    word = words[index]
    told = _table().get(word)
    if told is None and word.endswith("s"):
        told = _of_third_person(word[:-1])
    if told is None:
        return None
    return told(words, index) if callable(told) else _by_rules(words, index, told)


def _by_rules(words: Sequence[str], index: int, rules: Sequence[Rule]) -> str | None:
    before, after = _before(words, index), _after(words, index)
    for rule in rules:
        if (rule.before is None or before in rule.before) and (
            rule.after is None or after in rule.after
        ):
            return rule.sounds
    return None


def _before(words: Sequence[str], index: int) -> str:
    """The word before, adverbs passed over; "" after a pause."""
    for word in reversed(words[:index]):
        if word in PAUSES:
            return ""
        if word not in ADVERBS and not (word.endswith(ADVERB_ENDING) and len(word) > 4):
            return word
    return ""


def _after(words: Sequence[str], index: int) -> str:
    after = words[index + 1] if index + 1 < len(words) else ""
    return "" if after in PAUSES else after


def _pair(noun: str, verb: str) -> tuple[Rule, ...]:
    """Of a word that is a noun, or an adjective, unless something speaks for a verb."""
    return (
        Rule(BEFORE_VERB, None, verb),
        Rule(BEFORE_NOUN, None, noun),
        Rule(None, OBJECTS, verb),
        Rule(None, None, noun),
    )


def _mostly_verb(noun: str, verb: str, nouns: str = "") -> tuple[Rule, ...]:
    """`nouns`: words that make a noun of it when they stand before."""
    before = BEFORE_NOUN | frozenset(nouns.split())
    return (Rule(before, None, noun), Rule(None, None, verb))


def _of_third_person(stem: str) -> tuple[Rule, ...] | None:
    """Of "records": he records, or many of them."""
    sounds = PAIRS.get(stem)
    if sounds is None or stem in ("house", "close"):
        return None
    noun, verb = (said + _s(said[-1]) for said in sounds)
    return (
        Rule(THIRD, None, verb),
        Rule(BEFORE_NOUN | BEFORE_VERB, None, noun),
        Rule(None, OBJECTS, verb),
        Rule(None, None, noun),
    )


def _s(before: str) -> str:
    if before in "szʃʒ":
        return "ᵻz"
    return "s" if before in "ptkf" else "z"


def _read(words: Sequence[str], index: int) -> str:
    """Its past is written the same."""
    before = _before(words, index)
    if before in BEFORE_VERB - PRONOUNS - {"who"}:
        return "ɹˈiːd"
    near = words[max(0, index - 3) : index]
    past = before in BE | {"he", "she", "it"} or not HAVE.isdisjoint(near)
    return "ɹˈɛd" if past or not PAST_TIMES.isdisjoint(words) else "ɹˈiːd"


# As a noun or an adjective, and as a verb.
PAIRS: Mapping[str, tuple[str, str]] = {
    "abuse": ("ɐbjˈuːs", "ɐbjˈuːz"),
    "alternate": ("ˈɔːltɚnət", "ˈɔːltɚnˌeɪt"),
    "appropriate": ("ɐpɹˈoʊpɹɪət", "ɐpɹˈoʊpɹɪˌeɪt"),
    "approximate": ("ɐpɹˈɑːksɪmət", "ɐpɹˈɑːksɪmˌeɪt"),
    "attribute": ("ˈætɹɪbjˌuːt", "ɐtɹˈɪbjuːt"),
    "compound": ("kˈɑːmpaʊnd", "kəmpˈaʊnd"),
    "conduct": ("kˈɑːndʌkt", "kəndˈʌkt"),
    "conflict": ("kˈɑːnflɪkt", "kənflˈɪkt"),
    "construct": ("kˈɑːnstɹʌkt", "kənstɹˈʌkt"),
    "contest": ("kˈɑːntɛst", "kəntˈɛst"),
    "contract": ("kˈɑːntɹækt", "kəntɹˈækt"),
    "contrast": ("kˈɑːntɹæst", "kəntɹˈæst"),
    "convict": ("kˈɑːnvɪkt", "kənvˈɪkt"),
    "coordinate": ("koʊˈɔːɹdᵻnət", "koʊˈɔːɹdɪnˌeɪt"),
    "decrease": ("dˈiːkɹiːs", "dᵻkɹˈiːs"),
    "deliberate": ("dᵻlˈɪbɚɹət", "dᵻlˈɪbɚɹˌeɪt"),
    "desert": ("dˈɛzɚt", "dᵻzˈɜːt"),
    "duplicate": ("dˈuːplᵻkət", "dˈuːplᵻkˌeɪt"),
    "elaborate": ("ᵻlˈæbɚɹət", "ᵻlˈæbɚɹˌeɪt"),
    "escort": ("ˈɛskɔːɹt", "ɛskˈɔːɹt"),
    "estimate": ("ˈɛstᵻmət", "ˈɛstᵻmˌeɪt"),
    "excuse": ("ɛkskjˈuːs", "ɛkskjˈuːz"),
    "export": ("ˈɛkspɔːɹt", "ɛkspˈɔːɹt"),
    "extract": ("ˈɛkstɹækt", "ɛkstɹˈækt"),
    "graduate": ("ɡɹˈædʒuːət", "ɡɹˈædʒuːˌeɪt"),
    "house": ("hˈaʊs", "hˈaʊz"),
    "import": ("ˈɪmpɔːɹt", "ɪmpˈɔːɹt"),
    "increase": ("ˈɪŋkɹiːs", "ɪŋkɹˈiːs"),
    "insert": ("ˈɪnsɜːt", "ɪnsˈɜːt"),
    "insult": ("ˈɪnsʌlt", "ɪnsˈʌlt"),
    "misuse": ("mɪsjˈuːs", "mɪsjˈuːz"),
    "moderate": ("mˈɑːdɚɹət", "mˈɑːdɚɹˌeɪt"),
    "object": ("ˈɑːbdʒɛkt", "ɑːbdʒˈɛkt"),
    "perfect": ("pˈɜːfɛkt", "pɚfˈɛkt"),
    "permit": ("pˈɜːmɪt", "pɚmˈɪt"),
    "present": ("pɹˈɛzənt", "pɹɪzˈɛnt"),
    "progress": ("pɹˈɑːɡɹɛs", "pɹəɡɹˈɛs"),
    "project": ("pɹˈɑːdʒɛkt", "pɹədʒˈɛkt"),
    "protest": ("pɹˈoʊtɛst", "pɹətˈɛst"),
    "rebel": ("ɹˈɛbəl", "ɹᵻbˈɛl"),
    "record": ("ɹˈɛkɚd", "ɹᵻkˈɔːɹd"),
    "refund": ("ɹˈiːfʌnd", "ɹᵻfˈʌnd"),
    "reject": ("ɹˈiːdʒɛkt", "ɹᵻdʒˈɛkt"),
    "separate": ("sˈɛpɹət", "sˈɛpɚɹˌeɪt"),
    "subject": ("sˈʌbdʒɛkt", "səbdʒˈɛkt"),
    "survey": ("sˈɜːveɪ", "sɚvˈeɪ"),
    "suspect": ("sˈʌspɛkt", "səspˈɛkt"),
    "torment": ("tˈɔːɹmɛnt", "tɔːɹmˈɛnt"),
    "transfer": ("tɹˈænsfɜː", "tɹænsfˈɜː"),
    "transport": ("tɹˈænspɔːɹt", "tɹænspˈɔːɹt"),
    "use": ("jˈuːs", "jˈuːz"),
    "wind": ("wˈɪnd", "wˈaɪnd"),
}

Teller = Callable[[Sequence[str], int], str]


@cache
def _table() -> Mapping[str, Sequence[Rule] | Teller]:
    pairs = {word: _pair(noun, verb) for word, (noun, verb) in PAIRS.items()}
    close, live = "klˈoʊz", "lˈɪv"
    return {
        **pairs,
        "bass": (Rule(frozenset({"sea", "striped"}), None, "bˈæs"),),
        "close": (
            Rule(BEFORE_VERB, None, close),
            Rule(BE, None, "klˈoʊs"),
            Rule(frozenset({"the"}), frozenset({"of", ""}), close),
            Rule(None, OBJECTS, close),
            Rule(
                None,
                frozenset(
                    {
                        "at",
                        "for",
                        "down",
                        "early",
                        "today",
                        "tonight",
                        "tomorrow",
                    }
                ),
                close,
            ),
        ),
        "console": _mostly_verb("kˈɑːnsoʊl", "kənsˈoʊl", "game command"),
        "content": (
            Rule(BE, None, "kəntˈɛnt"),
            Rule(BEFORE_NOUN, None, "kˈɑːntɛnt"),
            Rule(None, frozenset({"with"}), "kəntˈɛnt"),
        ),
        "digest": _mostly_verb("dˈaɪdʒɛst", "daɪdʒˈɛst"),
        "dove": (
            Rule(THIRD | PRONOUNS, None, "dˈoʊv"),
            Rule(None, frozenset({"deep", "down", "in", "into", "off", "under"}), "dˈoʊv"),
        ),
        "lead": (
            Rule(None, METAL, "lˈɛd"),
            Rule(frozenset({"of", "as", "contains"}), frozenset({"", "and", "or"}), "lˈɛd"),
        ),
        "live": (
            Rule(BE | SHOWN, None, "lˈaɪv"),
            Rule(BEFORE_VERB | {"people", "long"}, None, live),
            Rule(DETERMINERS, None, "lˈaɪv"),
            Rule(None, PLACES | {""}, live),
        ),
        "lives": (
            Rule(THIRD, None, "lˈɪvz"),
            Rule(BEFORE_NOUN | SAVED, None, "lˈaɪvz"),
            Rule(None, PLACES - {"and", "or"}, "lˈɪvz"),
        ),
        "minute": (Rule(None, TINY, "maɪnˈuːt"),),
        "produce": _mostly_verb("pɹˈoʊduːs", "pɹədˈuːs", "fresh local organic"),
        "read": _read,
        "refuse": _mostly_verb("ɹˈɛfjuːs", "ɹᵻfjˈuːz"),
        "resume": (Rule(DETERMINERS, None, "ɹˈɛzuːmˌeɪ"),),
        "résumé": (Rule(None, None, "ɹˈɛzuːmˌeɪ"),),
        "tear": (Rule(None, APART, "tˈɛɹ"), *_pair("tˈɪɹ", "tˈɛɹ")),
        "tears": (Rule(None, APART, "tˈɛɹz"),),
        "use": (*pairs["use"][:3], Rule(None, AFTER_NOUN, "jˈuːs"), Rule(None, None, "jˈuːz")),
        "wind": (Rule(frozenset({"", "and"}), frozenset({"up"}), "wˈaɪnd"), *pairs["wind"]),
        "wound": (
            Rule(BEFORE_NOUN, None, "wˈuːnd"),
            Rule(None, APART | OBJECTS | {"around"}, "wˈaʊnd"),
        ),
    }
