"""Seeds: ordinary manifests that a fresh lab is planted with, and disks that have their content before any guest starts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import DATAVOLUME, PV, PVC, VM, VMI
from migrate.lab.cdi_sizes import required
from migrate.lab.storage import MIB, Volumes, disk_file, is_block, size_bytes, spelled
from migrate.model.errors import Refused, Taken

if TYPE_CHECKING:
    from migrate.lab.controller import Runtime

Object = dict[str, Any]

CLUSTER = "lab.kubevirt-migrate.io/cluster"
CONTENT = "lab.kubevirt-migrate.io/content"
ADOPT = "cdi.kubevirt.io/allowClaimAdoption"
CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"
OVERHEAD = 0.06
"""What CDI's configuration in the lab says for file systems."""
PIECE = 256 << 10
DEFAULT_SHARE = 0.25
WAIT_S = 120.0
_FIRST = ("Namespace", "StorageClass", "PriorityClass", "Secret", "ConfigMap", "ServiceAccount", "ResourceQuota")
_RUNNING = ("Always", "RerunOnFailure", "Once")


class BadSeed(ValueError):
    """A seed file that cannot be planted; the text says what and where."""


def read(seed: str) -> list[Object]:
    """Return the manifests of a seed: `none`, `default`, or the path of a YAML file. Raise BadSeed for anything else."""
    import yaml

    if seed == "none":
        return []
    if seed == "default":
        text = resources.files("migrate.lab").joinpath("seeds/default.yaml").read_text()
    else:
        try:
            text = Path(seed).read_text()
        except OSError as problem:
            raise BadSeed(f"cannot read the seed {seed}: {problem.strerror}") from None
    try:
        manifests = [document for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]
    except yaml.YAMLError as problem:
        raise BadSeed(f"the seed {seed} is not YAML: {problem}") from None
    for number, manifest in enumerate(manifests, 1):
        if not isinstance(manifest, dict) or not {"apiVersion", "kind", "metadata"} <= manifest.keys():
            raise BadSeed(f"document {number} of the seed {seed} is not a manifest (apiVersion, kind, metadata)")
    return manifests


def of_cluster(manifests: Iterable[Object], cluster: str) -> list[Object]:
    """Return copies of the manifests that belong to a cluster, without the lab's annotation, in the order of planting."""
    found = []
    for manifest in manifests:
        made = copy.deepcopy(manifest)
        annotations = made["metadata"].get("annotations") or {}
        if annotations.pop(CLUSTER, "east") in (cluster, "both"):
            found.append(made)
    rank = {kind: number for number, kind in enumerate((*_FIRST, "", "DataVolume", "VirtualMachine"))}
    return sorted(found, key=lambda manifest: rank.get(manifest["kind"], rank[""]))


class Planter:
    """Plants manifests in one cluster. It uses the API as anybody else; only the content of disks goes straight to the files."""

    def __init__(self, runtime: Runtime, volumes: Volumes, cluster: str) -> None:
        self._runtime = runtime
        self._volumes = volumes
        self._cluster = cluster

    def plant(self, manifests: Iterable[Object]) -> None:
        """Create everything, disks filled first; return when all disks are ready and all machines that should run do.

        Objects that exist already are left as they are. Raise TimeoutError after two minutes of lab time.
        """
        manifests = list(manifests)
        disks = [disk for manifest in manifests for disk in blank_disks(manifest)]
        self._create([manifest for manifest in manifests if manifest["kind"] not in ("DataVolume", "VirtualMachine")])
        claims = [claim_for(disk) for disk in disks]
        self._create(claims)
        for disk, claim in zip(disks, claims, strict=True):
            self._fill(disk, claim)
        self._create([manifest for manifest in manifests if manifest["kind"] == "DataVolume"])
        self._wait("disks", [(DATAVOLUME, manifest) for manifest in manifests if manifest["kind"] == "DataVolume"], _succeeded)
        machines = [manifest for manifest in manifests if manifest["kind"] == "VirtualMachine"]
        self._create(machines)
        self._wait("machines", [(VMI, machine) for machine in machines if should_run(machine)], _runs)
        self._wait("machines", [(VM, machine) for machine in machines], _settled)

    def _create(self, manifests: Iterable[Object]) -> None:
        for manifest in manifests:
            made = copy.deepcopy(manifest)
            if made["kind"] == "DataVolume" and "blank" in (made["spec"].get("source") or {}):
                made["metadata"].setdefault("annotations", {}).pop(CONTENT, None)
                made["metadata"]["annotations"][ADOPT] = "true"
            try:
                self._runtime.api.create(made)
            except Taken:
                continue
            except Refused as refusal:
                raise BadSeed(f"{self._cluster} refuses {made['kind']} {made['metadata'].get('name')}: {refusal.why}") from refusal

    def _fill(self, disk: Object, claim: Object) -> None:
        meta = claim["metadata"]
        bound = self._until(f"claim {meta['name']}", lambda: self._bound(meta["namespace"], meta["name"]))
        path = disk_file(self._volumes.path(bound))
        size = size_bytes(bound["spec"]["capacity"]["storage"]) if is_block(bound) else virtual_size(disk)
        share = float((disk["metadata"].get("annotations") or {}).get(CONTENT, DEFAULT_SHARE))
        if not path.exists() or is_block(bound):
            fill(path, size, share, word=f"{self._cluster}/{meta['namespace']}/{meta['name']}")

    def _bound(self, namespace: str, name: str) -> Object | None:
        claim = self._runtime.cache(PVC).get(namespace, name)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            return None
        return self._runtime.api.get(PV, claim["spec"]["volumeName"])

    def _wait(self, what: str, wanted: list[tuple[Any, Object]], is_there: Any) -> None:
        for kind, manifest in wanted:
            meta = manifest["metadata"]
            name, namespace = meta["name"], meta.get("namespace", "default")
            cache = self._runtime.cache(kind)

            def look(namespace: str = namespace, name: str = name, cache: Any = cache) -> Object | None:
                found = cache.get(namespace, name)
                return found if found is not None and is_there(found) else None

            self._until(f"{what}: {namespace}/{name}", look)

    def _until(self, what: str, look: Any) -> Object:
        clock = self._runtime.clock
        end = clock.monotonic() + WAIT_S
        while True:
            found: Object | None = look()
            if found is not None:
                return found
            if clock.monotonic() > end:
                raise TimeoutError(f"the seed of {self._cluster} is not in place after {WAIT_S:g} s: {what}")
            clock.sleep(0.02)


def _succeeded(datavolume: Object) -> bool:
    return bool((datavolume.get("status") or {}).get("phase") in ("Succeeded", "WaitForFirstConsumer", "PendingPopulation"))


def _runs(instance: Object) -> bool:
    return bool((instance.get("status") or {}).get("phase") == "Running")


def _settled(machine: Object) -> bool:
    wanted = ("Running",) if should_run(machine) else ("Stopped",)
    return (machine.get("status") or {}).get("printableStatus") in wanted


def should_run(machine: Object) -> bool:
    """Tell whether a VM runs by itself once it is created."""
    spec = machine["spec"]
    return bool(spec.get("running") is True or spec.get("runStrategy") in _RUNNING)


def blank_disks(manifest: Object) -> list[Object]:
    """Return the blank DataVolumes that a manifest brings along: itself, or a VM's templates."""
    if manifest["kind"] == "DataVolume":
        found = [manifest]
    elif manifest["kind"] == "VirtualMachine":
        found = [
            {**template, "metadata": {"namespace": manifest["metadata"].get("namespace", "default"), **template["metadata"]}}
            for template in manifest["spec"].get("dataVolumeTemplates") or ()
        ]
    else:
        found = []
    return [disk for disk in found if "blank" in (disk["spec"].get("source") or {})]


def virtual_size(disk: Object) -> int:
    """Return the size of the guest's disk that a DataVolume asks for, in whole MiB."""
    part = disk["spec"].get("storage") or disk["spec"]["pvc"]
    size = size_bytes(part["resources"]["requests"]["storage"])
    return -(-size // MIB) * MIB


def claim_for(disk: Object) -> Object:
    """Return the claim that CDI would have made for a blank DataVolume."""
    meta, spec = disk["metadata"], disk["spec"]
    part = spec.get("storage") or spec["pvc"]
    block = part.get("volumeMode") == "Block"
    size = virtual_size(disk) if block or "storage" not in spec else required(OVERHEAD, virtual_size(disk))
    claim: Object = {
        "accessModes": part.get("accessModes") or ["ReadWriteOnce"],
        "volumeMode": "Block" if block else "Filesystem",
        "resources": {"requests": {"storage": spelled(size)}},
    }
    if part.get("storageClassName"):
        claim["storageClassName"] = part["storageClassName"]
    labels = {
        "app": "containerized-data-importer",
        "app.kubernetes.io/component": "storage",
        "app.kubernetes.io/managed-by": "cdi-controller",
        **(meta.get("labels") or {}),
    }
    annotations: Mapping[str, str] = {CONTENT_TYPE: "kubevirt", "cdi.kubevirt.io/storage.pod.restarts": "0"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": meta["name"],
            "namespace": meta.get("namespace", "default"),
            "labels": labels,
            "annotations": dict(annotations),
        },
        "spec": claim,
    }


def fill(path: Path, size: int, share: float, *, word: str) -> None:
    """Write a disk: so large, so much of it pseudo-random (the first and the last MiB included), the rest holes.

    The content depends on `word` alone, and differs in every piece.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(size)
        count = -(-size // PIECE)
        wanted = max(1, round(count * share))
        edge = MIB // PIECE
        chosen = {number for number in (*range(edge), *range(count - edge, count)) if 0 <= number < count} if share > 0 else set()
        order = sorted(range(count), key=lambda number: hashlib.sha256(f"{word}#{number}".encode()).digest())
        for number in order:
            if len(chosen) >= wanted or share <= 0:
                break
            chosen.add(number)
        for number in sorted(chosen):
            start = number * PIECE
            length = min(PIECE, size - start)
            file.seek(start)
            file.write(hashlib.shake_128(f"{word}@{number}".encode()).digest(length))
    path.chmod(0o660)
