"""Task `chat`: the next message of a conversation.

curl -s localhost:8000/v1/tasks/chat -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' \\
     -d '{"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "Hello!"}]}'
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from onebox.core.contracts import Bundle, Entry, RunContext, TaskDefaults
from onebox.core.decoding import DecodeTask, Generation, Prompt
from onebox.core.errors import InvalidInput, TaskNotSupported
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.language.answers.chat_answer import ChatAnswer
from onebox.language.answers.detokenizer import kept_tokens
from onebox.language.answers.generation import open_generation, sequences_of
from onebox.language.answers.reasoning import MARKS as THOUGHT_MARKS
from onebox.language.answers.reasoning import reasoning_of
from onebox.language.answers.tool_calls import MARKERS, ToolCallParser, ToolFormat, format_of
from onebox.language.limits import check_token_ids
from onebox.language.messages import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ImagePart,
    Message,
    ResponseFormat,
    Tool,
    ToolName,
)
from onebox.language.prompts.chat_variables import conversation_of
from onebox.language.prompts.encode import check_context, encode_chat
from onebox.language.prompts.templates import TemplateRenderer, shared_renderer
from onebox.language.prompts.tokenizer import TextTokenizer
from onebox.language.sampling import SamplingFields
from onebox.tasks.texts import TextTask

MAX_IMAGES = 32


class ChatInput(SamplingFields):
    """A conversation. `images` are the pictures that its parts name by number, from 0 on.

    `allowed_tools`: the answer may call these alone; required and one name means that one.
    """

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    images: list[MediaRef] = Field([], max_length=MAX_IMAGES)
    tools: list[Tool] = Field([], max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] = "auto"
    allowed_tools: Annotated[list[ToolName], Field(max_length=MAX_TOOLS)] | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat = Field(default_factory=ResponseFormat)

    def usable_tools(self) -> list[Tool]:
        """Those that the answer may call."""
        if self.tool_choice == "none":
            return []
        if self.allowed_tools is None:
            return self.tools
        return [tool for tool in self.tools if tool.name in self.allowed_tools]


class Chat(TextTask[ChatInput], DecodeTask[ChatInput]):
    name = "chat"
    summary = "Answer in a conversation"
    Input = ChatInput

    def resolve(self, request: ChatInput, entry: Entry, defaults: TaskDefaults) -> ChatInput:
        return request.resolved(entry)

    def check(self, request: ChatInput, entry: Entry) -> None:
        check_token_ids(request.logit_bias, entry, param="logit_bias")
        _check_images(request, entry)
        _check_tools(request)
        _check_form(request)

    def is_deterministic(self, request: ChatInput) -> bool:
        return request.deterministic

    def items(self, request: ChatInput) -> int:
        return request.n

    def encode(self, request: ChatInput, entry: Entry, read: Any) -> Prompt:
        tokenizer = self._tokenizers(entry)
        if _pictures(request):
            renderer = self._renderer or shared_renderer()
            prompt = _encode_pictures(request, entry, tokenizer, read, renderer)
        else:
            _, ids = encode_chat(
                tokenizer,
                request.messages,
                request.usable_tools(),
                renderer=self._renderer,
                vision=entry.facts["vision"],
                context_length=entry.facts["context_length"],
            )
            prompt = Prompt((tuple(ids),))
        if not prompt.ids[0]:
            raise InvalidInput(
                "the model's chat template makes nothing of these messages", param="messages"
            )
        check_context(len(prompt.ids[0]), request.max_tokens, entry.facts["context_length"])
        return replace(prompt, grammar=_grammar(request, tokenizer))

    def open(
        self, bundle: Bundle, request: ChatInput, prompt: Prompt, context: RunContext
    ) -> Generation:
        model: Any = bundle
        sequences = sequences_of(request, prompt, context.entry.facts["context_length"])
        answers = [_answer(request, model.tokenizer, prompt) for _ in sequences]
        return open_generation(bundle, request, sequences, answers, context)


def _check_images(request: ChatInput, entry: Entry) -> None:
    shown = _pictures(request)
    if (shown or request.images) and not entry.facts["vision"]:
        raise InvalidInput(f"{entry.name} cannot see pictures; send text alone", param="messages")
    if len(set(shown)) < len(shown):
        raise InvalidInput("a picture is shown twice; send it twice", param="messages")
    missing = [index for index in shown if index >= len(request.images)]
    if missing:
        raise InvalidInput(
            f"a message shows picture {missing[0]}, but there are {len(request.images)} of them, "
            "counted from 0",
            param="messages",
        )
    if shown and request.usable_tools():
        raise InvalidInput(
            "pictures and tools that may be called cannot be had together; leave one of them out, "
            "or set tool_choice to 'none'",
            param="tools",
        )


def _check_tools(request: ChatInput) -> None:
    names = [tool.name for tool in request.tools]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidInput(f"two tools are called {twice[0]!r}; rename one", param="tools")
    unknown = sorted(set(request.allowed_tools or ()) - set(names))
    if unknown:
        raise InvalidInput(
            f"tool_choice allows {unknown[0]!r}, which is not among the tools", param="tool_choice"
        )
    if request.tool_choice == "required" and not request.usable_tools():
        raise InvalidInput(
            "a tool call is required, but there is no tool to call; give some in 'tools'",
            param="tool_choice",
        )


def _check_form(request: ChatInput) -> None:
    wanted = request.response_format
    if wanted.type == "json_schema" and wanted.json_schema is None:
        raise InvalidInput("response_format json_schema comes without one", param="response_format")
    if wanted.type != "text" and request.usable_tools():
        raise InvalidInput(
            f"response_format {wanted.type} and tools that may be called cannot be had together; "
            "leave one of them out, or set tool_choice to 'none'",
            param="response_format",
        )


def _pictures(request: ChatInput) -> list[int]:
    """Numbers of the pictures in the order in which the messages show them."""
    return [
        part.index
        for message in request.messages
        if not isinstance(message.content, str)
        for part in message.content or []
        if isinstance(part, ImagePart)
    ]


def _encode_pictures(
    request: ChatInput,
    entry: Entry,
    tokenizer: TextTokenizer,
    read: Any,
    renderer: TemplateRenderer,
) -> Prompt:
    from onebox.language.prompts.vision import encode_vision

    template = tokenizer.template_for(tools=False)
    conversation = conversation_of(request.messages, [], template or "", vision=True)
    images = [read(request.images[index]) for index in _pictures(request)]
    return encode_vision(entry, conversation.messages, images, renderer)


def _grammar(request: ChatInput, tokenizer: TextTokenizer) -> Any:
    """What binds the answer: a JSON form, or calls that are right once they have begun."""
    wanted = request.response_format
    if wanted.type == "json_object":
        return tokenizer.grammars.json_object()
    if wanted.type == "json_schema":
        return tokenizer.grammars.json_schema(wanted.json_schema)
    tools = request.usable_tools()
    if not tools:
        return None
    required = request.tool_choice == "required"
    try:
        return tokenizer.grammars.tool_calls(
            tools, _format(tokenizer), required, request.parallel_tool_calls
        )
    except TaskNotSupported:
        # Of this kind of tokenizer there are no grammars; calls nobody insists on can do without.
        if required or any(tool.strict for tool in tools):
            raise
        return None


def _format(tokenizer: TextTokenizer) -> ToolFormat:
    return format_of(tokenizer.template_for(tools=True))


def _answer(request: ChatInput, tokenizer: TextTokenizer, prompt: Prompt) -> ChatAnswer:
    tools = request.usable_tools()
    marks: tuple[str, ...] = ()
    calls = reasoning = None
    if tools:
        tool_format = _format(tokenizer)
        names = frozenset(tool.name for tool in tools)
        calls = ToolCallParser(tool_format, names=names, eager=prompt.grammar is not None)
        marks += MARKERS[tool_format]
    if request.response_format.type == "text" and request.tool_choice != "required":
        # A bound answer has no room for thoughts.
        reasoning = reasoning_of(tokenizer, prompt.ids[0])
        marks += THOUGHT_MARKS
    return ChatAnswer(
        tokenizer,
        reasoning=reasoning,
        calls=calls,
        parallel=request.parallel_tool_calls,
        stops=request.stop,
        logprobs=request.top_logprobs is not None,
        kept=kept_tokens(tokenizer, marks),
    )


TASKS.register(Chat.name, Chat())
