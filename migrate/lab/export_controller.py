"""The export controller: keeps a Service, a token, an exporter pod and a status behind every VirtualMachineExport.

Reference: kubevirt-export.md section 2. Like the real one it looks when something changes, every three seconds while the source is not
populated, and never at the clock: the time to live is enforced when the pod, which ends with it, wakes the controller.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from migrate.kube.kinds import (
    CONFIGMAP,
    DATAVOLUME,
    EXPORT,
    INGRESS,
    KUBEVIRT,
    POD,
    PVC,
    SECRET,
    SERVICE,
    SNAPSHOT,
    SNAPSHOT_CONTENT,
    VM,
    VMI,
    VOLUMESNAPSHOT,
    Kind,
)
from migrate.lab import export_certs, export_names, export_pod, export_server, export_snapshot, export_status
from migrate.lab.controller import Controller, Key, Object, Runtime, itself, owners
from migrate.lab.export_outside import CA_NAME, NAMESPACE, Outside
from migrate.lab.export_snapshot import SnapshotObjects, snapshot_source
from migrate.lab.export_source import MachineObjects, Source, claim_source, machine_source, unseen_source, wakes
from migrate.lab.kubevirt_release import Release
from migrate.lab.kubevirt_snapshot_state import content_name
from migrate.lab.kubevirt_write import replace_if_there
from migrate.model.errors import Taken

if TYPE_CHECKING:
    from migrate.lab.trouble import Order

_SOURCE = "virt-controller"
_LOOK_AGAIN_S = 3.0
_TOKEN_LENGTH = 20
_LETTERS = string.digits + string.ascii_letters
_HITTING = ("rotate", "expire", "restart", "lapse")
_FINAL = frozenset({"Succeeded", "Failed"})


class ExportController(Controller):
    """Reconciles VirtualMachineExports whose source is a claim, a VM, or a snapshot of one."""

    name = "export-controller"

    def __init__(self, runtime: Runtime, release: Release) -> None:
        super().__init__(runtime)
        self._release = release
        self._outside = Outside(runtime, release)
        runtime.trouble.listen(self._wake)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        exports = owners("VirtualMachineExport")
        return [
            (EXPORT, itself),
            (POD, exports),
            (SERVICE, exports),
            (PVC, self._woken),
            (DATAVOLUME, self._woken),
            (VM, self._woken),
            (VMI, self._woken),
            (SNAPSHOT, self._woken),
            (KUBEVIRT, lambda _: self._keys(None)),
            (INGRESS, lambda _: ()),
            (CONFIGMAP, lambda _: ()),
        ]

    def _woken(self, obj: Object) -> list[Key]:
        return self._keys(obj["metadata"].get("namespace", ""), lambda source: wakes(source, obj))

    def _keys(self, namespace: str | None, wanted: Callable[[Object], bool] = lambda _: True) -> list[Key]:
        exports = self.runtime.cache(EXPORT).all(namespace)
        return [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in exports if wanted(one["spec"]["source"])]

    def reconcile(self, namespace: str, name: str) -> float | None:
        export = self.runtime.cache(EXPORT).get(namespace, name)
        if export is None or export["metadata"].get("deletionTimestamp"):
            return None
        now = self.clock.now()
        status = export_status.initial(export, self._release, now)
        source = self._source(export)
        service = self._ensure_service(export)
        status["serviceName"] = service["metadata"]["name"]
        if token := self._ensure_token(export, status, source):
            status["tokenSecretRef"] = token
        pod = self._tend_pod(export, source, service, status.get("tokenSecretRef", ""))
        ready = pod is not None and export_status.pod_is_ready(pod)
        links = self._outside.links(export, source, service=service, pod=pod) if pod is not None and ready else {}
        status = export_status.judged(status, source, pod, links=links, now=now)
        if status != export.get("status"):
            replace_if_there(self.runtime.api, {**export, "status": status}, subresource="status")
        if pod is not None and ready:
            self._obey_orders(export, pod)
        return _LOOK_AGAIN_S if source.look_again else self._outside.late_s(export)

    def _source(self, export: Object) -> Source:
        namespace, wanted = export["metadata"]["namespace"], export["spec"]["source"]
        if self.runtime.trouble.find("export", "skip", namespace=namespace, export=export["metadata"]["name"]) is not None:
            return unseen_source(export, self._release)
        disks = self._by_name(DATAVOLUME, namespace)
        match wanted["kind"]:
            case "PersistentVolumeClaim":
                claim = self.runtime.cache(PVC).get(namespace, wanted["name"])
                return claim_source(export, claim, disks=disks, pods=self.runtime.cache(POD).all(namespace))
            case "VirtualMachine":
                vm = self.runtime.cache(VM).get(namespace, wanted["name"])
                instance = self.runtime.cache(VMI).get(namespace, wanted["name"])
                found = MachineObjects(vm, instance, self._by_name(PVC, namespace), disks)
                return machine_source(export, found, self._release)
            case "VirtualMachineSnapshot":
                return snapshot_source(export, self._snapshot(export))
            case other:
                raise ValueError(f"exports of {other} are not known here")

    def _snapshot(self, export: Object) -> SnapshotObjects:
        """Return what there is around an export's snapshot. What of a ready one is not restored yet is restored now."""
        namespace = export["metadata"]["namespace"]
        snapshot = self.runtime.cache(SNAPSHOT).get(namespace, export["spec"]["source"]["name"])
        if snapshot is None or not export_snapshot.is_ready(snapshot):
            return SnapshotObjects(snapshot)
        content = self.runtime.api.get(SNAPSHOT_CONTENT, content_name(snapshot), namespace)
        backups = ((content or {}).get("spec") or {}).get("volumeBackups") or ()
        restored = tuple(self._restored(export, backup, content) for backup in backups) if content is not None else ()
        vm = self.runtime.cache(VM).get(namespace, snapshot["spec"]["source"]["name"])
        return SnapshotObjects(snapshot, content, restored, vm, self._by_name(PVC, namespace))

    def _restored(self, export: Object, backup: Object, content: Object) -> Object:
        namespace = export["metadata"]["namespace"]
        found = self.runtime.api.get(PVC, export_snapshot.restored_name(export, backup), namespace)
        if found is not None:
            return found
        cut = self.runtime.api.get(VOLUMESNAPSHOT, backup["volumeSnapshotName"], namespace)
        if cut is None:
            raise LookupError(f"VolumeSnapshot {backup['volumeSnapshotName']} does not exist")
        return self.runtime.api.create(export_snapshot.restored_claim(export, backup, cut, content))[0]

    def _by_name(self, kind: Kind, namespace: str) -> dict[str, Object]:
        return {obj["metadata"]["name"]: obj for obj in self.runtime.cache(kind).all(namespace)}

    def _ensure_service(self, export: Object) -> Object:
        wanted = export_pod.service(export, self._release)
        namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        found = self.runtime.api.get(SERVICE, name, namespace)
        if found is not None:
            return found
        made = self.runtime.api.create(wanted)[0]
        self._tell(export, "Normal", "ServiceCreated", f"Created service {namespace}/{name}")
        return made

    def _ensure_token(self, export: Object, status: Object, source: Source) -> str | None:
        """Return the name of the token Secret: the user's, or one that is made as soon as there is something to export."""
        if export["spec"].get("tokenSecretRef"):
            return str(export["spec"]["tokenSecretRef"])
        if not source.offered:
            return None
        namespace = export["metadata"]["namespace"]
        name = str(status.get("tokenSecretRef") or export_names.token_name(export["metadata"]["name"]))
        token = "".join(secrets.choice(_LETTERS) for _ in range(_TOKEN_LENGTH))
        try:
            self.runtime.api.create(export_pod.token_secret(export, name, token))
        except Taken:
            return name
        self._tell(export, "Normal", "SecretCreated", f"Created default secret {namespace}/{name}")
        return name

    def _tend_pod(self, export: Object, source: Source, service: Object, token: str) -> Object | None:
        """Make, check or remove the exporter pod, and return the one there is."""
        namespace, name = export["metadata"]["namespace"], export_names.pod_name(export["metadata"]["name"])
        pod = self.runtime.api.get(POD, name, namespace)
        if not source.offered:
            if pod is not None and not pod["metadata"].get("deletionTimestamp"):
                self._delete_pod(export, pod, "ExportPaused", f"Export paused: {source.ready.message or source.ready.reason}")
            return None
        if pod is None:
            if not self._stands(export):
                return None
            pod = self._make_pod(export, source, service, token)
        self._ensure_certificate(export, pod, service)
        self._check_pod(export, pod)
        return pod

    def _stands(self, export: Object) -> bool:
        """Tell whether an export is there as of now.

        KubeVirt's cache is behind by milliseconds, and a deleted pod takes seconds to go. Here its going may take no time at all.
        """
        now = self.runtime.api.get(EXPORT, export["metadata"]["name"], export["metadata"]["namespace"])
        return now is not None and now["metadata"]["uid"] == export["metadata"]["uid"] and not now["metadata"].get("deletionTimestamp")

    def _make_pod(self, export: Object, source: Source, service: Object, token: str) -> Object:
        if source.vm is not None:
            self._make_manifest(export, source, service)
        suffix = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(10))
        frame = export_pod.PodFrame(
            kubevirt=self._kubevirt(),
            release=self._release,
            now=self.clock.now(),
            tls_secret=f"secret-{suffix}",
            token_secret=token,
            disks=self._by_name(DATAVOLUME, export["metadata"]["namespace"]),
        )
        pod = self.runtime.api.create(export_pod.pod(export, source, frame))[0]
        title = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self._tell(export, "Normal", "ExporterPodCreated", f"Created exporter pod {title}")
        return pod

    def _make_manifest(self, export: Object, source: Source, service: Object) -> None:
        internal, external = self._outside.internal(export, service), self._outside.external(export)
        manifest = export_pod.manifest_config_map(export, source, release=self._release, internal=internal, external=external)
        try:
            self.runtime.api.create(manifest)
        except Taken:
            return  # made for an earlier pod, and never renewed
        title = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
        self._tell(export, "Normal", "DataManifestCreated", f"Created exporter data manifest {title}")

    def _ensure_certificate(self, export: Object, pod: Object, service: Object) -> None:
        """Make the TLS Secret that a pod waits for; it belongs to the pod and dies with it."""
        namespace = pod["metadata"]["namespace"]
        volume = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == export_pod.CERTIFICATES)
        name = volume["secret"]["secretName"]
        if pod["metadata"].get("deletionTimestamp") or self.runtime.api.get(SECRET, name, namespace) is not None:
            return
        signer = self.runtime.api.get(SECRET, CA_NAME, NAMESPACE)
        if signer is None:
            raise LookupError(f"no Secret {NAMESPACE}/{CA_NAME}")
        lasts = export_pod.cert_parameters(self._kubevirt()).duration
        hosts = export_certs.service_hosts(service["metadata"]["name"], namespace)
        end = export_certs.lasting(self.clock.now(), lasts)
        pair = export_certs.issue(export_certs.pair_of(signer), hosts, not_after=end)
        secret = export_certs.tls_secret(name, namespace, pair)
        secret["metadata"]["ownerReferences"] = [export_pod.owned_by(pod)]
        self.runtime.api.create(secret)
        self._tell(export, "Normal", "SecretCreated", "Created exporter pod secret")

    def _check_pod(self, export: Object, pod: Object) -> None:
        """End the export when its time is over; remove a pod that has ended, or whose certificate settings are of old."""
        if pod["metadata"].get("deletionTimestamp"):
            return
        metadata, phase = export["metadata"], (pod.get("status") or {}).get("phase", "Pending")
        if self.clock.now() >= export_pod.expiration(export):
            self.runtime.api.delete(EXPORT, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        elif phase in _FINAL:
            title = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            self._delete_pod(export, pod, "ExporterPodFailedOrCompleted", f"Exporter pod {title} is in phase {phase}")
        elif pod["metadata"]["annotations"][export_pod.CERT_PARAMETERS] != export_pod.cert_parameters(self._kubevirt()).as_json():
            self._delete_pod(export, pod, "CertificateParametersChanged", "Exporter TLS certificate parameters updated")

    def _delete_pod(self, export: Object, pod: Object, reason: str, message: str) -> None:
        self._tell(export, "Warning", reason, message)
        metadata = pod["metadata"]
        self.runtime.api.delete(POD, metadata["name"], metadata["namespace"], uid=metadata["uid"])

    def _obey_orders(self, export: Object, pod: Object) -> None:
        """Let a fault hit a ready pod: a new certificate (and so a new pod), its deadline now, its death, or the end of the export."""
        metadata = pod["metadata"]
        order = self.runtime.trouble.find("export", *_HITTING, namespace=metadata["namespace"], export=export["metadata"]["name"])
        if order is None or self.runtime.node is None:
            return
        if order.action == "lapse":
            self.runtime.api.delete(EXPORT, export["metadata"]["name"], metadata["namespace"], uid=export["metadata"]["uid"])
        elif order.action == "rotate":
            self._delete_pod(export, pod, "CertificateParametersChanged", "Exporter TLS certificate parameters updated")
        elif (container := self.runtime.node.container(metadata["namespace"], metadata["name"])) is not None:
            if order.action == "restart":
                container.shared[export_server.EXIT] = 1
            container.shared[export_server.EXPIRE].set()

    def _wake(self, order: Order) -> None:
        if order.where in {"export", "links", "proxy"}:
            for key in self._keys(order.match.get("namespace")):
                self.enqueue(*key)

    def _kubevirt(self) -> Object:
        found = self.runtime.cache(KUBEVIRT).all(NAMESPACE)
        if not found:
            raise LookupError("no KubeVirt CR")
        return found[0]

    def _tell(self, export: Object, type_: str, reason: str, message: str) -> None:
        self.runtime.event(export, type_, reason, message, _SOURCE)
