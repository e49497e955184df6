"""Which of a model's labels a cut-out is made of."""

from __future__ import annotations

from collections.abc import Sequence

from onebox.core.errors import InvalidInput

BACKGROUND = frozenset({"background", "bg", "unlabeled", "unlabelled", "void"})
_GENERIC = "label_"
MAX_NAMED = 20


def chosen_labels(labels: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    """Numbers of the labels to cut out; empty for a model that has none.

    Args:
        labels: the model's, by number; empty if all it knows is an object and what is around it.
        wanted: the client's; None: whatever is not the background.

    Raises:
        InvalidInput: a label is unknown, or no label is the background and none is wanted.
    """
    if not labels:
        if wanted:
            raise InvalidInput(
                "this model only tells an object from its background; leave labels out, or take a "
                "model that knows labels",
                param="labels",
            )
        return []
    if wanted is None:
        return _foreground(labels)
    numbers = {label.casefold(): number for number, label in enumerate(labels)}
    unknown = next((label for label in wanted if label.casefold() not in numbers), None)
    if unknown is not None:
        raise InvalidInput(
            f"this model does not know {unknown[:100]!r}; it knows {_named(labels)}",
            param="labels",
            details={"labels": list(labels)},
        )
    return sorted({numbers[label.casefold()] for label in wanted})


def _foreground(labels: Sequence[str]) -> list[int]:
    names = [label.casefold() for label in labels]
    # Unnamed labels are counted from the background on.
    ground = {0} if names[0].startswith(_GENERIC) else set()
    ground |= {number for number, name in enumerate(names) if name in BACKGROUND}
    if not ground:
        raise InvalidInput(
            f"this model tells {_named(labels)} apart, and none of them is the background; say in "
            "labels which to cut out",
            param="labels",
            details={"labels": list(labels)},
        )
    return [number for number in range(len(names)) if number not in ground]


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - MAX_NAMED
    return ", ".join(labels[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
