"""`onebox chat`: talk with a model of a running server."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from typing import Any

import click

from onebox.cli.chat_client import ChatClient, ChatError, is_here
from onebox.cli.explained import explains_errors
from onebox.cli.keys import key_for_requests
from onebox.cli.terminal import prepare_editing, read_message, show, show_note
from onebox.core.settings import Settings, load_settings

HELP = "/reset forgets the talk, /system TEXT sets the rules, /quit or Ctrl-D ends, Ctrl-C stops"
_ANY_ADDRESS = ("0.0.0.0", "::")
_INTERRUPTED_STATUS = 130


@dataclass
class Talk:
    """One conversation: what was said, and how answers are to be made."""

    model: str
    options: dict[str, Any]
    system: str = ""
    turns: list[dict[str, str]] = field(default_factory=list)

    def request(self) -> dict[str, Any]:
        rules = [{"role": "system", "content": self.system}] if self.system else []
        return {"model": self.model, "messages": [*rules, *self.turns], **self.options}


@click.command()
@click.argument("model", required=False)
@click.option("--url", help="Address of the server; default: the one in the settings.")
@click.option("--key", help="Its key; default: one from the settings or the data folder.")
@click.option("--system", default="", help="Rules that the model is to follow.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 always takes the likeliest.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.")
@explains_errors
def chat(
    model: str | None,
    url: str | None,
    key: str | None,
    system: str,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Talk with a model of a running server.

    In a terminal it goes on until Ctrl-D; Ctrl-C stops an answer. When something is piped in, that
    is the one message, and the answer goes to stdout.
    """
    settings = load_settings()
    given = {"temperature": temperature, "max_tokens": max_tokens}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        place = url or address(settings)
        # Our own key is for servers here; another machine gets what the person names.
        own_key = key_for_requests(settings) if url is None or is_here(url) else None
        with ChatClient(place, key or own_key) as client:
            talk = Talk(client.choose_model(model), options, system)
            if sys.stdin.isatty():
                _converse(client, talk)
            else:
                _answer_once(client, talk)
    except ChatError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED_STATUS)


def address(settings: Settings) -> str:
    """Where the server with these settings listens. Raises ChatError when nobody can know."""
    if settings.port == 0:
        raise ChatError("PORT=0 lets the server choose; name its address with --url")
    host = "127.0.0.1" if settings.host in _ANY_ADDRESS else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _answer_once(client: ChatClient, talk: Talk) -> None:
    message = sys.stdin.read().strip()
    if not message:
        raise ChatError("nothing was piped in; write a message to stdin")
    talk.turns.append({"role": "user", "content": message})
    with contextlib.closing(client.stream(talk.request())) as pieces:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
    sys.stdout.write("\n")


def _converse(client: ChatClient, talk: Talk) -> None:
    prepare_editing()
    show_note(f"talking with {talk.model}; {HELP}")
    while True:
        try:
            message = read_message("> ")
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            print()
            return
        if message in ("/quit", "/exit"):
            return
        if message.startswith("/"):
            _obey(message, talk)
        elif message:
            _answer(client, talk, message)


def _obey(command: str, talk: Talk) -> None:
    name, _, text = command.partition(" ")
    if name == "/reset":
        talk.turns.clear()
        show_note("forgotten")
    elif name == "/system":
        talk.system = text.strip()
        show_note("the rules are set" if talk.system else "there are no rules now")
    else:
        show_note(HELP)


def _answer(client: ChatClient, talk: Talk, message: str) -> None:
    """One turn. A turn without any answer is taken back, so that the next one can follow."""
    talk.turns.append({"role": "user", "content": message})
    said = ""
    try:
        with contextlib.closing(client.stream(talk.request())) as pieces:
            for piece in pieces:
                said += piece
                show(piece)
    except KeyboardInterrupt:
        show(" [stopped]")
    except ChatError as error:
        show_note(f"error: {error}")
    print(flush=True)
    if said:
        talk.turns.append({"role": "assistant", "content": said})
    else:
        talk.turns.pop()
