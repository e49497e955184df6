"""The chat routes of a running server, as a terminal needs them."""

from __future__ import annotations

import ipaddress
import json
import urllib.parse
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

# Whatever answers chats when a request does not say which model.
_ANY_CHAT_MODEL = "gpt-4o-mini"
_CONNECT_TIMEOUT_S = 5.0
_DATA = "data:"
_DONE = "[DONE]"
_UNAUTHORISED = 401


class ChatError(Exception):
    """One line for the person at the terminal."""


class ChatClient:
    """Talks to one server. Use as a context manager.

    Args:
        url: the server's address, with or without `/v1`.
    """

    def __init__(self, url: str, key: str | None) -> None:
        import httpx2

        self._url = url.rstrip("/").removesuffix("/v1")
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # A model may take its time to load or to think; the person has Ctrl-C.
            timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S),
            trust_env=not is_here(self._url),  # no proxy leads to this machine
        )

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def choose_model(self, name: str | None) -> str:
        """The model's full name. Raises ChatError when it cannot chat, or when several could."""
        wanted = urllib.parse.quote(name or _ANY_CHAT_MODEL)
        answer = self._get(f"/v1/models/{wanted}")
        if answer is not None and "chat" in answer.get("tasks", ()):
            return str(answer.get("name") or answer["id"])
        candidates = self._candidates()
        if name is not None and answer is not None:
            raise ChatError(f"{name} cannot chat; {_choice(candidates)}")
        if name is not None:
            raise ChatError(f"there is no model {name}; {_choice(candidates)}")
        if len(candidates) == 1:
            return candidates[0]
        raise ChatError(_choice(candidates))

    def stream(self, request: dict[str, Any]) -> Generator[str, None, None]:
        """The pieces of the answer as they come. Raises ChatError.

        Closing the iterator closes the connection, at which the server stops.
        """
        import httpx2

        place = self._url + "/v1/chat/completions"
        try:
            with self._client.stream("POST", place, json={**request, "stream": True}) as answer:
                if answer.status_code != httpx2.codes.OK:
                    answer.read()
                    raise ChatError(_problem(answer))
                yield from _pieces(answer.iter_lines())
        except httpx2.TransportError as error:
            raise self._silent(error) from error

    def _candidates(self) -> list[str]:
        listed = (self._get("/v1/models") or {}).get("data", [])
        return [
            str(model["id"])
            for model in listed
            if "chat" in model.get("tasks", ()) and model.get("status") != "broken"
        ]

    def _get(self, path: str) -> dict[str, Any] | None:
        """None when the server says that this is not there."""
        import httpx2

        try:
            answer = self._client.get(self._url + path)
        except httpx2.TransportError as error:
            raise self._silent(error) from error
        if answer.status_code in (httpx2.codes.NOT_FOUND, httpx2.codes.BAD_REQUEST):
            return None
        if answer.status_code != httpx2.codes.OK:
            raise ChatError(_problem(answer))
        found = _json(answer.text)
        if not isinstance(found, dict):
            raise ChatError(f"{self._url} is not an Onebox server")
        return found

    def _silent(self, error: httpx2.TransportError) -> ChatError:
        import httpx2

        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return ChatError(
                f"no server answers at {self._url}; start one with `python3 app.py`, or name "
                "another with --url"
            )
        return ChatError(f"the connection to {self._url} broke ({type(error).__name__})")


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """Server-sent events → texts. An `error` object ends them, as ChatError."""
    for line in lines:
        if not line.startswith(_DATA):
            continue  # a comment that keeps the connection open, or the space between events
        data = line[len(_DATA) :].strip()
        if data == _DONE:
            return
        event = _json(data)
        if not isinstance(event, dict):
            raise ChatError("the server sends something that is no chat")
        if event.get("error"):
            raise ChatError(_message(event))
        for choice in event.get("choices", ()):
            if piece := (choice.get("delta") or {}).get("content"):
                yield str(piece)


def _problem(answer: httpx2.Response) -> str:
    text = _message(_json(answer.text)) or f"the server answers with status {answer.status_code}"
    return text + ("; name a key with --key" if answer.status_code == _UNAUTHORISED else "")


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return " ".join(str(error.get("message", "")).split()) if isinstance(error, dict) else ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _choice(candidates: list[str]) -> str:
    if not candidates:
        return "no model here can chat; `onebox pull starter` fetches a small one"
    return f"these can: {', '.join(candidates)}; name one, as in `onebox chat {candidates[0]}`"


def is_here(url: str) -> bool:
    """Whether the address is on this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
