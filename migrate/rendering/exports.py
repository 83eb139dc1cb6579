"""The objects of an export that a person asks for, and the set of manifests that brings what is exported to another cluster.

KubeVirt's own set (`manifests/all`) gives addresses by place in a list, may be of a state long past, and leaves the VM as it runs
(kubevirt-export section 3). This one joins by name, and is halted.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from migrate.model.exports import Subject
from migrate.model.objects import Object, dig, uid_of
from migrate.rendering.frames import HEADER

Manifest = dict[str, Any]
Volumes = Mapping[str, Mapping[str, str]]
"""Claim name → format → link."""
_STAYS = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})


def export(
    name: str,
    namespace: str,
    subject: Subject,
    *,
    version: str,
    token_secret: str,
    ttl: timedelta | None,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> Manifest:
    """Return the VirtualMachineExport. `version`: the served one of its API; `ttl` None = KubeVirt's own (2 h)."""
    spec: dict[str, Any] = {"source": subject.ref, "tokenSecretRef": token_secret}
    if ttl is not None:
        spec["ttlDuration"] = f"{round(ttl.total_seconds())}s"
    return {
        "apiVersion": f"export.kubevirt.io/{version}",
        "kind": "VirtualMachineExport",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels), "annotations": dict(annotations)},
        "spec": spec,
    }


def token(name: str, text: str, *, owner: Object) -> Manifest:
    """Return the Secret with the token; it goes when its export goes."""
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": uid_of(owner)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": owner["metadata"]["namespace"], "ownerReferences": [reference]},
        "type": "Opaque",
        "stringData": {"token": text},
    }


def manifests(
    name: str, volumes: Volumes, *, ca_pem: str, vm: Object | None, claims: Mapping[str, Object], namespace: str, secret: str = ""
) -> tuple[Manifest, ...]:
    """Return CA, VM and disks for `kubectl apply` on a target; the header Secret only with the token `secret`.

    `volumes` and `ca_pem`: the links, and whom they are to be believed by. `vm`: as it travels, expanded; None for a bare claim. `claims`:
    those of the links, by name. `namespace`: of all objects on the target.
    What is offered as files only is left out: CDI cannot unpack it (kubevirt-export section 10).
    """
    place = {"namespace": namespace}
    found: list[Manifest] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"export-ca-cm-{name}", **place},
            "data": {"ca.pem": ca_pem},
        }
    ]
    sources = {claim: _http(name, formats["gzip"]) for claim, formats in volumes.items() if formats.get("gzip")}
    made = set[str]()
    if vm is not None:
        found.append(_halted(vm, sources, namespace))
        made = {str(dig(one, "metadata", "name")) for one in dig(vm, "spec", "dataVolumeTemplates", default=())}
    found += [_volume(claim, claims[claim], source, namespace) for claim, source in sources.items() if claim not in made]
    if secret:
        line = {"token": f"{HEADER}:{secret}"}
        meta = {"name": f"header-secret-{name}", **place}
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "stringData": line})
    return tuple(found)


def left_out(volumes: Volumes) -> Sequence[str]:
    """Name the claims that such a set does not bring: they are offered as files only."""
    return tuple(claim for claim, formats in volumes.items() if not formats.get("gzip"))


def _http(name: str, url: str) -> Manifest:
    return {"http": {"url": url, "certConfigMap": f"export-ca-cm-{name}", "secretExtraHeaders": [f"header-secret-{name}"]}}


def _halted(vm: Object, sources: Mapping[str, Manifest], namespace: str) -> Manifest:
    """Return the VM as it is created on a target: halted, and its templates filled by the links of their own names."""
    spec = copy.deepcopy(dict(vm["spec"]))
    spec.pop("running", None)
    spec["runStrategy"] = "Halted"
    for template in spec.get("dataVolumeTemplates") or ():
        source = sources.get(str(dig(template, "metadata", "name")))
        if source is not None:
            template["spec"].pop("sourceRef", None)
            template["spec"]["source"] = source
    meta = vm["metadata"]
    notes = {key: value for key, value in (meta.get("annotations") or {}).items() if key not in _STAYS}
    kept = {"name": meta["name"], "namespace": namespace, "labels": dict(meta.get("labels") or {}), "annotations": notes}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": kept, "spec": spec}


def _volume(claim: str, found: Object, source: Manifest, namespace: str) -> Manifest:
    spec = found["spec"]
    storage = {key: spec[key] for key in ("accessModes", "volumeMode") if spec.get(key)}
    storage["resources"] = {"requests": dict(dig(spec, "resources", "requests", default={}))}
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": claim, "namespace": namespace},
        "spec": {"source": source, "storage": storage},
    }
