"""Identity providers: their keys as JSON Web Key Sets, and tokens that they sign."""

from __future__ import annotations

import base64
import functools
import json
import time
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk, jwt

AUDIENCE = "onebox"
ISSUER = "https://id.example"
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1}


@functools.cache
def private_key(algorithm: str, name: str = "", bits: int = 2048) -> str:
    """PEM; another one for each name."""
    if algorithm.startswith("RS"):
        made: Any = rsa.generate_private_key(65537, bits)
    else:
        made = ec.generate_private_key(CURVES[algorithm]())
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_jwk(algorithm: str, name: str = "", *, bits: int = 2048, **further: Any) -> dict:
    made = jwk.construct(private_key(algorithm, name, bits), algorithm).public_key().to_dict()
    found = {k: v.decode() if isinstance(v, bytes) else v for k, v in made.items()}
    del found["alg"]
    return {"kid": name, **found, **further}


def public_pem(algorithm: str, name: str = "") -> str:
    made = jwk.construct(private_key(algorithm, name), algorithm).public_key()
    return made.to_pem().decode()


def token(algorithm: str = "RS256", name: str = "", *, kid: Any = "", bits=2048, **claims) -> str:
    """Signed by the key of that name; `kid` None leaves it out, "" takes the name."""
    head = {} if kid is None else {"kid": kid or name}
    return jwt.encode(
        full(claims), private_key(algorithm, name, bits), algorithm=algorithm, headers=head
    )


def full(claims: dict[str, Any]) -> dict[str, Any]:
    """With those that every token needs; None leaves one out."""
    needed = {"sub": "ada", "aud": AUDIENCE, "iss": ISSUER, "exp": int(time.time()) + 600}
    return {name: value for name, value in {**needed, **claims}.items() if value is not None}


def handmade(head: Any, claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(head).encode(), json.dumps(full(claims)).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
