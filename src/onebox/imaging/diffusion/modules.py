"""Modules of a loaded pipeline put in another's place for a while.

One that does so has the other as its `stands_for`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


def dotted(owner: Any, module: Any) -> str:
    """The name of a module below `owner`, such as "embeddings.token_embedding"."""
    return str(next(name for name, other in owner.named_modules() if other is module))


@contextlib.contextmanager
def replaced(owner: Any, name: str, module: Any) -> Iterator[None]:
    """`module` stands where `owner` has the one called `name`, which is put back in any case.

    A compiled pipeline notices it, unlike a hook.
    """
    parent_name, _, child = name.rpartition(".")
    parent = owner.get_submodule(parent_name)
    before = getattr(parent, child)
    setattr(parent, child, module)
    try:
        yield
    finally:
        setattr(parent, child, before)


@contextlib.contextmanager
def as_loaded(pipeline: Any) -> Iterator[None]:
    """Inside the block nothing stands in for a module of the pipeline: a run may be nested in
    another one, of which it is to see nothing.
    """
    with contextlib.ExitStack() as stack:
        for owner in pipeline.components.values():
            modules = owner.named_modules() if hasattr(owner, "named_modules") else ()
            for name, original in [(n, m.stands_for) for n, m in modules if _stands_in(m)]:
                stack.enter_context(replaced(owner, name, original))
        yield


def _stands_in(module: Any) -> bool:
    return "stands_for" in module._modules
