"""Tasks `tokenize` and `detokenize`: text to a model's tokens, and back.

curl -s localhost:8000/v1/tasks/tokenize -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' \\
     -d '{"model": "SmolLM2-135M-Instruct", "text": "How many tokens?"}'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from onebox.core.contracts import Bundle, Entry, RunContext
from onebox.core.decoding import Generation, Prompt, Token, TokenSequence
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.language.limits import check_token_ids
from onebox.language.messages import MAX_MESSAGES, Message, Text
from onebox.language.prompts.encode import encode_chat
from onebox.tasks.completion import TokenIds
from onebox.tasks.texts import TextTask


@dataclass(frozen=True, slots=True)
class Told:
    """A Generation that has nothing left to write."""

    value: dict[str, Any]

    @property
    def sequences(self) -> Sequence[TokenSequence]:
        return ()

    def accept(self, sequence: TokenSequence, token: Token) -> None:
        raise NotImplementedError("it has no sequences")

    def outputs(self) -> list[Output]:
        return [Output("json", self.value)]


class TokenizeInput(BaseModel):
    """A text, or a conversation, which is put into the model's chat format first."""

    text: Text | None = None
    messages: list[Message] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)
    add_special_tokens: bool = Field(
        default=True, description="With the marks that the tokenizer puts around a text."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either text or messages")
        return self


class Tokenize(TextTask[TokenizeInput]):
    name = "tokenize"
    summary = "Turn a text into tokens"
    is_counted = False
    Input = TokenizeInput

    def items(self, request: TokenizeInput) -> int:
        return 0

    def encode(self, request: TokenizeInput, entry: Entry, read: Any) -> Prompt:
        tokenizer = self._tokenizers(entry)
        if request.text is not None:
            ids = tokenizer.encode(request.text, special=request.add_special_tokens)
        else:
            _, ids = encode_chat(
                tokenizer,
                request.messages or [],
                [],
                renderer=self._renderer,
                vision=entry.facts["vision"],
            )
        return Prompt((tuple(ids),))

    def open(
        self, bundle: Bundle, request: TokenizeInput, prompt: Prompt, context: RunContext
    ) -> Generation:
        (ids,) = prompt.ids
        length = context.entry.facts["context_length"]
        return Told({"tokens": ids, "count": len(ids), "max_model_len": length})


class DetokenizeInput(BaseModel):
    tokens: TokenIds


@dataclass(frozen=True, slots=True)
class Decoded(Prompt):
    text: str = ""


class Detokenize(TextTask[DetokenizeInput]):
    name = "detokenize"
    summary = "Turn tokens into a text"
    is_counted = False
    Input = DetokenizeInput

    def check(self, request: DetokenizeInput, entry: Entry) -> None:
        check_token_ids(request.tokens, entry, param="tokens")

    def items(self, request: DetokenizeInput) -> int:
        return 0

    def encode(self, request: DetokenizeInput, entry: Entry, read: Any) -> Decoded:
        return Decoded((), text=self._tokenizers(entry).decode(request.tokens))

    def open(
        self, bundle: Bundle, request: DetokenizeInput, prompt: Prompt, context: RunContext
    ) -> Generation:
        assert isinstance(prompt, Decoded)
        return Told({"text": prompt.text})


for task in (Tokenize(), Detokenize()):
    TASKS.register(task.name, task)
