"""`TextGeneration`: one text request inside the decode engine, whatever its task makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.contracts import Bundle, RunContext
from onebox.core.decoding import FinishReason, Prompt, Token, TokenSequence
from onebox.core.results import Output
from onebox.language.answers.answer import Answer
from onebox.language.sampling import SamplingFields


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends an answer beside its text and its length.

    Attributes:
        eos_ids: the tokens that a model ends with; they are no part of the text.
        ignore_eos: go on after them; but a grammar that has come to its end has.
    """

    eos_ids: frozenset[int]
    ignore_eos: bool = False

    def is_end(self, sequence: TokenSequence, token_id: int) -> bool:
        bound = sequence.matcher is not None
        return token_id in self.eos_ids and (bound or not self.ignore_eos)


class TextGeneration:
    """Feeds tokens to the answers, tells the client of them, and ends them.

    Args:
        choices: how many sequences continue one prompt; those of a prompt lie side by side.
        about: plain values that go into the result as they are (seed, fingerprint).
    """

    def __init__(
        self,
        sequences: Sequence[TokenSequence],
        answers: Sequence[Answer],
        ending: Ending,
        context: RunContext,
        *,
        choices: int,
        about: dict[str, Any],
    ) -> None:
        self._sequences = sequences
        self._answers = dict(zip(sequences, enumerate(answers), strict=True))
        self._ending = ending
        self._context = context
        self._choices = choices
        self._about = about

    @property
    def sequences(self) -> Sequence[TokenSequence]:
        return self._sequences

    def begin(self) -> None:
        """Tell what is there before the first token, and end what may have none."""
        for sequence in self._sequences:
            index, answer = self._answers[sequence]
            self._tell(index, answer)
            if sequence.max_tokens == 0:
                self._end(sequence, "length", cut=False)

    def accept(self, sequence: TokenSequence, token: Token) -> None:
        index, answer = self._answers[sequence]
        sequence.output.append(token.id)
        if self._ending.is_end(sequence, token.id):
            self._end(sequence, "stop", cut=False)
            return
        if answer.add(token):
            self._end(sequence, "stop", cut=True)
        elif sequence.matcher is not None and sequence.matcher.finished:
            self._end(sequence, "stop", cut=False)
        elif len(sequence.output) >= sequence.max_tokens:
            self._end(sequence, "length", cut=False)
        else:
            self._tell(index, answer)

    def outputs(self) -> list[Output]:
        choices = [
            {"index": index, "finish_reason": sequence.finish_reason, **answer.value()}
            for sequence, (index, answer) in self._answers.items()
        ]
        return [Output("json", {"choices": choices, "usage": self._usage(), **self._about})]

    def _end(self, sequence: TokenSequence, reason: FinishReason, *, cut: bool) -> None:
        index, answer = self._answers[sequence]
        answer.finish(cut=cut)
        self._tell(index, answer)
        sequence.finish_reason = answer.reason(reason)
        self._context.delta({"index": index, "finish_reason": sequence.finish_reason})

    def _tell(self, index: int, answer: Answer) -> None:
        for delta in answer.drain():
            self._context.delta({"index": index, **delta})

    def _usage(self) -> dict[str, int]:
        prompts = [
            self._sequences[start : start + self._choices]
            for start in range(0, len(self._sequences), self._choices)
        ]
        return {
            "prompt_tokens": sum(len(rows[0].prompt) for rows in prompts),
            "cached_tokens": sum(min(row.cached for row in rows) for rows in prompts),
            "completion_tokens": sum(len(sequence.output) for sequence in self._sequences),
            "reasoning_tokens": sum(a.reasoning_tokens for _, a in self._answers.values()),
        }


def sequences_of(
    fields: SamplingFields, prompt: Prompt, context_length: int
) -> list[TokenSequence]:
    """The sequences of a resolved request: for each prompt `n`, side by side."""
    sequences: list[TokenSequence] = []
    for ids in prompt.ids:
        left = context_length - len(ids)
        for _ in range(fields.n):
            sequence = TokenSequence(
                prompt=ids,
                max_tokens=left if fields.max_tokens is None else fields.max_tokens,
                sampling=fields.sampling(len(sequences)),
                matcher=None if prompt.grammar is None else prompt.grammar.start(),
                deterministic=fields.deterministic,
                images=prompt.images,
            )
            sequences.append(sequence)
    return sequences


def open_generation(
    bundle: Bundle,
    fields: SamplingFields,
    sequences: Sequence[TokenSequence],
    answers: Sequence[Answer],
    context: RunContext,
) -> TextGeneration:
    """Begin a resolved request; `bundle` is that of a language model."""
    model: Any = bundle
    generation = TextGeneration(
        sequences,
        answers,
        Ending(model.tokenizer.eos_ids, fields.ignore_eos),
        context,
        choices=fields.n,
        about={"fingerprint": model.fingerprint, "seed": fields.seed},
    )
    generation.begin()
    return generation
