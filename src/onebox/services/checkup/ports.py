"""Whether the address can be listened on, and who has it if not."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import psutil

from onebox.core.settings import Settings
from onebox.services.checkup.findings import Findings
from onebox.services.data_dir import holder_of


def check_port(settings: Settings, findings: Findings) -> None:
    """That our own server has it is as it should be."""
    error = _bind_error(settings.host, settings.port)
    if error is None:
        return
    place = f"port {settings.port} of {settings.host}"
    if error.errno == errno.EADDRINUSE:
        owner = owner_of(settings.port)
        if owner is not None and owner == holder_of(settings.data_dir):
            return
        holder = f"process {owner} ({_name_of(owner)})" if owner else "another process"
        remedy = "stop it, or set PORT"
        findings.problems.append(f"{place} is taken by {holder}: {remedy}")
    elif error.errno == errno.EACCES:
        findings.problems.append(
            f"{place} may not be listened on by this user: set PORT above 1023, and let a proxy "
            "listen on it"
        )
    else:
        findings.problems.append(
            f"HOST={settings.host} is no address of this machine ({error.strerror or error}): set "
            "HOST to 127.0.0.1, or to 0.0.0.0 for all"
        )


def owner_of(port: int) -> int | None:
    """The process that listens on a port, where the system tells."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return int(connection.pid) if connection.pid else None
    return None


def _bind_error(host: str, port: int) -> OSError | None:
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            if Path("/proc").is_dir():
                # As the server does: what waits for the end of old connections is free. Where it
                # means more than that, as on Windows, it would hide who listens.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _name_of(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "of another user"
