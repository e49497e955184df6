"""`tokenizer_of`: the tokenizer of a checkpoint, loaded once however many ask for it."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBroken
from onebox.language.prompts.text_tokenizer import TextTokenizer

__all__ = ["TextTokenizer", "TokenizerStore", "load_tokenizer", "tokenizer_of"]

KEPT = 8
MAX_JSON_BYTES = 16 * 1024 * 1024


class TokenizerStore:
    """The tokenizers used last, by the keys of their checkpoints. For any thread."""

    def __init__(self, load: Callable[[Entry], TextTokenizer], kept: int = KEPT) -> None:
        self._load = load
        self._kept = kept
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[TextTokenizer]] = OrderedDict()

    def get(self, entry: Entry) -> TextTokenizer:
        """Whoever comes first loads; the others wait. What failed is tried again by the next."""
        with self._lock:
            future = self._found.get(entry.key)
            is_first = future is None
            if future is None:
                future = self._found[entry.key] = Future()
                while len(self._found) > self._kept:
                    self._found.popitem(last=False)
            self._found.move_to_end(entry.key)
        if is_first:
            self._fill(entry, future)
        return future.result()

    def _fill(self, entry: Entry, future: Future[TextTokenizer]) -> None:
        try:
            future.set_result(self._load(entry))
        except BaseException as error:
            with self._lock:
                if self._found.get(entry.key) is future:
                    del self._found[entry.key]
            future.set_exception(error)


def load_tokenizer(entry: Entry) -> TextTokenizer:
    """From the checkpoint's folder, or out of a GGUF file (some seconds). Imports transformers.

    Raises ModelBroken for files that make no tokenizer.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    path = Path(entry.path)
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path)}
    if entry.extension == ".gguf":
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            **where, local_files_only=True, trust_remote_code=False
        )
        return TextTokenizer(tokenizer, _declared_ends(path))
    except BaseException as error:  # Of many kinds; a panic of the library is no Exception.
        raise ModelBroken(
            f"the tokenizer of {entry.name} cannot be loaded: {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error


def _declared_ends(path: Path) -> set[int]:
    """What generation_config.json calls the end of a text, or config.json if that says nothing."""
    for name in ("generation_config.json", "config.json"):
        config = _read_json(path / name)
        if ends := set(_ends_in(config)) or set(_ends_in(config.get("text_config"))):
            return ends
    return set()


def _ends_in(config: Any) -> Iterator[int]:
    value = config.get("eos_token_id") if isinstance(config, dict) else None
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int):
            yield item


def _read_json(path: Path) -> dict[str, Any]:
    """Empty for a file that is not there: a GGUF has none, and a folder needs none."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_JSON_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return value if isinstance(value, dict) else {}


_STORE = TokenizerStore(load_tokenizer)


def tokenizer_of(entry: Entry) -> TextTokenizer:
    """The shared tokenizer of a checkpoint. Waits while it is being loaded.

    Raises ModelBroken.
    """
    return _STORE.get(entry)
