"""What a virtual machine is and was: run strategy in all its spellings, instance, launcher pods, identity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from migrate.model import labels
from migrate.model.objects import Object, annotations_of, condition, dig, generation_of, labels_of, leaving, name_of, uid_of
from migrate.model.was import Was

FINAL = frozenset({"Succeeded", "Failed"})
"""Instance and pod phases in which nothing runs any more."""
_DERIVED = UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
DEFAULT_GRACE_S = 30
"""terminationGracePeriodSeconds when the template names none (KubeVirt's API constant)."""


def strategy_of(vm: Object) -> str:
    """Return the effective run strategy: runStrategy, or what the legacy `running` means; neither = Halted (reference section 7)."""
    strategy = dig(vm, "spec", "runStrategy")
    if strategy:
        return str(strategy)
    return "Always" if dig(vm, "spec", "running") is True else "Halted"


def set_by(vm: Object, manager: str) -> bool:
    """Tell whether this writer's run strategy stands: nobody wrote another one in between, as every start and stop does.

    By metadata.managedFields; where something dropped those, only a spec that never changed tells so. Controllers that complete the
    spec (instance types, firmware) do not count.
    """
    entries = dig(vm, "metadata", "managedFields", default=())
    if not entries:
        return generation_of(vm) == 1
    return any(entry.get("manager") == manager and "f:runStrategy" in dig(entry, "fieldsV1", "f:spec", default={}) for entry in entries)


def instance_alive(vmi: Object | None) -> bool:
    """Tell whether an instance exists that has not ended."""
    return vmi is not None and dig(vmi, "status", "phase", default="") not in FINAL


def agent_connected(vmi: Object | None) -> bool:
    """Tell whether the guest agent of an instance answers."""
    agent = condition(vmi, "AgentConnected")
    return agent is not None and agent.true


def grace_s(vm: Object, vmi: Object | None = None) -> int:
    """Return the seconds the guest gets to shut down: the instance's if there is one, else the template's, else 30."""
    for seconds in (dig(vmi, "spec", "terminationGracePeriodSeconds"), _template(vm, "terminationGracePeriodSeconds")):
        if seconds is not None:
            return int(seconds)
    return DEFAULT_GRACE_S


def launcher_pods(pods: Iterable[Object], vm_name: str) -> tuple[Object, ...]:
    """Choose, among pods of the namespace, those that still hold the disks of one VM: launchers and hotplug pods that have not ended.

    A launcher names its VM by the label vm.kubevirt.io/name or the annotation kubevirt.io/domain; older ones only by their own name.
    """
    own = re.compile(rf"virt-launcher-{re.escape(vm_name)}-[a-z0-9]{{5}}")
    alive = [pod for pod in pods if dig(pod, "status", "phase", default="") not in FINAL]
    launchers = [pod for pod in alive if _says(pod, vm_name) or own.fullmatch(name_of(pod))]
    owners = {uid_of(pod) for pod in launchers}
    riders = [pod for pod in alive if pod not in launchers and _owned_by(pod, owners)]
    return (*launchers, *riders)


def was_of(vm: Object, vmi: Object | None) -> Was:
    """Collect what the VM is now. A VM that still stands as an earlier halt of ours left it keeps what was written then."""
    earlier = written_was(vm)
    if earlier is not None and not instance_alive(vmi) and halted_generation(vm) == generation_of(vm):
        return earlier
    alive = vmi if instance_alive(vmi) else None
    strategy, running = dig(vm, "spec", "runStrategy"), dig(vm, "spec", "running")
    firmware = _template(vm, "domain", "firmware", default={})
    lived = dig(alive, "spec", "domain", "firmware", default={})
    grace = _template(vm, "terminationGracePeriodSeconds")
    selector = _template(vm, "nodeSelector")
    return Was(
        run_strategy=str(strategy) if strategy else None,
        running=None if strategy or running is None else bool(running),
        instance="" if alive is None else uid_of(alive),
        leaving=alive is not None and leaving(alive),
        guest_agent=agent_connected(alive),
        macs=_macs(vm, alive),
        uuid=str(firmware.get("uuid") or lived.get("uuid") or derived_uuid(name_of(vm))),
        serial=str(firmware.get("serial") or lived.get("serial") or ""),
        grace_s=None if grace is None else int(grace),
        node_selector=_unfenced(selector),
    )


def was_snapshotted(vm: Object, vmi: Object | None) -> Was:
    """Collect what the VM is while a snapshot of it is taken: of one that runs, the identity of its instance, not of its newer spec."""
    was = was_of(vm, vmi)
    if vmi is None or not instance_alive(vmi):
        return was
    firmware = dig(vmi, "spec", "domain", "firmware", default={})
    return replace(was, macs=_macs({}, vmi), uuid=str(firmware.get("uuid") or was.uuid), serial=str(firmware.get("serial") or ""))


def was_held(vm: Object, noted: Was | None) -> Was:
    """Return what the VM was that a snapshot holds: as that says, else as was noted when the snapshot was made (None = nothing was)."""
    was = was_of(vm, None)
    if noted is None:
        return was
    firmware = _template(vm, "domain", "firmware", default={})
    uuid = str(firmware.get("uuid") or noted.uuid or was.uuid)
    return replace(was, macs={**noted.macs, **was.macs}, uuid=uuid, serial=was.serial or noted.serial)


def derived_uuid(vm_name: str) -> str:
    """Return the firmware uuid that KubeVirt gives the instances of a VM whose spec names none: it follows from the VM's name.

    Since 1.7 every new VM has a random one in its spec; older VMs live with this one (kubevirt pkg/virt-controller/watch/vm/firmware.go).
    """
    return str(uuid5(_DERIVED, vm_name))


def written_was(vm: Object) -> Was | None:
    """Read the WAS annotation; None when there is none or it is broken."""
    text = annotations_of(vm).get(labels.WAS)
    try:
        return None if text is None else Was.of_json(text)
    except ValueError:
        return None


def halted_by(vm: Object) -> str:
    """Read the HALTED_BY annotation: the id of the migration whose halt this is, "" for none."""
    return annotations_of(vm).get(labels.HALTED_BY) or ""


def halted_generation(vm: Object) -> int | None:
    """Read the HALTED_GENERATION annotation; None when there is none or it is no number."""
    text = annotations_of(vm).get(labels.HALTED_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _unfenced(selector: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return a node selector without a fence of ours; None where there was nothing else."""
    rest = {key: value for key, value in (selector or {}).items() if key != labels.FENCED}
    return rest if rest or selector == {} else None


def _template(vm: Object, *path: str, default: Any = None) -> Any:
    return dig(vm, "spec", "template", "spec", *path, default=default)


def _macs(vm: Object, vmi: Object | None) -> dict[str, str]:
    """MAC by interface name: the spec's, else the instance's spec, else what the instance reports."""
    found: dict[str, str] = {}
    sources = (
        (dig(vmi, "status", "interfaces", default=()), "mac"),
        (dig(vmi, "spec", "domain", "devices", "interfaces", default=()), "macAddress"),
        (_template(vm, "domain", "devices", "interfaces", default=()), "macAddress"),
    )
    wanted = {entry.get("name") for entry in sources[2][0]} | {entry.get("name") for entry in sources[1][0]}
    for entries, key in sources:
        for entry in entries:
            if entry.get("name") in wanted and entry.get("name") and entry.get(key):
                found[str(entry["name"])] = str(entry[key])
    return found


def _says(pod: Object, vm_name: str) -> bool:
    if labels_of(pod).get("kubevirt.io") not in {"virt-launcher", None}:
        return False
    named = (labels_of(pod).get("vm.kubevirt.io/name"), annotations_of(pod).get("kubevirt.io/domain"))
    return vm_name in named


def _owned_by(pod: Object, owners: set[str]) -> bool:
    return any(owner.get("uid") in owners for owner in dig(pod, "metadata", "ownerReferences", default=()))
