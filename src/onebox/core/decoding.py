"""The contracts of the `decode` engine: sequences of tokens that are continued side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol

from onebox.core.contracts import Bundle, Entry, InputT, RunContext, Task
from onebox.core.errors import AppError
from onebox.core.results import Output

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Token:
    """One sampled token.

    Attributes:
        logprob: natural logarithm of its probability before temperature, penalties and grammar;
            None unless asked for.
        top: the most likely tokens at its place with their log-probabilities, best first.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Matcher(Protocol):
    """A grammar's state along one sequence. Used by the engine thread only."""

    def fill(self, bitmask: Any, row: int) -> bool:
        """Write which tokens may come next into row `row` of an int32 torch tensor
        [rows, ceil(vocabulary / 32)], one bit a token, least significant first.

        Returns False, and writes nothing, where everything may come.
        """

    def accept(self, token_id: int) -> None:
        """The token was chosen. It is one that `fill` allowed."""

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may come."""


@dataclass(slots=True, eq=False)
class TokenSequence:
    """One text being written: what the decoder is given of it, and what it adds.

    Attributes:
        prompt: token ids, at least one.
        output: sampled so far. The generation appends to it, in `accept`.
        sampling: how tokens are chosen (`language.sampling.Sampling`).
        deterministic: its bits must not depend on what is computed beside it.
        finish_reason: set once it is complete.
        cached: how many of the prompt's tokens had not to be computed.
        images: what the model's processor made of the pictures in the prompt; None without any.
        state: the decoder's own.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: Any
    matcher: Matcher | None = None
    deterministic: bool = False
    images: Any = None
    output: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    cached: int = 0
    state: Any = None

    def __len__(self) -> int:
        return len(self.prompt) + len(self.output)


class Generation(Protocol):
    """One request inside a decode engine; made by its task, fed by the engine, on its thread."""

    @property
    def sequences(self) -> Sequence[TokenSequence]: ...

    def accept(self, sequence: TokenSequence, token: Token) -> None:
        """The next token of one of its sequences: append it to the output, tell the client, and
        set `finish_reason` with the last one.
        """

    def outputs(self) -> list[Output]:
        """The result, once every sequence has its `finish_reason`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request became before it was queued: tokens, and the grammar that binds the answer.

    Attributes:
        ids: one list of token ids for each prompt of the request.
        grammar: has `start() -> Matcher`; None: free text.
        images: as in TokenSequence.
    """

    ids: tuple[tuple[int, ...], ...]
    grammar: Any = None
    images: Any = None


class NoRoom(Exception):
    """The memory budget has no room for more keys and values now."""


class Decoder(Protocol):
    """Computes the sequences of one bundle, one step at a time, on its engine's thread."""

    @property
    def used_bytes(self) -> int:
        """What keys and values take now, those kept for prompts that may come again included."""

    def attach(
        self,
        reserve: Callable[[int], bool],
        keep_bytes: int,
        fixed_mode: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """Before the first step.

        Args:
            reserve: asked whether keys and values may take so many bytes in all from now on.
            keep_bytes: the most that may be kept for prompts that may come again.
            fixed_mode: makes the `with` block in which deterministic sequences are computed.
        """

    def bytes_for(self, tokens: int) -> int:
        """What a sequence of so many tokens takes."""

    def step(
        self, sequences: Sequence[TokenSequence]
    ) -> list[tuple[TokenSequence, Token | AppError]]:
        """Compute the next part of each sequence; all that are under way, the oldest first.

        Returns the next token of those whose text is computed to its end, or why there is none.
        Raises NoRoom before anything was computed; without some of the sequences there may be.
        """

    def drop(self, sequence: TokenSequence) -> None:
        """It has ended, or has to make room: then it begins anew when it is seen again."""

    def drop_kept(self) -> None:
        """Forget what is kept for prompts that may come again."""


class EncodedTask(Task[InputT], Generic[InputT]):
    """A task whose requests become prompts before they are queued, and that a decode engine opens:
    it makes a Generation instead of an answer.
    """

    @abstractmethod
    def encode(self, request: InputT, entry: Entry, read: Any) -> Prompt:
        """Text to tokens. Runs in the worker's CPU pool, before queueing.

        `read` gives the bytes of a MediaRef. Raises InvalidInput, for a context overflow with both
        numbers, and ModelBroken for a chat template that cannot be used.
        """

    @abstractmethod
    def open(
        self, bundle: Bundle, request: InputT, prompt: Prompt, context: RunContext
    ) -> Generation:
        """Begin. Runs on the engine thread; must be quick."""

    def run(self, bundle: Any, request: InputT, context: RunContext) -> list[Output]:
        raise NotImplementedError("a decode engine opens this task; it never runs it")


class DecodeTask(EncodedTask[InputT], Generic[InputT]):
    """One that writes: its result tells what it took."""
