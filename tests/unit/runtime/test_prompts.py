from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from onebox.core.errors import InvalidInput, ModelBroken
from onebox.runtime.worker.prompts import Prompts
from tests.unit.runtime.fakes import entry


@dataclass
class Asked:
    """A request whose prompt cannot be made, if there is an error."""

    name: str
    error: Exception | None = None
    entry: object = None
    tries: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.entry = entry(self.name)

    def prepare(self):
        self.tries.append(self.name)
        if self.error is not None:
            raise self.error


@pytest.fixture
def prompts():
    prompts = Prompts()
    yield prompts
    prompts.close()


def test_a_broken_checkpoint_is_not_tried_again(prompts):
    with pytest.raises(ModelBroken, match="never ends"):
        prompts.make(Asked("a", ModelBroken("never ends")))
    again, other = Asked("a"), Asked("b")
    with pytest.raises(ModelBroken, match="never ends"):
        prompts.make(again)
    assert again.tries == []
    prompts.make(other)
    assert other.tries == ["b"]


def test_what_is_wrong_with_a_request_is_its_own(prompts):
    with pytest.raises(InvalidInput):
        prompts.make(Asked("a", InvalidInput("too long")))
    again = Asked("a")
    prompts.make(again)
    assert again.tries == ["a"]


def test_a_checkpoint_that_was_changed_is_tried_again(prompts):
    asked = Asked("a")
    with pytest.raises(ModelBroken):
        prompts.make(Asked("a", ModelBroken("never ends")))
    prompts.forget([asked.entry.key])
    prompts.make(asked)
    assert asked.tries == ["a"]
