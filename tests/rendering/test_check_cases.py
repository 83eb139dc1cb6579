"""Everything that the check finds before anything is changed. Each case file differs from a healthy pair of clusters in one thing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from migrate.model.errors import Problem
from migrate.model.facts import Facts, Named, Side
from migrate.model.inventory import ExportHost, Inventory, ManagedBy, Reference, Trust
from migrate.model.migration import Identity, Options, Start, Verify
from migrate.model.was import Was
from migrate.rendering.checks import blocking, findings, warnings
from tests.case_files import Case, cases, words_of
from tests.rendering.asked import disk, migration

VM: dict[str, Any] = {
    "metadata": {"name": "db"},
    "status": {"volumeSnapshotStatuses": [{"name": "db", "enabled": True}]},
    "spec": {
        "runStrategy": "Always",
        "template": {
            "spec": {
                "domain": {
                    "firmware": {"uuid": "u", "serial": "s"},
                    "devices": {"interfaces": [{"name": "default", "macAddress": "02:00:00:00:00:01"}]},
                }
            }
        },
    },
}
SETS = {"fast": ["Block", "Filesystem"], "ceph": ["Filesystem"], "block": ["Block"], "local": ["Filesystem"], "legacy": ["Filesystem"]}


def healthy(context: str, **changes: Any) -> Side:
    """Return a side with everything that a move needs."""
    classes = [
        {
            "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": str(name == "fast").lower()}},
            "provisioner": "legacy.example" if name == "legacy" else "csi.example",
            "volumeBindingMode": "WaitForFirstConsumer" if name == "local" else "Immediate",
        }
        for name in (*SETS, "odd")
    ]
    side = Side(
        context=context,
        uid=f"{context}-uid",
        namespace="shop",
        served=dict.fromkeys(("VirtualMachine", "VirtualMachineExport", "DataVolume", "VirtualMachineSnapshot", "VolumeSnapshot"), "v1"),
        kubevirt={"status": {"observedKubeVirtVersion": "v1.9.0"}},
        host=ExportHost(f"exp.{context}", "Ingress proxy", Trust.GOOD),
        classes=tuple(classes),
        profiles={name: {"status": {"claimPropertySets": [{"volumeMode": mode} for mode in modes]}} for name, modes in SETS.items()},
        cdi_config={"status": {"filesystemOverhead": {"global": "0.06", "storageClass": {"fast": "0.06"}}}},
        drivers=frozenset({"csi.example"}),
    )
    return replace(side, **changes)


def merged(base: Any, change: Any) -> Any:
    """Lay a change over an object, mappings key by key."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def quota(hard: dict[str, str], used: dict[str, str], scopes: list[str]) -> dict[str, Any]:
    return {"metadata": {"name": "small"}, "spec": {"hard": hard, "scopes": scopes}, "status": {"hard": hard, "used": used}}


def sides(given: Case) -> tuple[Side, Side]:
    source, target = healthy("east", **given.get("source", {})), healthy("west", **given.get("target", {}))
    both = []
    for side, trust, own in zip((source, target), given.get("trust", (None, None)), given.get("given", (None, None)), strict=True):
        host = replace(side.host, trust=Trust(trust)) if trust and side.host else side.host
        both.append(replace(side, host=host, given=Trust(own) if own else None))
    source, target = both
    if "quota" in given:
        target = replace(target, quotas=(quota(given["quota"], given.get("used", {}), given.get("quota_scopes", [])),))
    if "source_quota" in given:
        source = replace(source, quotas=(quota(given["source_quota"], {}, []),))
    return source, target


def facts_of(given: Case) -> Facts:
    source, target = sides(given)
    facts = Facts(
        source=source,
        target=target,
        now=datetime(2026, 1, 1, 12, tzinfo=UTC),
        vm=merged(VM, given.get("vm", {})),
        was=Was.of_json(json.dumps(given.get("was", {}))),
        managers=tuple(ManagedBy(name, ("its label",), "tell it") for name in given.get("managers", ())),
        inventory=Inventory(
            (), tuple(Problem(what, why="w", now="n") for what in given.get("problems", ())), tuple(given.get("left_behind", ()))
        ),
        named=Named(
            missing=tuple(Reference(kind, name, space, "volume x", needed) for kind, name, space, needed in given.get("missing", ()))
        ),
        dumps=tuple(disk(**entry) for entry in given.get("dumps", ())),
        there={(kind, name): {"metadata": {"name": name, "labels": labels}} for kind, name, labels in given.get("there", ())},
    )
    return replace(facts, **given.get("facts", {}))


def options_of(given: Case) -> Options:
    said = dict(given.get("options", {}))
    if "verify" in said:
        said["verify"] = Verify(said["verify"])
    if "identity" in said:
        said["identity"] = Identity(said["identity"])
    if "start" in said:
        said["start"] = Start(said["start"])
    if "storage_map" in said:
        said["storage_map"] = tuple((old, new) for old, new in said["storage_map"])
    return Options(**said)


@pytest.mark.parametrize("case", cases("rendering/checks"))
def test_check(case: Case) -> None:
    """The findings are exactly those of the case file, blocked ones first; each says where, and each blocked one why or what now."""
    given = case["given"]
    disks = [disk(**entry) for entry in given.get("disks", [{"pvc": "db"}])]
    asked = migration(*disks, name=given.get("name", "db"), namespace=given.get("namespace", "shop"), options=options_of(given))
    asked = replace(asked, playbook=given.get("playbook", "cold-move"))
    found = findings(facts_of(given), asked)
    said = [(finding.severity.value, words_of([finding.problem])) for finding in found]
    assert [severity for severity, _ in said] == [severity for severity, _ in case["expect"]], said
    for (_, text), (_, pattern) in zip(said, case["expect"], strict=True):
        assert re.search(pattern, text, re.DOTALL), (pattern, text)
    assert all(finding.problem.where for finding in found)
    assert all(problem.now for problem in blocking(found)), said
    assert len(blocking(found)) + len(warnings(found)) == len(found)
