"""What was asked of a real API server is read from its audit log: every line once, and none is lost silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migrate.lab.kube_audit import AuditedRequests
from migrate.lab.places import LabError


def line(number: int) -> str:
    event: dict[str, Any] = {
        "auditID": f"id-{number}",
        "verb": "create",
        "requestURI": "/api/v1/namespaces/shop/configmaps",
        "requestReceivedTimestamp": "2026-11-22T20:00:00.000000Z",
        "user": {"username": "somebody"},
        "userAgent": "kubevirt-migrate/1",
        "responseStatus": {"code": 201},
    }
    return json.dumps(event) + "\n"


def test_a_line_that_grows_is_read_once_it_is_whole(tmp_path: Path) -> None:
    """What is there is told; half a line waits for its other half."""
    path = tmp_path / "audit.log"
    requests = AuditedRequests(path)
    assert requests.since() == []
    path.write_text(line(1) + line(2)[:40])
    assert len(requests.since()) == 1
    path.write_text(line(1) + line(2))
    assert [asked.verb for asked in requests.since(1, user_agent="kubevirt-migrate")] == ["create"]
    assert requests.count("write", user_agent="kubevirt-migrate") == 2


def test_a_log_that_is_begun_anew_is_an_error(tmp_path: Path) -> None:
    """The server rotates a log that is too long: whoever asks is told, since from then on there would be silence."""
    path = tmp_path / "audit.log"
    requests = AuditedRequests(path)
    path.write_text(line(1) + line(2))
    assert len(requests.since()) == 2
    path.write_text(line(3))
    with pytest.raises(LabError, match="was rotated"):
        requests.since()
