"""Secrets are compared in constant time: `hmac.compare_digest` and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import onebox.services.authenticator as authenticator

SECRET_WORDS = ("digest", "token", "secret", "key")


def test_keys_are_compared_with_compare_digest_only():
    tree = ast.parse(Path(authenticator.__file__).read_text(encoding="utf-8"))
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in calls
    compared = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops)
        and any(
            isinstance(side, ast.Name | ast.Attribute) and ast.unparse(side).endswith(SECRET_WORDS)
            for side in [node.left, *node.comparators]
        )
    ]
    assert compared == []


def test_no_security_check_is_an_assert():
    # `python -O` removes them.
    tree = ast.parse(Path(authenticator.__file__).read_text(encoding="utf-8"))
    assert [node for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []
