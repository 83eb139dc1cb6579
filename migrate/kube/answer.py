"""What came back over the wire, before anybody judges it; and the removal of secrets from texts that people will read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_TEXT = 1200
"""Characters of a foreign text that an error shows. Real webhook and quota messages stay below; HTML pages and dumps do not."""

_PEM_NOISE = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|$)", re.DOTALL)
_JWT_NOISE = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?")
_HEADER_NOISE = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
_PAIR_NOISE = re.compile(r"(?i)\b([\w-]*(?:token|password|passwd|secret|api[_-]?key)[\w-]*\"?\s*[=:]\s*\"?)(?!\s)[^\s\",;]{6,}")


def clean(text: str) -> str:
    """Return the text without what looks like a secret, cut to a length that fits an error."""
    text = _PEM_NOISE.sub("[removed]", text)
    text = _JWT_NOISE.sub("[removed]", text)
    text = _HEADER_NOISE.sub(r"\1 [removed]", text)
    text = _PAIR_NOISE.sub(r"\1[removed]", text).strip()
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}... ({len(text) - LONGEST_TEXT} characters more)"


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of `status.details.causes`."""

    reason: str = ""
    message: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """A `v1.Status` as the API server sends it with every refusal."""

    code: int
    reason: str = ""
    message: str = ""
    kind: str = ""
    name: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_s: int = 0

    @classmethod
    def of(cls, body: object, code: int = 0) -> Status | None:
        """Read a decoded body; None if it is not a Status."""
        if not isinstance(body, dict) or body.get("kind") != "Status":
            return None
        details = body.get("details")
        details = details if isinstance(details, dict) else {}
        causes = details.get("causes")
        return cls(
            code=_number(body.get("code")) or code,
            reason=str(body.get("reason") or ""),
            message=str(body.get("message") or ""),
            kind=str(details.get("kind") or ""),
            name=str(details.get("name") or ""),
            causes=tuple(
                Cause(str(cause.get("reason") or ""), str(cause.get("message") or ""), str(cause.get("field") or ""))
                for cause in (causes if isinstance(causes, list) else ())
                if isinstance(cause, dict)
            ),
            retry_after_s=_number(details.get("retryAfterSeconds")),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer. `headers` have lower-case keys."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def decoded(self) -> Any:
        """Return the JSON value, or None if the body is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, UnicodeDecodeError):
            return None

    def refusal(self) -> Status | None:
        """Return the Status inside, if there is one."""
        return Status.of(self.decoded(), self.status)

    def retry_after_s(self) -> float | None:
        """Return the seconds the server asks us to wait, or None. Dates are not used by API servers and count as nothing."""
        given = self.headers.get("retry-after", "").strip()
        if given.isdigit():
            return float(given)
        status = self.refusal()
        return float(status.retry_after_s) if status and status.retry_after_s else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
