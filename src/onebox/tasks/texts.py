"""What the tasks of text models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from onebox.core.contracts import Device, Entry, InputT
from onebox.core.decoding import EncodedTask
from onebox.language.limits import step_bytes
from onebox.language.prompts.templates import TemplateRenderer
from onebox.language.prompts.tokenizer import TextTokenizer, tokenizer_of


class TextTask(EncodedTask[InputT], Generic[InputT]):
    """
    Args:
        tokenizers: finds the tokenizer of a checkpoint.
        renderer: of chat templates; by default the one of this process.
    """

    families = frozenset({"causal_lm", "image_text_to_text"})

    def __init__(
        self,
        tokenizers: Callable[[Entry], TextTokenizer] = tokenizer_of,
        renderer: TemplateRenderer | None = None,
    ) -> None:
        self._tokenizers = tokenizers
        self._renderer = renderer

    def reserve_bytes(self, request: InputT, entry: Entry, device: Device) -> int:
        """Also where nothing is written: others may write in the lease that it began."""
        return step_bytes(entry)
