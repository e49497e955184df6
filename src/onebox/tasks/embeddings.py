"""Task `embeddings`: a vector for each text.

curl -s localhost:8000/v1/tasks/embeddings -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' \\
     -d '{"model": "all-MiniLM-L6-v2", "inputs": ["A text.", "Another one."]}'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput
from onebox.core.piecework import Piecework
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.language.encoding.piecework import EncoderTask, TextPieces, usage
from onebox.language.encoding.texts import EncodedText, TextEncoding
from onebox.language.limits import check_token_ids
from onebox.language.messages import Text

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 1_048_576

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_INPUT_TOKENS)]


class EmbeddingsInput(BaseModel):
    """Texts, or token ids, which are taken as they are: without prompt and without marks."""

    inputs: list[Text | TokenIds] = Field(min_length=1, max_length=MAX_INPUTS)
    dimensions: int | None = Field(
        None, ge=1, description="The first so many numbers, brought to length 1."
    )
    encoding_format: Literal["float", "base64"] = "float"
    prompt: str | None = Field(
        None,
        max_length=256,
        description="Name of one of the checkpoint's prompts, which is put before each text; left "
        "out, its default one is.",
    )
    truncate: bool = Field(default=False, description="Cut a text that is too long.")


class Embeddings(EncoderTask[EmbeddingsInput]):
    name = "embeddings"
    summary = "Turn texts into vectors"
    Input = EmbeddingsInput

    def check(self, request: EmbeddingsInput, entry: Entry) -> None:
        _check_dimensions(request.dimensions, entry)
        prompt_of(request.prompt, entry)
        for index, given in enumerate(request.inputs):
            if not given:
                raise InvalidInput(
                    f"input[{index}] is empty", param="input", details={"index": index}
                )
            if not isinstance(given, str):
                _check_ids(given, index, request, entry)

    def items(self, request: EmbeddingsInput) -> int:
        return len(request.inputs)

    def prepare(self, request: EmbeddingsInput, entry: Entry, read: Any) -> Piecework:
        texts = _encoded(request, entry, self._encodings(entry))

        def finish(rows: list[Any]) -> list[Output]:
            value = {"vectors": _shortened(rows, request.dimensions), "usage": usage(texts)}
            return [Output("vectors", value, options={"format": request.encoding_format})]

        return TextPieces(texts, finish)


def prompt_of(name: str | None, entry: Entry) -> str:
    """The text of a prompt, by default of the checkpoint's own. Raises InvalidInput."""
    prompts, wanted = entry.facts["prompts"], name or entry.facts["default_prompt"]
    if wanted is None:
        return ""
    if wanted not in prompts:
        raise InvalidInput(
            f"{entry.name} has no prompt {wanted!r}; it has {', '.join(sorted(prompts))}",
            param="prompt",
            details={"prompts": sorted(prompts)},
        )
    return str(prompts[wanted])


def _check_dimensions(wanted: int | None, entry: Entry) -> None:
    dimensions = entry.facts["dimensions"]
    if wanted is not None and wanted > dimensions:
        raise InvalidInput(
            f"{wanted} dimensions were asked for and {entry.name} has {dimensions}",
            param="dimensions",
            details={"dimensions": wanted, "max": dimensions},
        )


def _check_ids(given: list[int], index: int, request: EmbeddingsInput, entry: Entry) -> None:
    if request.prompt is not None:
        raise InvalidInput(
            f"input[{index}] is token ids, which take no prompt; give its text, or no prompt",
            param="prompt",
            details={"index": index},
        )
    try:
        check_token_ids(given, entry, param="input")
    except InvalidInput as error:
        raise InvalidInput(
            f"input[{index}]: {error.message}",
            param="input",
            details={"index": index, **error.details},
        ) from None


def _encoded(request: EmbeddingsInput, entry: Entry, encoding: TextEncoding) -> list[EncodedText]:
    """In the order of the request. Raises ContextOverflow for one that is too long."""
    found: dict[int, EncodedText] = {}
    texts = {i: given for i, given in enumerate(request.inputs) if isinstance(given, str)}
    for index, given in enumerate(request.inputs):
        if not isinstance(given, str):
            found[index] = encoding.ids(given, index, truncate=request.truncate)
    encoded = encoding.texts(
        list(texts.values()),
        places=list(texts),
        prompt=prompt_of(request.prompt, entry),
        truncate=request.truncate,
        skip_prompt=not entry.facts["include_prompt"],
    )
    found.update(zip(texts, encoded, strict=True))
    return [found[index] for index in range(len(request.inputs))]


def _shortened(rows: Sequence[Any], dimensions: int | None) -> Any:
    """float32 [texts, dimensions]; shortened ones are brought to length 1."""
    import numpy as np

    vectors = np.stack(rows)
    if dimensions is None:
        return vectors
    vectors = vectors[:, :dimensions]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


TASKS.register(Embeddings.name, Embeddings())
