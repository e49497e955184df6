"""The child process that renders chat templates: JSON lines in on stdin, JSON lines out on stdout.

Started by `templates.py` as a script, isolated, with one argument: how many seconds of CPU time a
render may take (SIGPROF then ends it, where the system has such timers). It imports only jinja2 and
the standard library, and ends with its stdin.

A request is `{"template", "variables"}`; an answer is `{"text"}` or `{"error", "message"}`, where
`error` is "raised" (by the template itself), "syntax", "output", "memory" or "failed".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import jinja2
import jinja2.debug  # Otherwise imported with the first error, when files are out of reach.
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_LIMIT_BYTES = 512 * 1024 * 1024
MAX_OUTPUT_CHARS = 8_000_000
MAX_REPEATED = 1_000_000
MAX_BITS = 4096
KEPT_TEMPLATES = 8
MESSAGE_CHARS = 500
# Nothing a template does may leave this process, should it ever get out of the sandbox.
FORBIDDEN_EVENTS = (
    "open",
    "import",
    "os.",
    "socket.",
    "subprocess.",
    "shutil.",
    "ctypes.",
    "pty.",
    "mmap.",
)


class TemplateRaised(jinja2.TemplateError):
    """The template called `raise_exception`."""


class OutputTooLong(Exception):
    pass


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks an answer in training; here it has no effect."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's class says so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox, in which one operator cannot fill the memory either."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        check = _check_product if operator == "*" else _check_power
        check(left, right)
        return super().call_binop(context, operator, left, right)


class Namespace(jinja2.utils.Namespace):
    """jinja2's, without attributes that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _check_attribute(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)


def _check_attribute(name: Any) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise SecurityError(f"a namespace cannot have an attribute {name!r}")


def _check_product(left: Any, right: Any) -> None:
    for count, value in ((left, right), (right, left)):
        if isinstance(count, int) and isinstance(value, str | bytes | list | tuple):
            if count * len(value) > MAX_REPEATED:
                raise OverflowError(f"a repetition of more than {MAX_REPEATED} items")
            return
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and right > 0:
        _check_bits(left.bit_length() * right)


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise OverflowError(f"a number of more than {MAX_BITS} bits")


def environment() -> Sandbox:
    """What chat templates are written for: the names that `transformers` gives them."""
    made = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = _to_json
    del made.globals["lipsum"]
    made.globals.update(
        raise_exception=_raise_exception,
        strftime_now=lambda form: datetime.now().strftime(form),
        namespace=Namespace,
        dict=lambda *args, **kwargs: dict(*args, **kwargs),
    )
    return made


def _raise_exception(message: Any = "") -> None:
    raise TemplateRaised(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without the escapes for HTML that jinja2's own has."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class Renderer:
    """Compiles a template once, then renders it with the variables of each request."""

    def __init__(self) -> None:
        self._environment = environment()
        self._compiled: dict[str, jinja2.Template] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, str]:
        try:
            return {"text": self._render(request["template"], request["variables"])}
        except TemplateRaised as error:
            return _problem("raised", error)
        except jinja2.TemplateSyntaxError as error:
            return _problem("syntax", error)
        except OutputTooLong as error:
            return _problem("output", error)
        except MemoryError:
            return {"error": "memory", "message": f"more than {MEMORY_LIMIT_BYTES} bytes"}
        except Exception as error:  # A template may fail in every way that Python has.
            return _problem("failed", error)

    def _render(self, source: str, variables: dict[str, Any]) -> str:
        compiled = self._compiled.pop(source, None) or self._environment.from_string(source)
        self._compiled[source] = compiled
        if len(self._compiled) > KEPT_TEMPLATES:
            del self._compiled[next(iter(self._compiled))]
        pieces, length = [], 0
        for piece in compiled.generate(variables):
            length += len(piece)
            if length > MAX_OUTPUT_CHARS:
                raise OutputTooLong(f"more than {MAX_OUTPUT_CHARS} characters")
            pieces.append(piece)
        return "".join(pieces)


def _problem(kind: str, error: BaseException) -> dict[str, str]:
    message = str(error) or type(error).__name__
    return {"error": kind, "message": message[:MESSAGE_CHARS]}


def limit_memory() -> None:
    """Address space, core files and written files; where the system has such limits."""
    if sys.platform == "win32":
        return
    import resource

    limits = (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES), (resource.RLIMIT_FSIZE, 0)
    for which, limit in (*limits, (resource.RLIMIT_CORE, 0)):
        # macOS knows RLIMIT_AS but refuses to set it; there time is what bounds the memory.
        with suppress(OSError, ValueError):
            resource.setrlimit(which, (limit, limit))


@contextmanager
def limited_time(cpu_s: float) -> Iterator[None]:
    if sys.platform == "win32":
        yield  # The parent's limit has to do.
        return
    import signal

    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def refuse_the_outside(event: str, _args: tuple[Any, ...]) -> None:
    """Audit hook."""
    if event.startswith(FORBIDDEN_EVENTS):
        raise PermissionError(f"a chat template may not do that ({event})")


def main() -> None:
    cpu_limit_s = float(sys.argv[1])
    lines, out = sys.stdin.buffer, sys.stdout.buffer
    renderer = Renderer()
    # Once through, with an error: whatever is imported late is imported now.
    renderer.answer({"template": "{{ strftime_now('%d %b %Y') }}{{ 1 / 0 }}", "variables": {}})
    with limited_time(cpu_limit_s):
        pass
    limit_memory()
    sys.addaudithook(refuse_the_outside)

    def say(answer: dict[str, Any]) -> None:
        out.write(json.dumps(answer).encode("ascii") + b"\n")
        out.flush()

    say({"ready": True})
    for line in lines:  # Until the parent closes the pipe.
        request = json.loads(line)
        with limited_time(cpu_limit_s):
            answer = renderer.answer(request)
        say(answer)


if __name__ == "__main__":
    main()
