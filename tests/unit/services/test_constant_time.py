"""Secrets are compared in constant time: `hmac.compare_digest` and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import onebox.services.access as access

SECRET_WORDS = ("digest", "token", "secret", "key")
FOLDER = Path(access.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
# Look-ups by the SHA-256 of what was sent: nobody can choose a digest, so the time that one takes
# tells nothing about those that are known.
LOOKUPS = {"digest in self._by_digest", "digest in self._ended"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_keys_of_the_settings_are_compared_with_compare_digest():
    (authenticator,) = (path for path in FILES if path.stem == "authenticator")
    nodes = ast.walk(tree(authenticator))
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in calls


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_nothing_secret_is_compared_in_any_other_way(path):
    compared = {
        ast.unparse(node)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Compare)
        and any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops)
        and any(
            isinstance(side, ast.Name | ast.Attribute) and ast.unparse(side).endswith(SECRET_WORDS)
            for side in [node.left, *node.comparators]
        )
    }
    assert compared - LOOKUPS == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_no_security_check_is_an_assert(path):
    # `python -O` removes them.
    assert [node for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)] == []
