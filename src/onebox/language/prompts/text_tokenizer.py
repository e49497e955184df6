"""`TextTokenizer`: text to token ids and back, exactly."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onebox.language.prompts.control_text import pattern_of
from onebox.language.prompts.token_bytes import scheme_of, scheme_of_slow

# What ends a turn in the templates of the common models, for checkpoints whose own end of text is
# that of the model they were trained from.
TURN_ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|eom_id|>",
    "<|end_of_turn|>",
    "<|endofturn|>",
    "<|eot|>",
    "<|end_of_role|>",
    "</s>",
)


KEPT_SPELLINGS = 1024


class TextTokenizer:
    """Text to token ids and back. Safe for many threads; nothing about it changes.

    Args:
        tokenizer: of `transformers`.
        eos_ids: what the checkpoint's configuration calls the end of a text.

    Attributes:
        backend: the `tokenizers.Tokenizer`; None where the tokenizer is written in Python.
        special_tokens: by their names in templates ("bos_token" → "<s>").
        chat_template: of the checkpoint, for conversations without tools; None: it has none.
        eos_ids: any of these ends an answer.
        has_segments: its model is told which of two texts a token is from.
    """

    def __init__(self, tokenizer: Any, eos_ids: Iterable[int] = ()) -> None:
        self._tokenizer = tokenizer
        self.backend: Any = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        if self.backend is not None:
            self.backend.no_truncation()
            self.backend.no_padding()
        self.vocab_size: int = len(tokenizer)
        self.has_segments = "token_type_ids" in tokenizer.model_input_names
        self.bos_id: int | None = tokenizer.bos_token_id
        self.special_tokens: dict[str, str] = {
            name: str(token)
            for name, token in tokenizer.special_tokens_map.items()
            if isinstance(token, str)
        }
        self._templates = _templates(tokenizer.chat_template)
        self.chat_template = self.template_for(tools=False)
        added: Mapping[int, Any] = tokenizer.added_tokens_decoder
        self._added = {id_: str(token.content) for id_, token in added.items()}
        self._special = {id_ for id_, token in added.items() if token.special}
        self._special |= {int(id_) for id_ in tokenizer.all_special_ids}
        self.scheme = scheme_of(self.backend) if self.backend else scheme_of_slow(tokenizer)
        self.eos_ids = self._ends(eos_ids)
        self.control_pattern = self._control_pattern()
        self._bytes: dict[int, bytes] = {}
        self._spellings: dict[str, list[int]] = {}
        self._grammars: Any = None
        self._lock = threading.Lock()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids; control tokens in the text become control tokens.

        `special`: with what the tokenizer puts around a text, such as BOS.
        """
        if self.backend is not None:
            return list(self.backend.encode(text, add_special_tokens=special).ids)
        return list(self._tokenizer.encode(text, add_special_tokens=special))

    def encode_marked(self, text: str, places: Sequence[tuple[int, int]]) -> list[int]:
        """Token ids without BOS; a control token at one of `places` (start, end) is mere text.

        `places` are in order and do not overlap.
        """
        if not places:
            return self.encode(text, special=False)
        if self.backend is None:
            return self._encode_in_parts(text, places)
        ids: list[int] = []
        encoding = self.backend.encode(text, add_special_tokens=False)
        following = 0
        for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            while following < len(places) and places[following][1] <= start:
                following += 1
            is_text = following < len(places) and places[following][0] < end
            ids += self._spelled(text[start:end]) if is_text and id_ in self._added else [id_]
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of these ids, each below `vocab_size`."""
        if self.backend is not None:
            return str(self.backend.decode(list(ids), skip_special_tokens=skip_special))
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=skip_special, clean_up_tokenization_spaces=False
            )
        )

    def token_bytes(self, id_: int) -> bytes:
        """The bytes a token stands for, which may be a part of a character; b"" for a special one
        and for an id that has no token.

        What joins to a text may begin with a space that the text does not have.
        """
        known = self._bytes.get(id_)
        if known is None:
            name = self.token_text(id_)
            known = b"" if name is None or id_ in self._special else self.scheme.to_bytes(name)
            self._bytes[id_] = known
        return known

    def token_text(self, id_: int) -> str | None:
        """The token's name in the vocabulary. For a special token, the text that stands for it."""
        if id_ in self._added:
            return self._added[id_]
        if not 0 <= id_ < self.vocab_size:
            return None
        if self.backend is not None:
            name = self.backend.id_to_token(id_)
        else:
            name = self._tokenizer.convert_ids_to_tokens(id_)
        return None if name is None else str(name)

    def token_id(self, name: str) -> int | None:
        """Of a name in the vocabulary, such as "<|im_end|>"."""
        if self.backend is not None:
            found: int | None = self.backend.token_to_id(name)
            return found
        id_ = self._tokenizer.convert_tokens_to_ids(name)
        return id_ if self.token_text(id_) == name else None

    def is_special(self, id_: int) -> bool:
        return id_ in self._special

    def template_for(self, *, tools: bool) -> str | None:
        """The chat template; some checkpoints have one of its own for conversations with tools."""
        if tools and "tool_use" in self._templates:
            return self._templates["tool_use"]
        return self._templates.get("default")

    @property
    def grammars(self) -> Any:
        """The one `Grammars` of this tokenizer."""
        with self._lock:
            if self._grammars is None:
                from onebox.language.grammars.grammar import Grammars

                self._grammars = Grammars(self)
            return self._grammars

    def _ends(self, declared: Iterable[int]) -> frozenset[int]:
        """The declared ends; a known end of turn as well, where the template uses none of them."""
        ids = set(declared)
        if self._tokenizer.eos_token_id is not None:
            ids.add(int(self._tokenizer.eos_token_id))
        template = self.chat_template or ""
        texts = {self._added.get(id_) or self.token_text(id_) or "" for id_ in ids} - {""}
        if "eos_token" not in template and not any(text in template for text in texts):
            known = {text: id_ for id_, text in self._added.items()}
            ids |= {known[text] for text in TURN_ENDS if text in template and text in known}
        return frozenset(ids)

    def _control_pattern(self) -> re.Pattern[str] | None:
        """Finds control tokens in what a client wrote: special ones, and those that the template
        gives a meaning, such as <tool_call>.
        """
        templates = "".join(self._templates.values())
        return pattern_of(
            text
            for id_, text in self._added.items()
            if text.strip() and (id_ in self._special or text in templates)
        )

    def _encode_in_parts(self, text: str, places: Sequence[tuple[int, int]]) -> list[int]:
        ids: list[int] = []
        last = 0
        for start, end in places:
            if start > last:
                ids += self.encode(text[last:start], special=False)
            ids += self._spelled(text[start:end])
            last = end
        return ids + (self.encode(text[last:], special=False) if last < len(text) else [])

    def _spelled(self, text: str) -> list[int]:
        """The ids of a text that is a control token, from the longest tokens that are none.

        Straight from the vocabulary: encoding a part of a text might put a space before it.
        """
        known = self._spellings.get(text)
        if known is None:
            known = self._spell(text)
            if len(self._spellings) < KEPT_SPELLINGS:
                self._spellings[text] = known
        return known

    def _spell(self, text: str) -> list[int]:
        name = self.scheme.from_text(text)
        ids: list[int] = []
        while name:
            for length in range(len(name), 0, -1):
                id_ = self.token_id(name[:length])
                if id_ is not None and id_ not in self._added and id_ not in self._special:
                    ids.append(id_)
                    break
            else:
                length = 1
                ids += self._fallback(name[0])
            name = name[length:]
        return ids

    def _fallback(self, char: str) -> list[int]:
        """One character that has no token: its bytes, or what the tokenizer has for the unknown."""
        names = [f"<0x{byte:02X}>" for byte in char.encode("utf-8", "replace")]
        ids = [self.token_id(name) for name in names]
        found = [id_ for id_ in ids if id_ is not None]
        if self.scheme.byte_tokens and len(found) == len(names):
            return found
        unknown = self._tokenizer.unk_token_id
        return [] if unknown is None else [int(unknown)]


def _templates(found: Any) -> dict[str, str]:
    """By name. `transformers` gives one text, or a table of named ones."""
    if isinstance(found, str):
        return {"default": found}
    return {str(name): str(text) for name, text in (found or {}).items()}
