"""OpenAI's tools and their old form, functions, and what they become for the chat task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onebox.core.errors import InvalidInput
from onebox.language.grammars.json_schema import check_schema
from onebox.language.messages import MAX_TOOLS, JsonObject, Tool, ToolName


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GivenFunction(_Strict):
    """`parameters` is a JSON schema; with `strict` one of the documented subset."""

    name: ToolName
    description: str | None = Field(None, max_length=100_000)
    parameters: JsonObject | None = None
    strict: bool | None = None


class GivenTool(_Strict):
    type: Literal["function", "custom"]
    function: GivenFunction | None = None
    custom: Any = None


class FunctionName(_Strict):
    name: ToolName


class NamedTool(_Strict):
    type: Literal["function", "custom"]
    function: FunctionName | None = None
    custom: Any = None


class AllowedTools(_Strict):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS)


class ToolChoice(_Strict):
    type: Literal["none", "auto", "required", "function", "allowed_tools", "custom"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None
    custom: Any = None


def _choice(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _old_choice(value: Any) -> Any:
    return {"type": "function", "function": value} if isinstance(value, dict) else _choice(value)


class ToolFields(BaseModel):
    """`functions` and `function_call` are the old form; they are answered in the old form."""

    tools: list[GivenTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Annotated[ToolChoice | None, BeforeValidator(_choice, str | ToolChoice | None)] = (
        None
    )
    parallel_tool_calls: bool | None = None
    functions: list[GivenFunction] | None = Field(None, max_length=MAX_TOOLS)
    function_call: Annotated[
        ToolChoice | None, BeforeValidator(_old_choice, str | FunctionName | None)
    ] = None


@dataclass(frozen=True, slots=True)
class Tooling:
    """Fields of the chat task's input, by their names there.

    `legacy`: the client speaks of functions, and is answered so.
    """

    tools: list[Tool]
    tool_choice: Literal["none", "auto", "required"]
    allowed_tools: list[str] | None
    parallel_tool_calls: bool
    legacy: bool


def tooling_of(body: ToolFields) -> Tooling:
    """Raises InvalidInput with the place of what cannot be used."""
    legacy = body.functions is not None or body.function_call is not None
    if legacy and (body.tools is not None or body.tool_choice is not None):
        raise InvalidInput(
            "give either tools or functions (their old form), not both", param="functions"
        )
    if legacy:
        tools = [
            _tool(function, f"functions.{place}")
            for place, function in enumerate(body.functions or ())
        ]
    else:
        tools = [_given(tool, f"tools.{place}") for place, tool in enumerate(body.tools or ())]
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise InvalidInput("two tools have the same name", param="functions" if legacy else "tools")
    param = "function_call" if legacy else "tool_choice"
    asked = body.function_call if legacy else body.tool_choice
    choice, allowed = _chosen(asked, names, param)
    # Who names a tool gets one call of it.
    is_named = asked is not None and asked.type == "function"
    parallel = not legacy and not is_named and body.parallel_tool_calls is not False
    return Tooling(tools, choice, allowed, parallel, legacy)


def _given(tool: GivenTool, param: str) -> Tool:
    if tool.function is None:
        raise InvalidInput(
            "tools are of type function here, with a function"
            if tool.type == "function"
            else "tools of type custom are not supported by this server",
            param=f"{param}.function" if tool.type == "function" else f"{param}.type",
        )
    return _tool(tool.function, f"{param}.function")


def _tool(function: GivenFunction, param: str) -> Tool:
    parameters = function.parameters or {}
    if function.strict and parameters:
        check_schema(parameters, f"{param}.parameters")
    return Tool(
        name=function.name,
        description=function.description,
        parameters=parameters,
        strict=bool(function.strict),
    )


def _chosen(
    choice: ToolChoice | None, names: Sequence[str], param: str
) -> tuple[Literal["none", "auto", "required"], list[str] | None]:
    """How tools are used, and which of them; None: all."""
    if choice is None:
        return "auto", None
    if choice.type in ("none", "auto"):
        return choice.type, None
    if not names:
        raise InvalidInput(f"{param} asks for a tool, and the request has none", param=param)
    if choice.type == "required":
        return "required", None
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        allowed = [_name(tool.function, param) for tool in choice.allowed_tools.tools]
        return choice.allowed_tools.mode, _known(allowed, names, param)
    if choice.type == "custom":
        raise InvalidInput("tools of type custom are not supported by this server", param=param)
    return "required", _known([_name(choice.function, param)], names, param)


def _name(function: FunctionName | None, param: str) -> str:
    if function is None:
        raise InvalidInput(f"{param} must name its tools as functions", param=param)
    return function.name


def _known(wanted: list[str], names: Sequence[str], param: str) -> list[str]:
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InvalidInput(
            f"{param} names {unknown[0]}, and the request has no such tool",
            param=param,
            details={"tools": list(names)},
        )
    return wanted
