"""Who the guest takes itself for on the target: the same machine as before, or a new one. Both are written down, nothing is left to chance.

The rule for a target of another name: labels that say which VM this is (NAMED) get the new name, any other label whose value happens to be
the old name stays as it is and is told; the guest keeps the host name that it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from migrate.model.migration import Identity, Migration
from migrate.model.objects import dig
from migrate.model.was import Was

NAMED = frozenset({"kubevirt.io/vm", "kubevirt.io/domain", "vm.kubevirt.io/name"})
"""Labels whose value is the name of a VM, by KubeVirt's own habit and its examples'."""
_SPACE = UUID("d0f3bb5c-6f0f-45a2-8d7c-8b6f2f3c1f0e")
"""Of the uuids that follow from a migration's id, so that a repeated look gives the same."""


def identify(spec: dict[str, Any], migration: Migration, was: Was, notes: list[str]) -> None:
    """Write firmware uuid, serial, MACs and host name into the spec of a template; what a new machine will not share is noted."""
    if migration.identity is Identity.NEW:
        _renew(spec, migration, was, notes)
    else:
        _pin(spec, was)
    source, target = migration.source.name, migration.target.name
    if source != target and not spec.get("hostname") and migration.identity is Identity.KEEP:
        spec["hostname"] = source.partition(".")[0]
        notes.append(f"the host name {spec['hostname']} is written down: the guest keeps it under the new name of the VM")


def rename(labels: Mapping[str, str], migration: Migration, place: str, notes: list[str]) -> dict[str, str]:
    """Return labels for a target of another name; `place` says in a note whose they are."""
    source, target = migration.source.name, migration.target.name
    renamed = dict(labels)
    for key, value in labels.items():
        if source == target or value != source:
            continue
        if key in NAMED:
            renamed[key] = target
        else:
            notes.append(f"the label {key}={value} of the {place} stays: Services and policies may select by it")
    return renamed


def _pin(spec: dict[str, Any], was: Was) -> None:
    """Write down what the guest knows itself by. Without it licences, cloud-init and networks get lost."""
    domain = spec.setdefault("domain", {})
    for key, value in (("uuid", was.uuid), ("serial", was.serial)):
        if value:
            firmware = domain.get("firmware") or {}
            domain["firmware"] = {**firmware, key: firmware.get(key) or value}
    for interface in dig(domain, "devices", "interfaces", default=()):
        mac = was.macs.get(str(interface.get("name")))
        if mac and not interface.get("macAddress"):
            interface["macAddress"] = mac


def _renew(spec: dict[str, Any], migration: Migration, was: Was, notes: list[str]) -> None:
    """Take away what two machines must not share. Releases before 1.7 derive the uuid from the VM's name, so a new one is written down."""
    domain = spec.setdefault("domain", {})
    firmware = domain.get("firmware") or {}
    fresh = {word: str(uuid5(_SPACE, f"{migration.id}/{word}")) for word in ("uuid", "serial")}
    domain["firmware"] = {**firmware, **fresh}
    notes.append(
        f"new hardware uuid {fresh['uuid']} and serial {fresh['serial']} (--identity new); the source keeps {was.uuid or 'its own'}"
    )
    for interface in dig(domain, "devices", "interfaces", default=()):
        old = interface.pop("macAddress", "") or was.macs.get(str(interface.get("name")), "")
        notes.append(
            f"interface {interface.get('name')}: KubeVirt gives it a new MAC address{f', not {old}' if old else ''} (--identity new)"
        )
    if spec.get("hostname"):
        notes.append(f"the host name {spec['hostname']} stays, since the VM's spec names it")
