"""`espeak_phonemes`: espeak-ng itself, where the optional packages of the extra `espeak` are
installed. It knows a hundred languages, and is free software under the GPL.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib.util import find_spec
from typing import Any

from onebox.core.errors import TaskNotSupported

PACKAGES = ("espeakng_loader", "phonemizer")
PUNCTUATION = ".,;:!?()¡¿。，！？、"  # noqa: RUF001 - punctuation of other languages
# What espeak-ng calls a language that goes by another name elsewhere.
VOICES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn"}


def espeak_is_here() -> bool:
    return all(find_spec(package) is not None for package in PACKAGES)


def espeak_phonemes(text: str, language: str) -> str:
    """The phonemes of one sentence, punctuation kept. Raises TaskNotSupported for a language that
    espeak-ng does not know.
    """
    if not any(character.isalnum() for character in text):
        return ""  # phonemizer fails on it
    return _espeak(VOICES.get(language, language)).phonemes(text)


class _Espeak:
    """One language of the library.

    Args:
        lock: the library is for one thread at a time.
    """

    def __init__(self, voice: str, lock: threading.Lock) -> None:
        import espeakng_loader
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        self._lock = lock
        with lock:
            EspeakWrapper.set_library(espeakng_loader.get_library_path())
            EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
            if not EspeakBackend.is_supported_language(voice):
                raise TaskNotSupported(f"espeak-ng does not know the voice's language, {voice}")
            self._backend: Any = EspeakBackend(
                voice,
                punctuation_marks=PUNCTUATION,
                preserve_punctuation=True,
                with_stress=True,
                language_switch="remove-flags",
            )

    def phonemes(self, text: str) -> str:
        with self._lock:
            return str(self._backend.phonemize([text], strip=True)[0])


@cache
def _espeak(voice: str) -> _Espeak:
    return _Espeak(voice, _lock())


@cache
def _lock() -> threading.Lock:
    return threading.Lock()
