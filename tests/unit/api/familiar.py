"""A server with familiar routes, and which row of docs/compat.md a test is of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from onebox.bootstrap import Services
from onebox.core.settings_compat import FAMILIES
from tests.unit.api.asking import ADMIN, Answer, ask
from tests.unit.api.sounds import Part, form
from tests.unit.api.texts import Texts, app_with

T = TypeVar("T", bound=Callable[..., Any])
PAGE = Path(__file__).resolve().parents[3] / "docs" / "compat.md"
# The first two columns of the table's rows.
ROW = re.compile(r"^\| `(\w+)` \| `([^`|]+)` \|", re.MULTILINE)

# Each row that has a test, and the name of that.
TESTED: dict[tuple[str, str], str] = {}


def row(family: str, name: str) -> Callable[[T], T]:
    """The test is that of this row."""

    def note(test: T) -> T:
        assert TESTED.setdefault((family, name), test.__name__) == test.__name__
        return test

    return note


def rows() -> list[tuple[str, str]]:
    """Family and name of each row of the page's table."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def with_families(services: Services, *families: str) -> dict[str, Any]:
    """The settings of these services with familiar routes."""
    return {
        "settings": services.settings.model_copy(update={"compat": families or tuple(FAMILIES)})
    }


def send(
    services: Services,
    path: str,
    given: dict[str, Any] | bytes | Iterable[tuple[str, Part]],
    texts: Texts | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[Answer, Texts]:
    """A dict is sent as JSON, bytes as they are, anything else as a form."""
    texts = texts or Texts()
    sent = {"content-type": "application/json"}
    if isinstance(given, dict):
        body = json.dumps(given).encode()
    elif isinstance(given, bytes):
        body = given
    else:
        sent, body = form(given)
    told = ADMIN if headers is None else headers
    return ask(app_with(services, texts), "POST", path, {**sent, **told}, body), texts


def told(answer: Answer) -> dict[str, Any]:
    """The JSON of an answer that is no error."""
    assert answer.status == 200, answer.body
    return json.loads(answer.body)
