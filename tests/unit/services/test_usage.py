from __future__ import annotations

import msgspec
import pytest

from onebox.core.results import Artifact
from onebox.services.metrics import Metrics
from onebox.services.usage.token_counts import token_counts

RESULT = {
    "choices": [{"index": 0, "content": "Hi"}],
    "usage": {
        "prompt_tokens": 30,
        "cached_tokens": 16,
        "completion_tokens": 4,
        "reasoning_tokens": 0,
    },
}


def test_the_counts_of_a_text_are_read_from_its_result():
    artifact = Artifact("application/json", msgspec.json.encode(RESULT))
    assert token_counts([artifact]) == {"prompt": 30, "cached": 16, "completion": 4}


def test_a_result_without_counts_is_a_bug_that_shows():
    with pytest.raises(msgspec.ValidationError):
        token_counts([Artifact("application/json", b"{}")])


def test_tokens_add_up_by_model_and_kind():
    metrics = Metrics(list)
    metrics.inference.tokens("smol", {"prompt": 3, "completion": 2})
    metrics.inference.tokens("smol", {"prompt": 4})
    metrics.inference.first_token("smol", 0.2)
    page = metrics.render().decode()
    assert 'onebox_tokens_total{kind="prompt",model="smol"} 7.0' in page
    assert 'onebox_tokens_total{kind="completion",model="smol"} 2.0' in page
    assert 'onebox_time_to_first_token_seconds_count{model="smol"} 1.0' in page
