"""Collect, by reads and dry runs alone, everything that the check of both sides judges.

What we are not allowed to see is left out or named as denied; nothing is tried that would be refused for want of permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import (
    CDICONFIG,
    CONFIGMAP,
    CSIDRIVER,
    DATAVOLUME,
    EXPORT,
    KUBEVIRT,
    POD,
    PVC,
    RESOURCEQUOTA,
    SNAPSHOT,
    STORAGECLASS,
    STORAGEPROFILE,
    VM,
    VMI,
    VOLUMESNAPSHOT,
    Kind,
)
from migrate.model import labels
from migrate.model.facts import Facts, Named, Side
from migrate.model.inventory import STATE, ExportHost, Inventory, Trust
from migrate.model.migration import References
from migrate.model.objects import Object, dig, labels_of, name_of, uid_of
from migrate.model.was import Was
from migrate.reading.exporthost import judge
from migrate.reading.inventory import disks_of, dump, dumps_of
from migrate.reading.machine import grace_s, instance_alive, launcher_pods, was_of
from migrate.reading.managers import managed_by
from migrate.reading.state import claims_for, may_keep, old_name
from migrate.reading.users import pods_on, vms_on
from migrate.steps import forwarding, looks, onward, permissions, rehearsal, snapshots
from migrate.steps.base import Crossing
from migrate.steps.doors import Door, find_door
from migrate.steps.expanding import matcher_kinds
from migrate.steps.prepare_target import look_at_namespace
from migrate.steps.referring import collect_named

SERVED = (VM, EXPORT, DATAVOLUME, SNAPSHOT, VOLUMESNAPSHOT)
_UNSEEN = ExportHost("", "unseen", Trust.GOOD)
"""In place of a host that we may not look for; what is denied is said for itself."""


def collect(x: Crossing) -> tuple[Facts, Door, Door]:
    """Return the facts of both sides, and the doors through which exports of the source and of the target will go.

    What travels is judged by the VM as our snapshot holds it, once there is one: the source goes on and may have changed since.
    """
    m = x.migration
    vm, vmi = x.source.get(VM, m.source.name), x.source.get(VMI, m.source.name)
    held = _held(x)
    copied = held or vm
    was = snapshots.was(x, held) if held is not None else was_of(vm, vmi) if vm is not None else Was()
    dumps = dumps_of(copied) if copied is not None and m.copies else ()
    wanted = [*(disk.pvc for disk in m.disks), *dumps]
    wanted += [snapshots.restored_name(x, name) for name in wanted if m.copies]
    claims = {name: found for name in wanted if (found := x.source.get(PVC, name)) is not None}
    raised = vm is not None and not m.copies and instance_alive(vmi) and grace_s(vm, vmi) == 0
    stop = ["stop"] * raised
    here, there = (look_at_namespace(cluster) is not None for cluster in (x.source, x.target))
    matchers = matcher_kinds(copied) if copied is not None and m.options.references is not References.SKIP else ()
    onwards = vm is not None and labels.is_ours(dict(vm))
    needs = permissions.of_source(m, subresources=stop, matchers=matchers, onwards=onwards)
    source, source_door = _side(x, x.source, needs, ca_given=m.options.source_ca, namespace_there=here)
    needs = permissions.of_target(m, namespace_there=there, matchers=matchers)
    target, target_door = _side(x, x.target, needs, ca_given=m.options.target_ca, namespace_there=there)
    facts = Facts(
        source=source,
        target=target,
        now=x.clock.now(),
        vm=vm,
        vmi=vmi,
        was=was,
        pvcs=claims,
        dumps=tuple(dump(claims[name]) for name in dumps if name in claims),
        there=_there(x, target),
        inventory=_inventory(x, copied, vmi if copied is vm else None, claims),
        not_arrived=onward.not_arrived(x.source, vm, m) if x.source.can("get", CONFIGMAP) else "",
        managers=managed_by(vm) if vm is not None else (),
        named=collect_named(x, copied, namespace_there=there) if copied is not None else Named(),
        refused=tuple(_refused(x, copied, was, target, claims)),
        macs_in_use=_macs(x) if there and "VirtualMachine" in target.served else {},
        snapshotted=copied is not vm,
        users=tuple(_users(x)),
        states_there=tuple(_states_there(x)) if there else (),
    )
    return facts, source_door, target_door


def states(cluster: Cluster, vm: Object, vmi: Object | None) -> tuple[Object, ...]:
    """Find the claims that KubeVirt would take for the TPM and EFI state of a VM: by label, else by the name of old."""
    if not may_keep(vm, vmi):
        return ()
    name = name_of(vm)
    found = claims_for(name, cluster.list(PVC, labels={STATE: name}))
    old = cluster.get(PVC, old_name(name)) if not found else None
    return found if old is None else claims_for(name, [old])


def _held(x: Crossing) -> Object | None:
    """Return the VM as our snapshot holds it; None without one, or where we may not look."""
    return snapshots.held(x) if x.migration.copies and snapshots.visible(x) else None


def _side(x: Crossing, cluster: Cluster, needs: Iterable[permissions.Need], *, ca_given: str, namespace_there: bool) -> tuple[Side, Door]:
    """Look at one side: what it serves and allows, its storage, its quotas, its door."""
    served = {kind.kind: version for kind in SERVED if (version := cluster.serves(kind)) is not None}
    kubevirt = next(iter(_list(cluster, KUBEVIRT, everywhere=True)), None)
    kubevirt_namespace = str(dig(kubevirt, "metadata", "namespace", default="kubevirt"))
    door = find_door(x, cluster, kubevirt_namespace)
    denied = permissions.denied(cluster, needs)
    if door.denied and x.migration.disks:
        denied = (*denied, *permissions.denied(cluster, [permissions.of_host(kubevirt_namespace)]))
    host = _UNSEEN if door.denied else door.host
    side = Side(
        context=cluster.context,
        uid=cluster.uid(),
        namespace=cluster.namespace,
        namespace_exists=namespace_there,
        served=served,
        kubevirt=kubevirt,
        denied=denied,
        host=host,
        forwards=host is None and bool(x.migration.disks) and forwarding.may_forward(cluster),
        given=judge(ca_given, host=host.host, now=x.clock.now()) if ca_given and door.host is not None and host is not None else None,
        quotas=tuple(_list(cluster, RESOURCEQUOTA)) if namespace_there else (),
        classes=tuple(_list(cluster, STORAGECLASS)),
        profiles={name_of(found): found for found in _list(cluster, STORAGEPROFILE)},
        cdi_config=_get(cluster, CDICONFIG, "config"),
        drivers=frozenset(name_of(found) for found in _list(cluster, CSIDRIVER)),
    )
    return side, door


def _list(cluster: Cluster, kind: Kind, *, everywhere: bool = False) -> list[dict[str, object]]:
    """List what we may list; nothing where the kind is not served or we may not."""
    if cluster.serves(kind) is None or not cluster.can("list", kind, "" if everywhere else None):
        return []
    return cluster.list(kind, everywhere=everywhere)


def _get(cluster: Cluster, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
    if cluster.serves(kind) is None or not cluster.can("get", kind, namespace, name=name):
        return None
    return cluster.get(kind, name, namespace)


def _there(x: Crossing, target: Side) -> dict[tuple[str, str], Object]:
    """Return what is on the target under the names that we want, the claims left out that CDI made for this very migration."""
    wanted: list[tuple[Kind, str]] = []
    if "VirtualMachine" in target.served:
        wanted.append((VM, x.migration.target.name))
    for disk in x.migration.disks:
        wanted += [(kind, disk.target) for kind in (DATAVOLUME, PVC) if kind is PVC or "DataVolume" in target.served]
    there = {(kind, name): found for kind, name in wanted if (found := x.target.get(kind, name)) is not None}
    ours = {(PVC, name) for kind, name in there if kind is DATAVOLUME and labels.is_ours(there[kind, name], x.migration.id)}
    return {(kind.kind, name): found for (kind, name), found in there.items() if (kind, name) not in ours}


def _inventory(x: Crossing, vm: Object | None, vmi: Object | None, claims: Mapping[str, Object]) -> Inventory:
    if vm is None:
        return Inventory(())
    m = x.migration
    served = x.source.serves(DATAVOLUME) is not None
    volumes = {disk.pvc: found for disk in m.disks if served and (found := x.source.get(DATAVOLUME, disk.pvc)) is not None}
    same_place = m.source_cluster_uid == m.target_cluster_uid and m.source.namespace == m.target.namespace
    return disks_of(
        vm,
        claims,
        vmi=vmi,
        data_volumes=volumes,
        states=states(x.source, vm, vmi),
        target_vm=m.target.name,
        same_place=same_place,
    )


def _refused(x: Crossing, vm: Object | None, was: Was, target: Side, claims: Mapping[str, Object]) -> list[rehearsal.Refusal]:
    """Rehearse what the target will be given, as far as it serves it, we may, and its namespace is there."""
    if not target.namespace_exists:
        return rehearsal.rehearse_namespace(x) if x.migration.options.create_namespace else []
    if (
        vm is None
        or not {"VirtualMachine", "DataVolume"} <= set(target.served)
        or any(words.startswith("create") for words in target.denied)
    ):
        return []
    return rehearsal.rehearse_contents(x, dict(vm), was, classes=target.classes, profiles=target.profiles, claims=claims)


def _users(x: Crossing) -> list[str]:
    """Name who uses a disk of the source besides: other VMs, other pods. The VM's own launcher and our export's server are left out."""
    m = x.migration
    disks = {disk.pvc for disk in m.disks}
    if not disks:
        return []
    pods = _list(x.source, POD)
    own = {name_of(pod) for pod in launcher_pods(pods, m.source.name)}
    own |= {name_of(pod) for pod in pods if labels_of(pod).get(looks.SERVER_OF) == m.names.export}
    vms = [vm for vm in _list(x.source, VM) if uid_of(vm) != m.source_uid]
    return [*vms_on(disks, vms), *pods_on(disks, [pod for pod in pods if name_of(pod) not in own])]


def _states_there(x: Crossing) -> Iterator[str]:
    """Name the claims of the target that KubeVirt might take for the target VM's state in place of ours."""
    if any(disk.archive for disk in x.migration.disks):
        found = [*x.target.list(PVC, labels={STATE: x.migration.target.name}), x.target.get(PVC, old_name(x.migration.target.name))]
        ours = looks.made_by_cdi(x, PVC)
        yield from sorted({name_of(claim) for claim in found if claim is not None and name_of(claim) not in ours})


def _macs(x: Crossing) -> dict[str, str]:
    """Return who has which MAC in the target's namespace, the source VM left out."""
    found: dict[str, str] = {}
    for vm in _list(x.target, VM):
        if uid_of(vm) == x.migration.source_uid or name_of(vm) == x.migration.target.name:
            continue
        for card in dig(vm, "spec", "template", "spec", "domain", "devices", "interfaces", default=()):
            if card.get("macAddress"):
                found[str(card["macAddress"])] = name_of(vm)
    return found
