"""What a request to `/v1/responses` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onebox.api.openai.chat_tools import (
    AllowedTools,
    FunctionName,
    GivenFunction,
    GivenTool,
    NamedTool,
    ToolChoice,
    ToolFields,
    Tooling,
    tooling_of,
)
from onebox.api.openai.text_fields import TextFields, refuse_fields
from onebox.core.errors import InvalidInput
from onebox.language.grammars.json_schema import check_schema
from onebox.language.messages import (
    MAX_MESSAGES,
    MAX_TOOLS,
    JsonObject,
    ResponseFormat,
    Text,
    ToolName,
)
from onebox.language.sampling import MAX_TOP_LOGPROBS

LOGPROBS = "message.output_text.logprobs"
MAX_METADATA = 16
# Would change what comes back, and this server does not do it.
REFUSED = (
    "conversation",
    "prompt",
    "context_management",
    "moderation",
    "image",
    "access_programs",
    "n",
)

ResponseId = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextFormat(_Strict):
    """`json_schema` needs `schema`, and binds the answer to it whatever `strict` says."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = Field(None, max_length=64)
    description: str | None = Field(None, max_length=100_000)
    json_schema: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class TextConfig(_Strict):
    """`verbosity` is accepted, without effect."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class FunctionTool(_Strict):
    """`parameters` is a JSON schema; with `strict` one of the documented subset."""

    type: Literal["function"]
    name: ToolName
    description: str | None = Field(None, max_length=100_000)
    parameters: JsonObject | None = None
    strict: bool | None = None


class ChosenTool(_Strict):
    type: Literal["function"]
    name: ToolName


class ChosenTools(_Strict):
    """A word, one function, or those that may be called."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    name: ToolName | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[ChosenTool] | None = Field(None, max_length=MAX_TOOLS)


def _as_object(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class Reasoning(_Strict):
    """Accepted, without effect: how much a model thinks is its own affair."""

    effort: str | None = Field(None, max_length=32)
    summary: str | None = Field(None, max_length=32)
    generate_summary: str | None = Field(None, max_length=32)


class TurnFields(BaseModel):
    """What a response and the counting of its tokens take alike."""

    input: str | Annotated[list[dict[str, Any]], Field(max_length=MAX_MESSAGES)] = Field(
        description="A text, or items: messages, function calls, their outputs, references.",
    )
    instructions: Text | None = None
    previous_response_id: ResponseId | None = None
    tools: list[FunctionTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Annotated[
        ChosenTools | None, BeforeValidator(_as_object, str | ChosenTools | None)
    ] = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    conversation: Any = None


class ResponsesRequest(TurnFields, TextFields):
    """OpenAI's fields, and ours (`seed`, `top_k`, `min_p`, `repetition_penalty`, `stop`,
    `deterministic`, `timeout_s`, `priority`, …) through `extra_body`.

    `reasoning`, `max_tool_calls`, `service_tier`, `user`, `safety_identifier`, `prompt_cache_*` and
    `stream_options` are accepted, without effect.
    """

    max_output_tokens: int | None = Field(None, ge=1, le=1_048_576)
    store: bool | None = None
    background: bool | None = None
    metadata: (
        dict[
            Annotated[str, Field(max_length=64)],
            Annotated[str, Field(max_length=512)],
        ]
        | None
    ) = Field(None, max_length=MAX_METADATA)
    include: list[str] | None = Field(None, max_length=32)
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    max_tool_calls: int | None = Field(None, ge=1, lt=2**31)
    service_tier: str | None = Field(None, max_length=64)
    safety_identifier: str | None = Field(None, max_length=512)
    prompt_cache_key: str | None = Field(None, max_length=512)
    prompt_cache_retention: str | None = Field(None, max_length=32)
    prompt_cache_options: Any = None
    prompt: Any = None
    context_management: Any = None
    moderation: Any = None
    image: Any = None
    access_programs: Any = None

    @property
    def is_stored(self) -> bool:
        return self.store is not False

    @property
    def wanted_logprobs(self) -> int | None:
        """How many others are told at each token; None: no log-probabilities at all."""
        if LOGPROBS in (self.include or ()):
            return self.top_logprobs or 0
        return self.top_logprobs or None


class InputTokensRequest(TurnFields):
    """`reasoning`, `tool_choice`, `text`, `truncation` and `personality` change no count."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=512)
    personality: str | None = Field(None, max_length=64)


def refuse_unsupported(body: ResponsesRequest) -> None:
    """Raises InvalidInput with the name of what this server does not do."""
    refuse_fields(body, REFUSED)
    for place, name in enumerate(body.include or ()):
        if name != LOGPROBS:
            raise InvalidInput(
                f"include: {name[:64]} is not supported by this server",
                param=f"include.{place}",
                details={"supported": [LOGPROBS]},
            )
    if body.background and not body.is_stored:
        raise InvalidInput("background=true needs store=true", param="background")
    if body.background and body.stream:
        raise InvalidInput(
            "a response in the background cannot be streamed by this server; "
            "poll it by its id, or leave background out",
            param="stream",
        )


def response_format_of(text: TextConfig | None) -> ResponseFormat:
    """Raises InvalidInput with the place in the schema that cannot be used."""
    wanted = text and text.format
    if not wanted or wanted.type != "json_schema":
        return ResponseFormat(type=wanted.type if wanted else "text")
    if wanted.json_schema is None:
        raise InvalidInput("json_schema needs a schema", param="text.format.schema")
    check_schema(wanted.json_schema, "text.format.schema")
    return ResponseFormat(type="json_schema", json_schema=wanted.json_schema)


def tools_of(body: TurnFields) -> Tooling:
    """Raises InvalidInput with the place of what cannot be used."""
    given = ToolFields(
        tools=None if body.tools is None else [_nested(tool) for tool in body.tools],
        tool_choice=_nested_choice(body.tool_choice),
        parallel_tool_calls=body.parallel_tool_calls,
        functions=None,
        function_call=None,
    )
    try:
        return tooling_of(given)
    except InvalidInput as error:
        # Tools are flat here.
        error.param = (error.param or "").replace(".function", "") or None
        raise


def _nested(tool: FunctionTool) -> GivenTool:
    function = GivenFunction(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
    )
    return GivenTool(type="function", function=function)


def _nested_choice(choice: ChosenTools | None) -> ToolChoice | None:
    if choice is None:
        return None
    if choice.type == "function":
        if choice.name is None:
            raise InvalidInput("a function is chosen by its name", param="tool_choice.name")
        return ToolChoice(type="function", function=FunctionName(name=choice.name))
    if choice.type == "allowed_tools":
        if not choice.tools or choice.mode is None:
            raise InvalidInput("allowed_tools needs mode and tools", param="tool_choice.tools")
        named = [
            NamedTool(type="function", function=FunctionName(name=tool.name))
            for tool in choice.tools
        ]
        return ToolChoice(
            type="allowed_tools", allowed_tools=AllowedTools(mode=choice.mode, tools=named)
        )
    return ToolChoice(type=choice.type)
