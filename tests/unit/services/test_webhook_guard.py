"""Where webhooks may go, as it is looked at when work is submitted."""

from __future__ import annotations

import pytest

from onebox.core.errors import InvalidInput
from onebox.services.webhooks.guard import WebhookGuard
from onebox.services.webhooks.outbox import check_events

GUARD = WebhookGuard(["Hooks.internal", "10.0.0.5:8080"])


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook",
        "https://example.org:8443/hook",
        "https://user:word@example.org/hook",
        "https://localhost@example.org/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "https://127.0.0.1/",
        "https://10.0.0.5/",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fd00::1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.0.0.1\\.example.org/",
        "https://example.org%00.internal/",
        "https://bücher.example/",
        "https://exa\nmple.org/",
        "https://" + "a" * 2048 + ".example/",
        "example.org",
        "",
    ],
)
def test_an_address_that_webhooks_must_not_go_to_is_refused_by_the_field(url):
    with pytest.raises(InvalidInput) as caught:
        GUARD.link(url)
    assert caught.value.param == "webhook_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/hook?x=1",
        "https://93.184.216.34/",
        "http://hooks.internal/a",
        "http://HOOKS.internal:9000/a",
        "http://10.0.0.5:8080/",
    ],
)
def test_public_https_and_what_the_operator_named_may_be_asked(url):
    assert GUARD.link(url).port


def test_the_refusal_names_the_setting():
    with pytest.raises(InvalidInput, match="ONEBOX_WEBHOOK_HOSTS"):
        GUARD.link("http://example.org/")


def test_events_that_there_are_not_are_refused():
    check_events(["job.completed", "job.queued"], "job")
    check_events(["video.failed"], "video")
    for event, surface in (("job.done", "job"), ("job.completed", "video"), ("", "job")):
        with pytest.raises(InvalidInput) as caught:
            check_events([event], surface)
        assert caught.value.param == "webhook_events"
