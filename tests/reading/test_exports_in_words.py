"""Exports in plain words, and the choice of a volume and a format."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from migrate.model import labels
from migrate.model.errors import UsageError
from migrate.reading.export import Links
from migrate.reading.exports import FORMATS, choose, goes_with_another, readers_of, see, state_of, words_of

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
        ({"a": FILES}, "", ("gzip",), "is not offered as gzip"),
        ({"a": BOTH}, "", ("dir",), "is not offered as dir"),
    ],
)
def test_what_cannot_be_taken(volumes: dict[str, dict[str, str]], volume: str, formats: tuple[str, ...], words: str) -> None:
    """It is said what there is instead."""
    with pytest.raises(UsageError, match=words):
        choose(Links(volumes), export="e", volume=volume, formats=formats)


@pytest.mark.parametrize(
    ("owner", "leaves", "goes"),
    [
        (None, False, False),
        (("VirtualMachineExport", "e", "new"), False, False),
        (("VirtualMachineExport", "e", "old"), False, True),
        (("VirtualMachineExport", "other", "old"), False, False),
        (("VirtualMachine", "e", "old"), False, False),
        (("VirtualMachineExport", "e", "new"), True, True),
    ],
)
def test_a_token_of_an_earlier_export_does_not_count(owner: tuple[str, str, str] | None, leaves: bool, goes: bool) -> None:
    """It is collected with the one that owns it, which had the same name and another uid; what has no such owner is the user's."""
    metadata: dict[str, Any] = {"name": "secret-e"} | ({"deletionTimestamp": "2026-11-22T12:00:00Z"} if leaves else {})
    if owner is not None:
        metadata["ownerReferences"] = [dict(zip(("kind", "name", "uid"), owner, strict=True))]
    assert goes_with_another({"metadata": metadata}, {"metadata": {"name": "e", "uid": "new"}}) is goes


def test_a_start_is_another_state() -> None:
    """By its generation, by its uid, and by the time since when KubeVirt sees no instance; the same VM at rest is the same state."""

    def vm(uid: str = "u", generation: int = 1, status: str = "False", since: str = "2026-11-22T12:00:00Z") -> dict[str, Any]:
        ready = {"type": "Ready", "status": status, "reason": "VMINotExists", "lastTransitionTime": since}
        return {"metadata": {"uid": uid, "generation": generation}, "status": {"conditions": [ready]}}

    others = [vm(uid="v"), vm(generation=2), vm(since="2026-11-22T12:00:01Z"), {"metadata": {"uid": "u", "generation": 1}}]
    assert state_of(vm()) == state_of(vm())
    assert len({state_of(one) for one in (vm(), *others)}) == 5


@pytest.mark.parametrize(("value", "readers"), [(None, None), ("true", ()), ('["a:/x", "b:/y"]', ("a:/x", "b:/y")), ("[", ()), ("[]", ())])
def test_who_reads_an_export(value: str | None, readers: tuple[str, ...] | None) -> None:
    """Without the mark it is nobody's passing one; a mark that cannot be read names nobody."""
    assert readers_of({"metadata": {"annotations": {labels.PASSING: value} if value is not None else {}}}) == readers
