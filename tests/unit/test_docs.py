"""The pages: links lead somewhere, all can be found, and what they list is what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onebox.api.errors import HTTP_CODES
from onebox.core.plugins import FAMILIES, TASKS, load_plugins, tasks_of_family

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^(`{3,}).*?^\1`*\s*$", flags=re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.*)$", flags=re.MULTILINE)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
CODE_OF_CLASS = re.compile(r'^    code(?:: ClassVar\[str\])? = "(\w+)"', flags=re.MULTILINE)
# Given by pydantic's problems, or where a body cannot be read at all.
OTHER_CODES = {
    "invalid_json",
    "invalid_request",
    "missing_required_parameter",
    "unknown_parameter",
    "batch_cancelled",
    "batch_expired",
}
TEST_PATH = re.compile(r"`(tests/[\w/]+(?:\.py)?)`")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and MyST make them."""
    titles = HEADING.findall(FENCE.sub("", text_of(page)))
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    slugs = [title.strip().replace(" ", "-") for title in plain]
    # Of equal headings the second is called `title-1`.
    return {
        slug + (f"-{before}" if before else "")
        for number, slug in enumerate(slugs)
        for before in [slugs[:number].count(slug)]
    }


def dead_links(page: Path) -> Iterator[str]:
    prose = CODE.sub("", FENCE.sub("", text_of(page)))
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading_of_it(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n[a](#title) [b](#other) [c](no.md) `[d](no.md)` [e](https://f)\n")
    assert list(dead_links(page)) == ["#other", "no.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_the_site_links_to_nothing_outside_of_it(page: Path) -> None:
    prose = CODE.sub("", FENCE.sub("", text_of(page)))
    assert [target for target in LINK.findall(prose) if target.startswith("..")] == []


def test_every_page_is_in_the_table_of_contents_once() -> None:
    parts = TOCTREE.findall(text_of(DOCS / "index.md"))
    lines = [line for part in parts for line in part.splitlines()]
    listed = [line for line in lines if line and not line.startswith(":")]
    assert sorted(listed) == [page.stem for page in PAGES if page.stem != "index"]


def test_every_test_that_a_page_names_exists() -> None:
    named = {name for page in PAGES for name in TEST_PATH.findall(text_of(page))}
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_error_code_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    codes = {code for source in sources for code in CODE_OF_CLASS.findall(source)}
    explained = set(re.findall(r"`(\w+)`", text_of(DOCS / "troubleshooting.md")))
    assert "queue_full" in codes
    assert (codes | set(HTTP_CODES.values()) | OTHER_CODES) - explained == set()


def test_every_family_is_in_the_model_guide_with_its_tasks() -> None:
    load_plugins()
    guide = text_of(DOCS / "models.md")
    rows = [line for line in guide.splitlines() if line.startswith("| `")]
    own = {name for name in FAMILIES if type(FAMILIES[name]).__module__.startswith("onebox.")}
    lacking = {
        name: missing
        for name in own
        if (missing := tasks_not_told(rows, name, tasks_of_family(name)))
    }
    assert lacking == {}


def test_every_task_is_in_the_model_guide() -> None:
    load_plugins()
    own = {name for name in TASKS if type(TASKS[name]).__module__.startswith("onebox.")}
    told = set(re.findall(r"`([\w-]+)`", text_of(DOCS / "models.md")))
    assert own - told == set()


def tasks_not_told(rows: list[str], family: str, tasks: tuple[str, ...]) -> set[str]:
    """What the family's row does not say; its own name, where it has no row."""
    row = next((row for row in rows if f"`{family}`" in row.split(" | ")[0]), None)
    if row is None:
        return {family}
    # "The same": as the row above.
    above = rows[max(0, rows.index(row) - 1)]
    told = row + (above if "the same" in row else "")
    return {task for task in tasks if f"`{task}`" not in told}
