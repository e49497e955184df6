"""Which addresses webhooks may go to: looked at when work is submitted, and each time one is sent.

The rules for links are those of pictures (`services/remote_link.py`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from onebox.services.remote_link import Link, parse_link, refuse_private

PARAM = "webhook_url"
SETTING = "ONEBOX_WEBHOOK_HOSTS"


class WebhookGuard:
    """Lets https on port 443 of the public internet pass, and whatever the operator named.

    Args:
        hosts: names, or `name:port`, that may be private, plain http and on any port.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    def link(self, url: str) -> Link:
        """The URL taken apart. Raises InvalidInput for one that webhooks must not go to.

        Where a name leads is looked at when something is sent there.
        """
        link = parse_link(url, self._hosts, PARAM, setting=SETTING)
        if not link.trusted and _is_address(link.host):
            refuse_private([link.host], PARAM)
        return link


def operators_link(url: str) -> Link:
    """One that the operator wrote, taken apart: it may lead anywhere. Raises InvalidInput."""
    return parse_link(url, (urlsplit(url).netloc.lower(),), PARAM, setting=SETTING)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
