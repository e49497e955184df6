"""Which wheel of which index."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.starter.errors import PullFailed, SourceUnreachable
from onebox.starter.index_settings import IndexSettings
from onebox.starter.simple_index import Wheel, find_wheel, open_client
from tests.support.shelf import Shelf

JSON = "application/vnd.pypi.simple.v1+json"
CLOSED = "http://127.0.0.1:1/simple"


def find(settings: IndexSettings, package: str = "My_Model", version: str | None = None) -> Wheel:
    with open_client(settings) as client:
        return find_wheel(client, settings, package, version)


def offer(shelf: Shelf, *names: str, **yanked: bool) -> IndexSettings:
    """An index in HTML with these files."""
    lines = [f'<a href="../../files/{name}#sha256={"AB" * 32}">{name}</a><br/>' for name in names]
    lines += [f'<a data-yanked="" href="/{name}">x</a>' for name in yanked]
    shelf.put("/simple/my-model/", "\n".join(lines).encode(), headers={"Content-Type": "text/html"})
    return IndexSettings(indexes=(f"{shelf.url}/simple/",))


def test_the_newest_wheel_is_found_under_any_spelling_of_the_name(shelf: Shelf) -> None:
    names = ("my_model-0.9-py3-none-any.whl", "my_model-0.10-py3-none-any.whl")
    wheel = find(offer(shelf, *names, "my_model-3.0.tar.gz"))
    assert (str(wheel.version), wheel.file_name) == ("0.10", names[1])
    assert wheel.remote.url == f"{shelf.url}/files/{names[1]}"
    assert wheel.remote.sha256 == "ab" * 32


def test_the_json_of_an_index_tells_size_and_hash(shelf: Shelf) -> None:
    name = "my_model-1.0-py3-none-any.whl"
    file = {"filename": name, "url": f"/f/{name}", "hashes": {"sha256": "cd" * 32}, "size": 7}
    taken_back = {**file, "filename": name.replace("1.0", "2.0"), "yanked": "wrong weights"}
    shelf.put_json("/simple/my-model/", {"files": [taken_back, file]}, JSON)
    wheel = find(IndexSettings(indexes=(f"{shelf.url}/simple",)))
    assert wheel.remote == (f"{shelf.url}/f/{name}", "cd" * 32, 7)


def test_previews_and_wheels_of_other_machines_are_passed_over(shelf: Shelf) -> None:
    names = (
        "my_model-1.0-py3-none-any.whl",
        "my_model-2.0rc1-py3-none-any.whl",
        "my_model-3.0-cp27-cp27m-win32.whl",
        "other-9.0-py3-none-any.whl",
    )
    assert str(find(offer(shelf, *names)).version) == "1.0"


def test_a_version_that_was_named_is_taken_even_if_it_is_a_preview(shelf: Shelf) -> None:
    settings = offer(
        shelf, "my_model-1.0-py3-none-any.whl", **{"my_model-2.0rc1-py3-none-any.whl": True}
    )
    assert str(find(settings, version="2.0rc1").version) == "2.0rc1"


def test_a_version_that_is_not_there_names_those_that_are(shelf: Shelf) -> None:
    with pytest.raises(PullFailed, match=r"My_Model 5 .* there are 1\.0"):
        find(offer(shelf, "my_model-1.0-py3-none-any.whl"), version="5")


def test_an_index_without_the_package_is_no_failure_of_the_network(shelf: Shelf) -> None:
    with pytest.raises(PullFailed) as caught:
        find(IndexSettings(indexes=(f"{shelf.url}/simple",)))
    assert not isinstance(caught.value, SourceUnreachable)


def test_a_silent_index_does_not_hide_one_that_answers(shelf: Shelf) -> None:
    settings = offer(shelf, "my_model-1.0-py3-none-any.whl")
    both = IndexSettings(indexes=(CLOSED, *settings.indexes))
    assert str(find(both).version) == "1.0"


def test_a_silent_index_alone_is_unreachable() -> None:
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1"):
        find(IndexSettings(indexes=(CLOSED,)))


def test_something_that_is_no_package_list_is_told(shelf: Shelf) -> None:
    shelf.put_json("/simple/my-model/", ["hello"], JSON)
    with pytest.raises(SourceUnreachable, match="no package list"):
        find(IndexSettings(indexes=(f"{shelf.url}/simple",)))


def test_folders_of_wheels_and_indexes_on_this_machine_are_read(tmp_path: Path) -> None:
    wheels, index = tmp_path / "wheels", tmp_path / "simple"
    (index / "my-model").mkdir(parents=True)
    wheels.mkdir()
    (wheels / "my_model-1.0-py3-none-any.whl").write_bytes(b"12345")
    found = find(IndexSettings(indexes=(index.as_uri(),), find_links=(str(wheels),)))
    assert found.remote.size_bytes == 5
    page = '<a href="my_model-2.0-py3-none-any.whl">x</a>'
    (index / "my-model" / "index.html").write_text(page)
    found = find(IndexSettings(indexes=(index.as_uri(),), find_links=(str(wheels),)))
    assert found.remote.url == (index / "my-model" / "my_model-2.0-py3-none-any.whl").as_uri()
