"""A conversation becomes a prompt: what the chat template is given, its text, and the token ids."""

from __future__ import annotations

from collections.abc import Sequence

from onebox.core.errors import ContextOverflow, TaskNotSupported
from onebox.language.messages import Message, Tool
from onebox.language.prompts.chat_variables import Conversation, conversation_of, without_system
from onebox.language.prompts.control_text import Hidden
from onebox.language.prompts.templates import TemplateRaised, TemplateRenderer, shared_renderer
from onebox.language.prompts.text_tokenizer import TextTokenizer

# Of a text that may be far too long, so many characters are turned into tokens at a time.
PIECE_CHARS = 65_536


def encode_chat(
    tokenizer: TextTokenizer,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    *,
    renderer: TemplateRenderer | None = None,
    vision: bool = False,
    context_length: int | None = None,
) -> tuple[str, list[int]]:
    """The prompt that asks for the next message: its text, and its token ids.

    It always asks for a new message of the assistant, also after one. BOS comes from the template
    alone. Control tokens in what the client wrote are mere text.

    Args:
        tools: those the model may call; none of them is shown otherwise.
        renderer: by default the one of this process.
        vision: the template takes pictures; messages then are lists of parts.
        context_length: of the model, where the prompt has to fit.

    Raises:
        TaskNotSupported: the checkpoint has no chat template.
        ContextOverflow: the prompt is so long that its tokens need not be counted.
        InvalidInput: the template refuses the messages, or a picture is sent to a model without
            eyes.
        ModelBroken: the template cannot be used.
    """
    template = tokenizer.template_for(tools=bool(tools))
    if template is None:
        raise TaskNotSupported(
            "this model has no chat template, so it cannot chat; use /v1/completions"
        )
    conversation = conversation_of(messages, tools, template, vision=vision)
    text, places = _render(tokenizer, template, conversation, renderer or shared_renderer())
    if context_length is not None:
        refuse_far_too_long(tokenizer, text, context_length)
    return text, tokenizer.encode_marked(text, places)


def refuse_far_too_long(
    tokenizer: TextTokenizer, text: str, context_length: int, param: str = "messages"
) -> None:
    """Raises ContextOverflow for a text of more than twice the context, with an estimate.

    Tokens of megabytes take minutes. A piece's tokens may differ from the whole's at its ends.
    """
    count = 0
    for start in range(0, len(text) - PIECE_CHARS, PIECE_CHARS):
        count += len(tokenizer.encode(text[start : start + PIECE_CHARS], special=False))
        if count > 2 * context_length:
            check_context(count * len(text) // (start + PIECE_CHARS), None, context_length, param)


def check_context(
    prompt_tokens: int,
    max_tokens: int | None,
    context_length: int,
    param: str = "messages",
) -> None:
    """Raises ContextOverflow if prompt and answer do not fit; at least one token must."""
    wanted = 1 if max_tokens is None else max_tokens
    if prompt_tokens + wanted <= context_length:
        return
    remedy = f"shorten {param}"
    if max_tokens and prompt_tokens < context_length:
        remedy += f", or ask for at most {context_length - prompt_tokens} tokens"
    asked = "" if max_tokens is None else f" and {max_tokens} more were asked for"
    raise ContextOverflow(
        f"this model's context is {context_length} tokens, but the prompt has "
        f"{prompt_tokens}{asked}; {remedy}",
        param=param,
        details={
            "prompt_tokens": prompt_tokens,
            "max_tokens": max_tokens,
            "context_length": context_length,
        },
    )


def _render(
    tokenizer: TextTokenizer,
    template: str,
    conversation: Conversation,
    renderer: TemplateRenderer,
) -> tuple[str, list[tuple[int, int]]]:
    """The text, and where in it the client wrote what looks like a control token.

    A template that refuses system messages, or leaves them out, gets their text with the first
    user message.
    """

    def attempt(one: Conversation) -> tuple[str, list[tuple[int, int]]]:
        hidden = Hidden(
            {"messages": one.messages, "tools": one.tools}, tokenizer.control_pattern, template
        )
        variables = {
            **tokenizer.special_tokens,
            **hidden.value,
            "documents": None,
            "add_generation_prompt": True,
        }
        return hidden.restore(renderer.render(template, variables))

    try:
        text, places = attempt(conversation)
    except TemplateRaised as refusal:
        if not conversation.has_system:
            raise
        try:
            return attempt(without_system(conversation))
        except TemplateRaised:
            raise refusal from None
    if all(part in text for part in conversation.system):
        return text, places
    return attempt(without_system(conversation))
