"""Encrypted links: the certificate must be that of the link's host, wherever the address leads."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.remote_media import RemoteMedia

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\nabcd"


def make_certificate(folder: Path, host: str) -> Path:
    """Certificate and key of a host, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "host.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "pictures.example")


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    """Of a host on this machine that answers one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as encrypted:
                    encrypted.recv(65536)
                    encrypted.sendall(ANSWER)
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def fetch(host: str, port: int) -> MediaRef:
    media = RemoteMedia(enabled=True, hosts=(f"{host}:{port}",), resolve=lambda *_: ["127.0.0.1"])
    try:
        return asyncio.run(media.fetch(f"https://{host}:{port}/a", "place", max_bytes=9))
    finally:
        media.close()


def test_the_name_is_proved_and_not_the_address(port, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch("pictures.example", port).data == b"abcd"


def test_a_certificate_of_another_host(port, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(InvalidInput, match=r"other\.example"):
        fetch("other.example", port)


def test_a_certificate_that_nobody_vouches_for(port):
    with pytest.raises(InvalidInput, match=r"pictures\.example"):
        fetch("pictures.example", port)
