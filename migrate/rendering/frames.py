"""What each template is given. Python decides here; the templates only frame it.

Use: `x.render("source/export.yaml.j2", **frames.export(...))`. Every frame has `name`, `namespace`, `labels` (our mark) and `pins`: the
fields that a user's own template must leave as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from migrate.model import labels
from migrate.model.inventory import STATE
from migrate.model.migration import Disk, Migration, SourceVersion
from migrate.model.objects import annotations_of, labels_of, name_of
from migrate.model.record import Record
from migrate.model.was import Was
from migrate.rendering.mapping import Placement
from migrate.rendering.render import ABSENT
from migrate.rendering.translate import translate, travelling

Frame = dict[str, Any]
HEADER = "x-kubevirt-export-token"
"""The header that an export server asks for (reference section 3)."""
ADOPTION = "cdi.kubevirt.io/allowClaimAdoption"
"""Annotation that lets a DataVolume call a claim of its name that is there its own, with whatever is on it."""


def namespace(m: Migration) -> Frame:
    """Return the frame of target/namespace.yaml.j2."""
    return _frame(m, "namespace", name=m.target.namespace, namespace="")


def export_token(m: Migration, *, token: str, proof: bool = False) -> Frame:
    """Return the frame of source/export-token.yaml.j2, for the source's export or (`proof`) the target's."""
    name = m.names.proof_token if proof else m.names.token
    place = m.target.namespace if proof else m.source.namespace
    return _frame(m, "token", name=name, namespace=place, pins={("stringData",): {"token": _token(token)}}, token=token)


def export(m: Migration, *, version: str, ttl: timedelta, proof: bool = False) -> Frame:
    """Return the frame of source/export.yaml.j2. `version` is the served version of the export API (`Cluster.serves`)."""
    side = m.target if proof else m.source
    token = m.names.proof_token if proof else m.names.token
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": side.name}
    if m.copies and not proof:
        source = {"apiGroup": "snapshot.kubevirt.io", "kind": "VirtualMachineSnapshot", "name": m.names.snapshot}
    return _frame(
        m,
        "proof" if proof else "export",
        name=m.names.proof if proof else m.names.export,
        namespace=side.namespace,
        pins={("spec", "source"): source, ("spec", "tokenSecretRef"): token},
        version=version,
        source=source,
        token_secret=token,
        ttl=_go_duration(ttl),
    )


def snapshot(m: Migration, *, version: str, deadline: timedelta, stamp: Mapping[str, str] = MappingProxyType({})) -> Frame:
    """Return the frame of source/snapshot.yaml.j2. `version`: the served one of the snapshot API; `stamp` as in `record`."""
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": m.source.name}
    return _frame(
        m,
        "snapshot",
        name=m.names.snapshot,
        namespace=m.source.namespace,
        pins={("spec", "source"): source, ("spec", "deletionPolicy"): "Delete"},
        version=version,
        vm=m.source.name,
        deadline=_go_duration(deadline),
        annotations=dict(stamp),
    )


def ca(m: Migration, *, pem: str) -> Frame:
    """Return the frame of target/ca.yaml.j2: one text under both keys that CDI's two clients read (cdi-import 0.7)."""
    pem = pem.strip() + "\n" if pem.strip() else ""
    return _frame(m, "ca", name=m.names.ca, namespace=m.target.namespace, pins={("data",): {"ca.pem": pem, "tls.crt": pem}}, pem=pem)


def header(m: Migration, *, token: str) -> Frame:
    """Return the frame of target/header.yaml.j2. Raises ValueError for a token that would break the header line."""
    line = f"{HEADER}: {_token(token)}"
    return _frame(m, "header", name=m.names.header, namespace=m.target.namespace, pins={("stringData",): {"header": line}}, line=line)


def datavolume(
    m: Migration,
    disk: Disk,
    *,
    url: str,
    size_bytes: int,
    placement: Placement,
    generation: SourceVersion,
    stamp: Mapping[str, str] = MappingProxyType({}),
) -> Frame:
    """Return the frame of target/datavolume.yaml.j2. `size_bytes`: the virtual size; CDI adds the filesystem overhead itself.

    `generation`: what our halt left the source at, or the uid of our snapshot; another one makes the copy stale.
    Nobody else's claim is ever adopted as a copy.
    """
    http = {"url": url, "certConfigMap": m.names.ca, "secretExtraHeaders": [m.names.header]}
    noted = {labels.DISK: disk.pvc, labels.SOURCE_GENERATION: str(generation), ADOPTION: "false"}
    return _frame(
        m,
        "disk",
        name=disk.target,
        namespace=m.target.namespace,
        pins={
            ("spec", "source"): {"http": http},
            ("spec", "contentType"): ABSENT,
            **{("metadata", "annotations", key): value for key, value in (noted | dict(stamp)).items()},
        },
        http=http,
        annotations={"cdi.kubevirt.io/storage.bind.immediate.requested": ""} | noted | dict(stamp),
        size=str(size_bytes),
        storage_class=placement.storage_class,
        volume_mode=placement.volume_mode,
        access_modes=list(placement.access_modes),
    )


def state(
    m: Migration, disk: Disk, *, placement: Placement, generation: SourceVersion, stamp: Mapping[str, str] = MappingProxyType({})
) -> Frame:
    """Return the frame of target/state.yaml.j2: a claim for TPM and EFI state, which waits for its files. Else as `datavolume`.

    The label says whose state it is; CDI gives it on to the claim.
    """
    noted = {labels.DISK: disk.pvc, labels.SOURCE_GENERATION: str(generation), ADOPTION: "false"} | dict(stamp)
    frame = _frame(
        m,
        "disk",
        name=disk.target,
        namespace=m.target.namespace,
        pins={
            ("spec", "source"): {"upload": {}},
            ("spec", "contentType"): "archive",
            ("metadata", "labels", STATE): m.target.name,
            **{("metadata", "annotations", key): value for key, value in noted.items()},
        },
        annotations={"cdi.kubevirt.io/storage.bind.immediate.requested": ""} | noted,
        size=str(disk.capacity_bytes),
        storage_class=placement.storage_class,
        access_modes=list(placement.access_modes),
    )
    frame["labels"] = frame["labels"] | {STATE: m.target.name}
    return frame


def vm(m: Migration, source_vm: Mapping[str, Any], *, was: Was, stamp: Mapping[str, str] = MappingProxyType({})) -> Frame:
    """Return the frame of target/vm.yaml.j2: the target VM, halted. `stamp` as in `record`."""
    made = translate(source_vm, migration=m, was=was)
    frame = _frame(
        m,
        "vm",
        name=m.target.name,
        namespace=m.target.namespace,
        pins={("spec", "runStrategy"): "Halted", ("spec", "running"): ABSENT, ("spec", "dataVolumeTemplates"): ABSENT},
        annotations=made.annotations | dict(stamp),
        spec=made.spec,
    )
    frame["labels"] = made.labels | frame["labels"]
    return frame


def reference(
    m: Migration, source: Mapping[str, Any], *, content: Mapping[str, Any], stamp: Mapping[str, str] = MappingProxyType({})
) -> Frame:
    """Return the frame of target/secret.yaml.j2 or target/configmap.yaml.j2: a copy with this content. `stamp` as in `record`."""
    annotations = travelling(annotations_of(source)) | dict(stamp)
    frame = _reference(m, "reference", name=name_of(source), annotations=annotations, content=content)
    frame["labels"] = travelling(labels_of(source)) | frame["labels"]
    return frame


def before(m: Migration, *, kind: str, name: str, content: Mapping[str, Any]) -> Frame:
    """Return the frame, as of `reference`, for what keeps an object of the target as it is before it is replaced."""
    annotations = {labels.BEFORE: f"{kind}/{name}"}
    return _reference(m, "before", name=m.names.before_of(kind, name), annotations=annotations, content=content)


def record(m: Migration, record: Record, *, stamp: Mapping[str, str] = MappingProxyType({})) -> Frame:
    """Return the frame of target/record.yaml.j2. `stamp`: the annotation with the number of the claim."""
    data = record.to_data()
    name, namespace = m.names.record, m.target.namespace
    return _frame(m, "record", name=name, namespace=namespace, pins={("data",): data}, data=data, annotations=dict(stamp))


def claim(
    m: Migration,
    *,
    name: str,
    namespace: str,
    holder: str,
    seconds: int,
    acquired: datetime,
    renewed: datetime,
    transitions: int = 0,
) -> Frame:
    """Return the frame of target/claim.yaml.j2: the Lease on the source VM, or the one on the target's name."""
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": seconds,
        "acquireTime": _micro(acquired),
        "renewTime": _micro(renewed),
        "leaseTransitions": transitions,
    }
    return _frame(m, "claim", name=name, namespace=namespace, pins={("spec",): spec}, spec=spec)


def _frame(
    m: Migration, role: str, *, name: str, namespace: str, pins: Mapping[tuple[str, ...], object] | None = None, **more: object
) -> Frame:
    return {"name": name, "namespace": namespace, "labels": labels.ours(m.id, role), "pins": dict(pins or {}), "migration": m, **more}


def _reference(m: Migration, role: str, *, name: str, annotations: Mapping[str, str], content: Mapping[str, Any]) -> Frame:
    pins: dict[tuple[str, ...], object] = {(field,): value for field, value in content.items()}
    space = m.target.namespace
    return _frame(m, role, name=name, namespace=space, pins=pins, annotations=dict(annotations), content=dict(content))


def _token(token: str) -> str:
    """Check that a token fits into one header line: CDI sends the Secret's text as it is (cdi-import 2.1)."""
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise ValueError("a token must be printable, without spaces at its ends")
    return token


def _go_duration(span: timedelta) -> str:
    """Write a time as Kubernetes' metav1.Duration does: `36h0m0s`."""
    seconds = int(span.total_seconds())
    return f"{seconds // 3600}h{seconds % 3600 // 60}m{seconds % 60}s"


def _micro(time: datetime) -> str:
    """Write a time as metav1.MicroTime does."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
