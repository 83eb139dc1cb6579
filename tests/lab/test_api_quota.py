"""Quotas: what does not fit is refused in the real words, and the usage is always right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api_client import Api, serving

QUOTAS = "/api/v1/namespaces/shop/resourcequotas"
CLAIMS = "/api/v1/namespaces/shop/persistentvolumeclaims"


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as running:
        hard = {"requests.storage": "10Gi", "persistentvolumeclaims": "2"}
        assert running.admin.post(QUOTAS, {"metadata": {"name": "disks"}, "spec": {"hard": hard}}).code == 201
        yield running


def claim(name: str, size: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}}


def test_what_does_not_fit_is_forbidden(api: Api) -> None:
    """403 with requested, used and limited, also in a dry run; what fits passes."""
    assert api.admin.post(CLAIMS, claim("a", "6Gi")).code == 201
    for query in ("", "?dryRun=All"):
        refused = api.admin.post(f"{CLAIMS}{query}", claim("b", "5Gi"))
        assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
        assert refused.body["message"] == (
            'persistentvolumeclaims "b" is forbidden: exceeded quota: disks, '
            "requested: requests.storage=5Gi, used: requests.storage=6Gi, limited: requests.storage=10Gi"
        )
    assert api.admin.post(CLAIMS, claim("b", "4Gi")).code == 201


def test_the_status_follows_what_is_used(api: Api) -> None:
    """Creating and deleting show in status.used at once; a new limit in status.hard."""
    api.admin.post(CLAIMS, claim("a", "6Gi"))
    assert api.admin.get(f"{QUOTAS}/disks").body["status"]["used"] == {"requests.storage": "6Gi", "persistentvolumeclaims": "1"}
    api.admin.delete(f"{CLAIMS}/a")
    assert api.admin.get(f"{QUOTAS}/disks").body["status"]["used"] == {"requests.storage": "0", "persistentvolumeclaims": "0"}
    api.admin.patch(f"{QUOTAS}/disks", {"spec": {"hard": {"requests.storage": "1Gi"}}})
    assert api.admin.get(f"{QUOTAS}/disks").body["status"]["hard"]["requests.storage"] == "1Gi"


def test_other_namespaces_are_free(api: Api) -> None:
    """A quota limits its own namespace only."""
    assert api.admin.post("/api/v1/namespaces/default/persistentvolumeclaims", claim("big", "1Ti")).code == 201
