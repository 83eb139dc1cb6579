"""Upload tokens: JWTs (PS256) for one claim, good for five minutes, checked when an upload begins.

Source: reference/cdi-import.md section 5.1.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from migrate.kube.kinds import SECRET, UPLOADTOKENREQUEST
from migrate.lab import cdi_names as names
from migrate.model.errors import Taken

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from migrate.lab.api_virtual import Call
    from migrate.lab.controller import Runtime

LIFETIME_S: Final = 300
LEEWAY_S: Final = 10
ISSUER: Final = "cdi-apiserver"
OPERATION: Final = "Upload"
KEY_SECRET: Final = "cdi-api-signing-key"


class BadToken(Exception):
    """Not one of our tokens, or too old."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token allows."""

    operation: str
    namespace: str
    name: str
    resource: str


class Signer:
    """Signs and checks tokens with the cluster's key, which is made when it is first needed (that costs a tenth of a second)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._key: RSAPrivateKey | None = None

    def issue(self, namespace: str, claim: str) -> str:
        """Return a token for an upload into a claim. Whether the claim exists is not checked, as in CDI."""
        now = int(self._runtime.clock.now().timestamp())
        payload = {
            "iss": ISSUER,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_S,
            "operation": OPERATION,
            "name": claim,
            "namespace": namespace,
            "resource": {"group": "", "version": "v1", "resource": "persistentvolumeclaims"},
        }
        signed = f"{_encoded({'alg': 'PS256', 'typ': 'JWT'})}.{_encoded(payload)}"
        return f"{signed}.{_text(sign(self._own_key(), signed.encode()))}"

    def check(self, token: str) -> Claims:
        """Return what a token allows now. Raise BadToken."""
        try:
            head, body, signature = token.split(".")
            if json.loads(_bytes(head)).get("alg") != "PS256":
                raise BadToken("unexpected signing algorithm")
            payload = json.loads(_bytes(body))
            verify(self._own_key(), _bytes(signature), f"{head}.{body}".encode())
            return _claims(payload, self._runtime.clock.now())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadToken("malformed token") from error

    def _own_key(self) -> RSAPrivateKey:
        with self._lock:
            if self._key is None:
                self._key = self._read() or self._make()
            return self._key

    def _read(self) -> RSAPrivateKey | None:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        found = self._runtime.api.get(SECRET, KEY_SECRET, names.NAMESPACE)
        if found is None:
            return None
        key = load_pem_private_key(base64.b64decode(found["data"]["id_rsa"]), None)
        assert isinstance(key, RSAPrivateKey)
        return key

    def _make(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives import serialization as forms
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.TraditionalOpenSSL, forms.NoEncryption())
        data = {"id_rsa": base64.b64encode(pem).decode()}
        meta = {"name": KEY_SECRET, "namespace": names.NAMESPACE}
        try:
            self._runtime.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data})
        except Taken:
            return self._read() or key
        return key


def _claims(payload: dict[str, Any], now: datetime) -> Claims:
    moment = now.timestamp()
    if payload["iss"] != ISSUER:
        raise BadToken("unexpected issuer")
    if not payload["nbf"] - LEEWAY_S <= moment <= payload["exp"] + LEEWAY_S:
        raise BadToken("token is expired")
    return Claims(payload["operation"], payload["namespace"], payload["name"], payload["resource"]["resource"])


def sign(key: RSAPrivateKey, message: bytes) -> bytes:
    """Return the PS256 signature of a message."""
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    return key.sign(message, padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH), SHA256())


def verify(key: RSAPrivateKey, signature: bytes, message: bytes) -> None:
    """Check a PS256 signature. Raise BadToken."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.public_key().verify(signature, message, padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH), SHA256())
    except InvalidSignature as error:
        raise BadToken("bad signature") from error


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(payload: dict[str, Any]) -> str:
    return _text(json.dumps(payload, separators=(",", ":")).encode())


class TokenRoute:
    """Answers `create uploadtokenrequests`. Nothing is stored."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def __call__(self, call: Call) -> tuple[int, dict[str, Any] | str]:
        """Answer one request."""
        body = call.body if isinstance(call.body, dict) else {}
        claim = (body.get("spec") or {}).get("pvcName") or ""
        meta = dict(body.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{self._suffix()}"
        meta |= {"namespace": call.namespace, "creationTimestamp": None}
        return 201, {
            "apiVersion": UPLOADTOKENREQUEST.api_version(),
            "kind": "UploadTokenRequest",
            "metadata": meta,
            "spec": {"pvcName": claim},
            "status": {"token": self._signer.issue(call.namespace, claim)},
        }

    def _suffix(self) -> str:
        from secrets import token_hex

        return token_hex(3)[:5]
