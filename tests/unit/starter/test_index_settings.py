"""The index that pip would ask."""

from __future__ import annotations

from onebox.starter.index_settings import DEFAULT_INDEX, IndexSettings, read_index_settings

LISTING = """\
:env:.index-url='https://env/simple'
:env:.disable-pip-version-check='1'
global.cert='/etc/ca.pem'
global.extra-index-url='https://a/simple\\nfile:///b/simple'
global.index-url='https://global/simple'
install.index-url='https://install/simple'
freeze.index-url='https://freeze/simple'
"""


def read(listing: str | None, **environment: str) -> IndexSettings:
    return read_index_settings(environment, lambda: listing)


def test_without_settings_it_is_the_public_index() -> None:
    assert read("") == IndexSettings(indexes=(DEFAULT_INDEX,))
    assert read(None) == IndexSettings(indexes=(DEFAULT_INDEX,))


def test_the_environment_wins_over_pips_files() -> None:
    settings = read(LISTING)
    assert settings.indexes == ("https://env/simple", "https://a/simple", "file:///b/simple")
    assert settings.cert == "/etc/ca.pem"


def test_what_is_set_for_install_wins_over_what_is_set_for_all() -> None:
    lines = [line for line in LISTING.splitlines() if not line.startswith(":env:")]
    assert read("\n".join(lines)).indexes[0] == "https://install/simple"


def test_no_index_leaves_the_places_of_find_links() -> None:
    settings = read("global.no-index='true'\nglobal.find-links='/wheels https://c/files'")
    assert settings.indexes == ()
    assert settings.find_links == ("/wheels", "https://c/files")


def test_without_pip_the_variables_of_uv_count() -> None:
    settings = read(
        None, UV_DEFAULT_INDEX="main=https://uv/simple", UV_INDEX="x=https://x/simple https://y/s"
    )
    assert settings.indexes == ("https://uv/simple", "https://x/simple", "https://y/s")


def test_without_pip_its_own_variables_count_too() -> None:
    settings = read(None, PIP_INDEX_URL="https://pip/simple", PIP_CERT="/ca.pem")
    assert settings.indexes == ("https://pip/simple",)
    assert settings.cert == "/ca.pem"
