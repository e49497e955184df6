"""Task `completion`: a text goes on.

curl -s localhost:8000/v1/tasks/completion -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' \\
     -d '{"model": "SmolLM2-135M-Instruct", "prompts": ["The capital of France is"]}'
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from onebox.core.contracts import Bundle, Entry, RunContext, TaskDefaults
from onebox.core.decoding import DecodeTask, Generation, Prompt
from onebox.core.errors import InvalidInput
from onebox.core.plugins import TASKS
from onebox.language.answers.answer import Answer
from onebox.language.answers.generation import open_generation, sequences_of
from onebox.language.limits import check_token_ids
from onebox.language.messages import Text
from onebox.language.prompts.encode import check_context, refuse_far_too_long
from onebox.language.prompts.tokenizer import TextTokenizer
from onebox.language.sampling import SamplingFields
from onebox.tasks.texts import TextTask

MAX_PROMPTS = 128
MAX_PROMPT_TOKENS = 1_048_576
DEFAULT_MAX_TOKENS = 16

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_PROMPT_TOKENS)]


class CompletionInput(SamplingFields):
    """Texts to continue. A prompt may be given as token ids. `max_tokens` left out means 16."""

    prompts: list[Text | TokenIds] = Field(min_length=1, max_length=MAX_PROMPTS)
    echo: bool = Field(default=False, description="Give the prompt back in front of its text.")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if len(self.prompts) * self.n > MAX_PROMPTS:
            raise ValueError(
                f"{len(self.prompts)} prompts with n={self.n} are more than {MAX_PROMPTS} texts"
            )
        return self


class Completion(TextTask[CompletionInput], DecodeTask[CompletionInput]):
    name = "completion"
    summary = "Continue a text"
    Input = CompletionInput

    def resolve(
        self, request: CompletionInput, entry: Entry, defaults: TaskDefaults
    ) -> CompletionInput:
        resolved = request.resolved(entry)
        if resolved.max_tokens is None:
            return resolved.model_copy(update={"max_tokens": DEFAULT_MAX_TOKENS})
        return resolved

    def check(self, request: CompletionInput, entry: Entry) -> None:
        if request.echo and request.top_logprobs is not None:
            raise InvalidInput(
                "echo and log-probabilities cannot be had together; leave one of them out",
                param="echo",
            )
        check_token_ids(request.logit_bias, entry, param="logit_bias")
        for prompt in request.prompts:
            if not isinstance(prompt, str):
                check_token_ids(prompt, entry, param="prompt")

    def is_deterministic(self, request: CompletionInput) -> bool:
        return request.deterministic

    def items(self, request: CompletionInput) -> int:
        return len(request.prompts) * request.n

    def encode(self, request: CompletionInput, entry: Entry, read: Any) -> Prompt:
        tokenizer = self._tokenizers(entry)
        length, prompts = entry.facts["context_length"], []
        for prompt in request.prompts:
            if isinstance(prompt, str):
                refuse_far_too_long(tokenizer, prompt, length, param="prompt")
            prompts.append(tuple(_ids(prompt, tokenizer)))
            check_context(len(prompts[-1]), request.max_tokens, length, param="prompt")
        return Prompt(tuple(prompts))

    def open(
        self, bundle: Bundle, request: CompletionInput, prompt: Prompt, context: RunContext
    ) -> Generation:
        model: Any = bundle
        tokenizer: TextTokenizer = model.tokenizer
        sequences = sequences_of(request, prompt, context.entry.facts["context_length"])
        answers = [
            Answer(
                tokenizer,
                stops=request.stop,
                logprobs=request.top_logprobs is not None,
                # After a mark that begins a text its first word has no space before it.
                strip=tokenizer.is_special(sequence.prompt[-1]),
                echo=_echoed(request, index, tokenizer),
            )
            for index, sequence in enumerate(sequences)
        ]
        return open_generation(bundle, request, sequences, answers, context)


def _ids(prompt: str | list[int], tokenizer: TextTokenizer) -> list[int]:
    """At least one token: a text begins with what the tokenizer has for that."""
    ids = tokenizer.encode(prompt, special=True) if isinstance(prompt, str) else prompt
    if ids:
        return ids
    if tokenizer.bos_id is None:
        raise InvalidInput(
            "the prompt is empty, and the model has no token that a text begins with",
            param="prompt",
        )
    return [tokenizer.bos_id]


def _echoed(request: CompletionInput, index: int, tokenizer: TextTokenizer) -> str:
    """What the text number `index` begins with."""
    if not request.echo:
        return ""
    prompt = request.prompts[index // request.n]
    return prompt if isinstance(prompt, str) else tokenizer.decode(prompt)


TASKS.register(Completion.name, Completion())
