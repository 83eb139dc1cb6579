"""Exports in plain words, and the choice of a volume and a format."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from migrate.model.errors import UsageError
from migrate.reading.export import Links
from migrate.reading.exports import FORMATS, choose, see, words_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOTH = {"raw": "https://h/raw", "gzip": "https://h/gz"}
FILES = {"tar.gz": "https://h/tar", "dir": "https://h/dir"}


def export(phase: str = "", reason: str = "", message: str = "", kind: str = "Ready", **status: Any) -> dict[str, Any]:
    conditions = [{"type": kind, "status": "False", "reason": reason, "message": message}] if reason else []
    return {
        "metadata": {"name": "e", "namespace": "shop"},
        "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "db"}, "tokenSecretRef": "t"},
        "status": {"phase": phase, "conditions": conditions, **status},
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (export(), "KubeVirt has not taken it up"),
        (export("Pending", "InUse", "Virtual Machine shop/db is running"), "a snapshot can be exported while the VM runs"),
        (export("Pending", "InUse", "Virtual Machine shop/db is running"), "(Virtual Machine shop/db is running)"),
        (export("Pending", "PodPending"), "its server pod is being started"),
        (export("Pending", "PVCNotFound", kind="PVCReady"), "there is no such claim"),
        (export("Skipped", "VMNoVolumes"), "there is nothing to export yet: KubeVirt sees no disk of the VM"),
        (export("Pending", "SomethingNew", "in KubeVirt's words"), "in KubeVirt's words"),
        (export("Ready", links={"internal": {}}), "has links within the cluster only"),
        (export("Ready", links={"external": {}}, ttlExpirationTime="2026-11-22T14:00:00Z"), "can be reached from outside, ends in 2 h"),
        (export("Ready", ttlExpirationTime="2026-11-22T11:00:00Z"), "its time is over"),
    ],
)
def test_why_it_is_not_ready(given: dict[str, Any], words: str) -> None:
    """Every state has words that a person understands, with KubeVirt's own where it gives some."""
    assert words in words_of(given, now=NOW)


def test_what_is_seen() -> None:
    """Links by claim name, sizes of the claims, the Secret with the token."""
    volumes = [{"name": "a", "formats": [{"format": one, "url": url} for one, url in BOTH.items()]}]
    claims = {"a": {"status": {"capacity": {"storage": "2Gi"}}}}
    seen = see(export("Ready", links={"internal": {"volumes": volumes}}), claims, now=NOW)
    assert (seen.volumes, seen.sizes, seen.outside, seen.token_secret) == ({"a": BOTH}, {"a": 2 << 30}, False, "t")
    assert seen.source == "VirtualMachine db"


@pytest.mark.parametrize(
    ("volumes", "volume", "formats", "chosen"),
    [
        ({"a": BOTH}, "", FORMATS, ("a", "gzip")),
        ({"a": FILES}, "", FORMATS, ("a", "tar.gz")),
        ({"a": BOTH, "b": FILES}, "b", FORMATS, ("b", "tar.gz")),
        ({"a": BOTH}, "a", ("raw",), ("a", "raw")),
    ],
)
def test_what_is_taken(volumes: dict[str, dict[str, str]], volume: str, formats: tuple[str, ...], chosen: tuple[str, str]) -> None:
    """The one volume that there is, the one that is named; what is packed first, unless another format is asked for."""
    assert choose(Links(volumes), export="e", volume=volume, formats=formats)[:2] == chosen


@pytest.mark.parametrize(
    ("volumes", "volume", "formats", "words"),
    [
        ({}, "", FORMATS, "offers no volume"),
        ({"a": BOTH, "b": BOTH}, "", FORMATS, "has 2 volumes"),
        ({"a": BOTH}, "c", FORMATS, 'has no volume "c"'),
        ({"a": FILES}, "", ("raw",), "is not offered as raw"),
        ({"a": BOTH}, "", ("dir",), "is not offered as dir"),
    ],
)
def test_what_cannot_be_taken(volumes: dict[str, dict[str, str]], volume: str, formats: tuple[str, ...], words: str) -> None:
    """It is said what there is instead."""
    with pytest.raises(UsageError, match=words):
        choose(Links(volumes), export="e", volume=volume, formats=formats)
