"""A desk whose engine writes texts: a decoder that counts, texts that say what they got."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from onebox.core.decoding import NoRoom, Token, TokenSequence
from onebox.core.errors import AppError, InferenceFailed
from onebox.engines.decode import DecodeEngine
from onebox.engines.work import Work
from tests.unit.engines.fakes import BOUND_S, Desk, FakeMemory


@dataclass
class FakeDecoder:
    """Each step gives every sequence its own length as its next token.

    `before_step` sees what is computed, and may wait or raise. A sequence takes a byte a token.
    """

    room: int = 10**9
    before_step: Callable[[Sequence[TokenSequence]], None] = lambda sequences: None
    held: dict[int, int] = field(default_factory=dict)
    steps: list[list[str]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    kept_dropped: int = 0

    @property
    def used_bytes(self) -> int:
        return sum(self.held.values())

    def attach(self, reserve: Any, keep_bytes: int, fixed_mode: Any) -> None:
        return

    def bytes_for(self, tokens: int) -> int:
        return tokens

    def step(self, sequences):
        lengths = {id(s): len(s) for s in sequences}
        others = sum(size for key, size in self.held.items() if key not in lengths)
        if others + sum(lengths.values()) > self.room:
            raise NoRoom
        self.before_step(sequences)
        self.steps.append([s.sampling for s in sequences])
        self.begun += [s.sampling for s in sequences if id(s) not in self.held]
        self.held |= lengths
        return [(s, self.token(s)) for s in sequences]

    def token(self, sequence: TokenSequence) -> Token | AppError:
        return Token(len(sequence))

    def drop(self, sequence: TokenSequence) -> None:
        self.held.pop(id(sequence), None)

    def drop_kept(self) -> None:
        self.kept_dropped += 1


@dataclass
class FakeText:
    """`count` sequences of `length` tokens behind a prompt of `prompt`."""

    name: str
    length: int
    prompt: int = 1
    count: int = 1
    on_accept: Callable[[TokenSequence], None] = lambda sequence: None
    sequences: list[TokenSequence] = field(init=False)

    def __post_init__(self) -> None:
        self.sequences = [self._sequence(n) for n in range(self.count)]

    def _sequence(self, number: int) -> TokenSequence:
        name = self.name if self.count == 1 else f"{self.name}{number}"
        return TokenSequence([0] * self.prompt, self.length, name)

    def accept(self, sequence: TokenSequence, token: Token) -> None:
        self.on_accept(sequence)
        sequence.output.append(token.id)
        if len(sequence.output) == sequence.max_tokens:
            sequence.finish_reason = "length"

    def outputs(self) -> list[Any]:
        return [sequence.output for sequence in self.sequences]


@dataclass
class FakeBundle:
    decoder: FakeDecoder


@dataclass
class LendingMemory(FakeMemory):
    """Lends a bundle with the decoder."""

    decoder: FakeDecoder = field(default_factory=FakeDecoder)

    @contextlib.contextmanager
    def _lent(self, works: Sequence[Work]) -> Iterator[Any]:
        with super()._lent(works):
            yield FakeBundle(self.decoder)


@dataclass
class Scribe(Desk):
    """Its works' requests are texts."""

    memory: LendingMemory = field(default_factory=LendingMemory)

    @property
    def decoder(self) -> FakeDecoder:
        return self.memory.decoder

    def start(self, most_sequences: int = 8, **limits: Any) -> None:
        limits |= {"most_sequences": most_sequences, "keep_bytes": 0}
        self.engines.append(DecodeEngine("test", self.memory, Pen(self), self.gate, **limits))

    def text(self, name: str, length: int, **fields: Any) -> Work:
        own = {key: fields.pop(key) for key in ("prompt", "count", "on_accept") if key in fields}
        text = FakeText(name, length, **own)
        return self.submit(name, text, items=text.count, **fields)

    def paused_at(self, step: int) -> tuple[threading.Event, threading.Event]:
        """Two events: that step was reached (from 1), and it may go on."""
        reached, free = threading.Event(), threading.Event()

        def before_step(_: Sequence[TokenSequence]) -> None:
            if len(self.decoder.steps) == step - 1:
                reached.set()
                assert free.wait(BOUND_S)

        self.decoder.before_step = before_step
        return reached, free


@dataclass
class Pen:
    """The runner. What is no text is run as the desk runs it."""

    desk: Scribe

    def __call__(self, works, bundle, between_steps, *, lean):
        self.desk.run(works, bundle, between_steps, lean=lean)

    def decodes(self, work: Work) -> bool:
        return isinstance(work.request, FakeText)

    def open(self, work: Work, bundle: Any) -> FakeText:
        self.desk.on_run([work], False)
        return work.request

    def finish(self, work: Work, generation: FakeText) -> None:
        self.desk.answer_with(work.id, generation.outputs())

    def failed(self, error: BaseException) -> AppError:
        return InferenceFailed("the step failed")

    def fixed_mode(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()
