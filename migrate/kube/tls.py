"""One TLS context per set of credentials, built without leaving private keys on the disk."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migrate.model.errors import UsageError


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate with its key, both PEM."""

    certificate: str
    key: str

    def expires(self) -> datetime | None:
        """Return the end of its validity (of the first certificate in the PEM), or None if it cannot be read."""
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc.astimezone(UTC)
        except ValueError:
            return None


def tls_context(cluster: Mapping[str, Any], folder: Path, certificate: ClientCertificate | None, *, where: str) -> ssl.SSLContext:
    """Build the context for a kubeconfig's cluster stanza. Raise UsageError for unreadable authorities, certificates or keys.

    It is made by hand rather than by `create_default_context`, whose strict X.509 flags (Python 3.13) refuse authorities that Go accepts.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority = pem(cluster, "certificate-authority", folder, where=where)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        try:
            context.load_verify_locations(cadata=authority)
        except ssl.SSLError as problem:
            raise _unusable("certificate-authority", where, str(problem.reason or problem)) from None
    else:
        context.load_default_certs()
    if certificate is not None:
        _load(context, certificate, where=where)
    return context


def pem(stanza: Mapping[str, Any], key: str, folder: Path, *, where: str) -> str:
    """Return the PEM text of `KEY-data` (base64) or of the file `KEY`; "" if neither is given. Data wins, as in kubectl."""
    data, file = stanza.get(f"{key}-data"), stanza.get(key)
    if data:
        try:
            return base64.b64decode(str(data), validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _unusable(f"{key}-data", where, "it is not base64 of PEM") from None
    if file:
        return text_of(folder / Path(str(file)).expanduser(), key, where=where)
    return ""


def text_of(file: Path, key: str, *, where: str) -> str:
    """Read a file that the kubeconfig names under `key`. Raise UsageError naming both."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not text"
        raise _unusable(f"{key} {file}", where, why or str(problem)) from None


def _load(context: ssl.SSLContext, certificate: ClientCertificate, *, where: str) -> None:
    """Hand certificate and key to OpenSSL, which takes files only: one file of mode 0600, gone as soon as it is read."""
    handle, name = tempfile.mkstemp(prefix="migrate-", suffix=".pem")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{certificate.certificate.rstrip()}\n{certificate.key.rstrip()}\n")
        # A password prompt of OpenSSL would block a batch for ever; an encrypted key is refused instead.
        context.load_cert_chain(name, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as problem:
        why = str(getattr(problem, "reason", None) or problem)
        raise _unusable("client-certificate or client-key", where, why) from None
    finally:
        Path(name).unlink(missing_ok=True)


def _no_password() -> str:
    raise ValueError("the key is encrypted; kubeconfig files hold keys without a password")


def _unusable(key: str, where: str, why: str) -> UsageError:
    return UsageError(f"cannot use {key} of the kubeconfig", where=where, why=why, now="Correct it, or fetch a fresh kubeconfig.")
