"""Prompts with pictures: what a vision-language model's processor makes of text and images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from onebox.core.contracts import Entry
from onebox.core.decoding import Prompt
from onebox.core.errors import InvalidInput, ModelBroken, TaskNotSupported
from onebox.imaging.opening import open_pictures
from onebox.language.prompts.control_text import strings_of
from onebox.language.prompts.templates import TemplateRenderer
from onebox.language.prompts.text_tokenizer import TextTokenizer
from onebox.language.prompts.tokenizer import tokenizer_of

KEPT = 4

# Made anew by the decoder, which knows how much of a text is computed already.
_DECODERS_OWN = frozenset({"input_ids", "attention_mask"})


class ProcessorStore:
    """The processors that were used last, loaded one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Any] = OrderedDict()

    def get(self, entry: Entry) -> Any:
        """Raises ModelBroken."""
        with self._lock:
            if entry.key not in self._found:
                self._found[entry.key] = _load_processor(entry)
            self._found.move_to_end(entry.key)
            if len(self._found) > KEPT:
                self._found.popitem(last=False)
            return self._found[entry.key]


def encode_vision(
    entry: Entry,
    messages: Sequence[Mapping[str, Any]],
    images: Sequence[bytes],
    renderer: TemplateRenderer,
) -> Prompt:
    """Token ids of a conversation and the tensors of its pictures.

    Args:
        messages: as chat templates take them; content is a list of parts, and those of the type
            "image" stand for the pictures in their order.
        images: PNG, JPEG or WebP files.

    Raises:
        InvalidInput: a picture cannot be read, or the text holds a control token.
        ModelBroken: processor or template cannot be used.
        TaskNotSupported: the checkpoint has no chat template.
    """
    pictures = open_pictures(images, "messages")
    tokenizer, processor = tokenizer_of(entry), _STORE.get(entry)
    _refuse_control_tokens(messages, tokenizer)
    template = tokenizer.template_for(tools=False)
    if template is None:
        raise TaskNotSupported("this model has no chat template, so it cannot chat")
    text = renderer.render(
        template,
        {**tokenizer.special_tokens, "messages": messages, "add_generation_prompt": True},
    )
    try:
        made = processor(
            text=[text], images=[pictures], add_special_tokens=False, return_tensors="pt"
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(
            f"the model's processor refuses these pictures: {str(error)[:300]}", param="messages"
        ) from error
    kept = {name: value for name, value in made.items() if name not in _DECODERS_OWN}
    return Prompt((tuple(made["input_ids"][0].tolist()),), images=kept)


def _refuse_control_tokens(messages: Sequence[Mapping[str, Any]], tokenizer: TextTokenizer) -> None:
    """The processor reads the whole text at once and would take them for its own."""
    pattern = tokenizer.control_pattern
    for message in messages:
        written = {name: value for name, value in message.items() if name != "role"}
        for text in strings_of(written):
            found = pattern.search(text) if pattern is not None else None
            if found is not None:
                raise InvalidInput(
                    f"a message holds {found.group()[:100]!r}, which means something to this "
                    "model; with pictures, leave it out",
                    param="messages",
                )


def _load_processor(entry: Entry) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(
            entry.path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # Of as many kinds as there are ways to spoil such files.
        raise ModelBroken(
            f"the processor of {entry.name} cannot be loaded: {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error


_STORE = ProcessorStore()
