"""Whom we believe on the wire: the same roots and rules as the importer that will pull from there."""

from __future__ import annotations

import functools
import ssl

from migrate.model.errors import UsageError


@functools.lru_cache(maxsize=32)
def context(ca_pem: str) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's roots and every certificate of the text (PEM, may be empty).

    A leaf without its CA is enough (VERIFY_X509_PARTIAL_CHAIN), since `links.external.cert` may be just that, and since CDI's Go client
    takes it too (cdi-import 2.1; kubevirt-export section 2, Links). Reading the system's roots takes longer than a request, so
    the same text gives the same context. Raises UsageError when the text is no PEM.
    """
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_pem.strip():
        try:
            made.load_verify_locations(cadata=ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(
                "the CA of the export host is not PEM text", why=str(error), now="give a file with -----BEGIN CERTIFICATE----- blocks"
            ) from None
    return made


def blind() -> ssl.SSLContext:
    """Return a TLS context that believes anybody: only for a host of which the user said so (--insecure)."""
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def distrust(error: BaseException) -> str:
    """Return in OpenSSL's words why a certificate was refused, wherever in the chain of causes; "" if that was not the trouble."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        found = rest.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, ssl.SSLCertVerificationError):
            return found.verify_message or str(found)
        rest += [found.__cause__, found.__context__, *(part for part in found.args if isinstance(part, BaseException))]
    return ""
