"""`TemplateRenderer`: chat templates, rendered in a child process that can be killed.

A template is code from a checkpoint. It may loop for ever or fill the memory, and no sandbox inside
this process could stop that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

from onebox.core.errors import InferenceFailed, InvalidInput, ModelBroken

# A render may use so much of a CPU; and take so long, on a machine that has little time for it, or
# where the system has no timer of CPU time.
CPU_LIMIT_S = 2.0
WALL_LIMIT_S = 10.0
START_LIMIT_S = 60.0
MAX_INPUT_BYTES = 32 * 1024 * 1024
# All the child needs to know of its surroundings; keys and tokens lie there too.
KEPT_ENVIRONMENT = ("SYSTEMROOT", "PATH", "LD_LIBRARY_PATH", "TZ", "LANG")
PROBE = [{"role": "user", "content": "Hello"}]
REMEDIES: Mapping[str, str] = {
    "time": "it did not finish in time",
    "memory": "it needs more than 512 MiB of memory",
    "output": "it writes too much",
    "died": "it brought its process down",
    "failed": "it failed",
}

Problem = Literal["raised", "syntax", "time", "memory", "output", "died", "failed"]


class RenderFailed(Exception):
    """A render that gave no text: of what kind, and jinja2's words."""

    def __init__(self, kind: Problem, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class TemplateRaised(InvalidInput):
    """The template itself refused the messages."""

    code = "chat_template_refused"


class TemplateRenderer:
    """Renders chat templates, one at a time, from any thread.

    Owns one child process: started with the first render, again after it was killed, and ended by
    `close`.

    Args:
        cpu_limit_s: of CPU time for one render.
        wall_limit_s: in which a render must be over.
    """

    def __init__(
        self, *, cpu_limit_s: float = CPU_LIMIT_S, wall_limit_s: float = WALL_LIMIT_S
    ) -> None:
        self._limits_s = (cpu_limit_s, wall_limit_s)
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """The prompt's text. `variables` must be plain JSON values.

        Raises TemplateRaised with the template's own words where it refuses the messages,
        InvalidInput where it cannot take them though it takes a plain conversation, and ModelBroken
        where it can be used for nothing. Takes at most some seconds.
        """
        try:
            return self._render(template, variables)
        except RenderFailed as error:
            self._explain(template, variables, error)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _explain(
        self, template: str, variables: Mapping[str, Any], error: RenderFailed
    ) -> NoReturn:
        """Is it the template or these messages? One request must not break a model for all."""
        if error.kind == "raised":
            raise TemplateRaised(
                f"the model's chat template refuses these messages: {error.message}",
                param="messages",
            ) from None
        if error.kind == "syntax":
            raise ModelBroken(f"the chat template cannot be read: {error.message}") from None
        try:
            self._render(template, {**variables, "messages": PROBE, "tools": None})
        except RenderFailed as again:
            if again.kind != "raised":
                raise ModelBroken(
                    f"the chat template cannot be used: {REMEDIES[again.kind]} ({again.message})"
                ) from None
        raise InvalidInput(
            f"the model's chat template cannot take these messages: {REMEDIES[error.kind]} "
            f"({error.message})",
            param="messages",
        ) from None

    def _render(self, template: str, variables: Mapping[str, Any]) -> str:
        request = json.dumps({"template": template, "variables": variables}).encode("ascii")
        if len(request) > MAX_INPUT_BYTES:
            raise InvalidInput(
                f"the messages take {len(request)} bytes; at most {MAX_INPUT_BYTES} fit",
                param="messages",
            )
        with self._lock:
            if self._child is None or not self._child.running:
                self._child = _Child(*self._limits_s)
            try:
                answer = self._child.ask(request)
            except RenderFailed:
                self._end()
                raise
            if answer.get("error") == "memory":
                # What is left of it after that is not to be trusted.
                self._end()
        if "text" in answer:
            return str(answer["text"])
        raise RenderFailed(answer["error"], answer["message"])

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """One life of the child process."""

    def __init__(self, cpu_limit_s: float, wall_limit_s: float) -> None:
        self._wall_limit_s = wall_limit_s
        options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        script = Path(__file__).with_name("template_child.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), str(cpu_limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ},
            **options,
        )
        try:
            self._exchange(b"", START_LIMIT_S)
        except RenderFailed as error:
            self.kill()
            raise InferenceFailed(f"the process for chat templates: {error.message}") from None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes) -> dict[str, Any]:
        return self._exchange(request + b"\n", self._wall_limit_s)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close_quietly(pipe)

    def _exchange(self, request: bytes, limit_s: float) -> dict[str, Any]:
        """Write, and read one line. A child that is late is killed, which ends the reading."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""  # It ended while it was written to.
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self._process.wait()
        if late.is_set():
            raise RenderFailed("time", f"stopped after {limit_s:g} s")
        if sys.platform != "win32" and status == -signal.SIGPROF:
            raise RenderFailed("time", "stopped by its limit of CPU time")
        raise RenderFailed("died", f"exit status {status}")


def _close_quietly(pipe: Any) -> None:
    try:
        pipe.close()
    except OSError:
        return  # What was not yet written goes with the child.


_SHARED = TemplateRenderer()


def shared_renderer() -> TemplateRenderer:
    """The one of this process."""
    return _SHARED
