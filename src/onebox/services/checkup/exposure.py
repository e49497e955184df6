"""What others can see or reach: an address without TLS, pages of anybody, files of ours."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from onebox.core.hosts import is_loopback
from onebox.core.settings import Settings
from onebox.core.settings_files import ENV_FILE, TOML_FILE
from onebox.services.checkup.findings import Findings

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_exposure(settings: Settings, findings: Findings) -> None:
    is_public = not is_loopback(settings.host)
    has_tls = (settings.public_url or "").lower().startswith("https://")
    if is_public and not has_tls:
        findings.warnings.append(
            f"HOST={settings.host} is reachable without TLS: keys and prompts travel readable; put "
            "a proxy before it (deploy/nginx) and say so by ONEBOX_PUBLIC_URL=https://..."
        )
    if has_tls and not settings.trusted_proxies:
        findings.warnings.append(
            "ONEBOX_PUBLIC_URL names a proxy, but ONEBOX_TRUSTED_PROXIES is empty: all clients "
            "seem to have the proxy's address; name it, such as 127.0.0.1"
        )
    if "*" in settings.cors_origins:
        findings.warnings.append(
            "CORS_ORIGINS=* lets any web page call this server; name the origins that may"
        )
    if sys.platform != "win32":  # modes mean nothing there
        _check_modes(settings, findings)


def _check_modes(settings: Settings, findings: Findings) -> None:
    for path in _secret_files(settings):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            findings.problems.append(
                f"{path} holds secrets and others may use it (mode {mode:04o}): chmod 600 {path}"
            )


def _secret_files(settings: Settings) -> Iterator[Path]:
    yield from sorted(settings.data_dir.glob("*.key"))
    files = (settings.root / ENV_FILE, settings.root / TOML_FILE)
    named = ("key", "secret", "password")
    for path in files:
        if path.is_file() and any(word in path.read_text("utf-8").lower() for word in named):
            yield path
