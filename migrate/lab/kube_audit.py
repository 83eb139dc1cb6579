"""Who asked what of a real API server, read from its audit log, in the form in which the embedded one remembers it."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migrate.lab.api_log import Asked, RequestLog
from migrate.lab.places import LabError

if TYPE_CHECKING:
    from pathlib import Path

_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE"}


class AuditedRequests(RequestLog):
    """A request log that follows the audit log: every question reads on first."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._offset = 0
        self._seen: set[str] = set()
        self._reading = threading.Lock()

    @property
    def mark(self) -> int:
        self._read_on()
        return super().mark

    def since(self, mark: int = 0, *, user_agent: str = "", sort: str = "") -> list[Asked]:
        self._read_on()
        return super().since(mark, user_agent=user_agent, sort=sort)

    def count(self, sort: str, *, user_agent: str = "") -> int:
        self._read_on()
        return super().count(sort, user_agent=user_agent)

    def totals(self) -> dict[str, dict[str, int]]:
        self._read_on()
        return super().totals()

    def _read_on(self) -> None:
        with self._reading:
            for event in self._fresh():
                if event["auditID"] not in self._seen:
                    self._seen.add(event["auditID"])
                    self.add(**facts_of(event))

    def _fresh(self) -> list[dict[str, Any]]:
        """Return the events written since the last time; a line that is only half there waits for the next.

        Raises LabError where the log was begun anew: to go on reading would show no request any more.
        """
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:
                    raise LabError(f"{self._path} was rotated: what was asked before is lost", now="raise audit-log-maxsize")
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def facts_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the request log notes of an audit event. Watches are noted when they begin."""
    about = event.get("objectRef") or {}
    path = str(event["requestURI"])
    impersonated = event.get("impersonatedUser") or {}
    return {
        "at": datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        "method": _METHODS.get(event["verb"], "GET"),
        "path": path,
        "verb": event["verb"],
        "group": about.get("apiGroup", ""),
        "resource": about.get("resource", ""),
        "namespace": about.get("namespace", ""),
        "name": about.get("name", ""),
        "subresource": about.get("subresource", ""),
        "user": impersonated.get("username") or event["user"].get("username", ""),
        "user_agent": event.get("userAgent", ""),
        "status": (event.get("responseStatus") or {}).get("code", 0),
        "dry_run": "dryRun=All" in path,
    }
