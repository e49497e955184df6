"""Requests made up from the OpenAPI page: none ends in a fault of the server, or in an answer that
the page does not tell of.
"""

from __future__ import annotations

from tests.support.fuzzing import FAMILIES_OF_ROUTES, SETTINGS, fuzz, tiny_models
from tests.support.server import running_server

EACH = 4
LEAST_CASES = 300


def test_made_up_requests_are_answered_as_the_page_says(tmp_path):
    models = tiny_models(tmp_path / "models")
    with running_server(
        tmp_path / "data", models, **SETTINGS, ONEBOX_COMPAT=FAMILIES_OF_ROUTES
    ) as server:
        status, report, cases = fuzz(server, each=EACH, limit_s=600)
        assert server.process.poll() is None
        with server.client() as client:
            assert client.get("/health").status_code == 200
    assert status == 0, report
    assert cases >= LEAST_CASES
