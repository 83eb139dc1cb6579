"""What the manifest endpoints of the export server answer, with the wrong addresses that the real server is known for.

The controller stores the pieces once, in a ConfigMap; the server puts addresses into them at each request. Three defects are part of
the behaviour (kubevirt-export.md section 3, seen live in real-stack.md section 8):

- template number i gets the address of volume number i, whatever their names, and the volumes are sorted by the *text* of their
  environment keys, so that VOLUME10 comes before VOLUME2;
- a DataVolume gets the address of the last volume whose path contains its name, and `disk` is contained in every `disk.img.gz`;
- a template without an exported volume crashes the request.

The address is always that of the gzip format; a volume without one gives an address that ends at the host.
"""

from __future__ import annotations

import copy
import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from migrate.lab.kubevirt_release import Release

VM_KEY = "virtualmachine-manifest"
NAME_KEY = "export-name"
YAML_TYPE = "application/yaml"

Object = dict[str, Any]


class Crash(Exception):
    """The real handler panics here, and the client sees its connection reset."""


class NotThere(Exception):
    """A piece is missing. `code` is what the server answers."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume as the server's environment describes it: where it is mounted and under which paths it is offered."""

    path: str
    raw: str = ""
    gzip: str = ""
    archive: str = ""
    dir: str = ""

    @property
    def claim(self) -> str:
        """Return the name in the volume's paths: the claim's."""
        return (self.raw or self.gzip or self.archive or self.dir).removeprefix("/volumes/").partition("/")[0]


def volumes_of(env: Mapping[str, str]) -> tuple[Volume, ...]:
    """Return the volumes that an exporter's environment names, in the server's own order: by the text of the keys."""
    ending = "_EXPORT_PATH"
    found = []
    for key in sorted(env):
        if key.startswith("VOLUME") and key.endswith(ending):
            stem = f"{key.removesuffix(ending)}_EXPORT_"
            uris = (env.get(stem + word, "") for word in ("RAW_URI", "RAW_GZIP_URI", "ARCHIVE_URI", "DIR_URI"))
            found.append(Volume(env[key], *uris))
    return tuple(found)


def ca_config_map(export: str, pem: str) -> Object:
    """Return the ConfigMap that a manifest carries: the CA of its links."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"export-ca-cm-{export}"}, "data": {"ca.pem": pem}}


def claims_of(vm: Object) -> list[str]:
    """Return the claims behind the DataVolume and claim volumes of a VM, in the order of its volumes."""
    names = []
    for volume in vm["spec"]["template"]["spec"].get("volumes") or []:
        name = (volume.get("dataVolume") or {}).get("name") or (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if name:
            names.append(name)
    return names


def manifest_vm(vm: Object) -> Object:
    """Return the VM as it is stored for the manifest: few words of metadata, no status, templates prepared for an address."""
    metadata = {key: vm["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if vm["metadata"].get(key)}
    stored = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": metadata,
        "spec": copy.deepcopy(vm["spec"]),
        "status": {},
    }
    claims = set(claims_of(vm))
    for template in stored["spec"].get("dataVolumeTemplates") or []:
        if template["metadata"]["name"] in claims:
            template["spec"]["source"] = {"http": {"url": ""}}
            template["spec"].pop("sourceRef", None)
    return stored


def manifest_disks(vm: Object, claims: Mapping[str, Object], release: Release) -> list[Object]:
    """Return a DataVolume for each claim of a VM that no template covers. `claims` are the PVCs by name; a missing one gives none."""
    covered = {template["metadata"]["name"] for template in vm["spec"].get("dataVolumeTemplates") or []}
    return [
        _disk(claims[name], release, namespace=vm["metadata"]["namespace"])
        for name in claims_of(vm)
        if name not in covered and name in claims
    ]


def _disk(claim: Object, release: Release, *, namespace: str) -> Object:
    spec = claim["spec"]
    if release.storage_in_manifest:
        kept = {key: copy.deepcopy(spec[key]) for key in ("accessModes", "volumeMode", "resources") if key in spec}
        place = {"storage": kept}
    else:
        dropped = {"volumeName", "storageClassName", "dataSource", "dataSourceRef"}
        place = {"pvc": {key: copy.deepcopy(value) for key, value in spec.items() if key not in dropped}}
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": claim["metadata"]["name"], "namespace": namespace},
        "spec": {"source": {"http": {"url": ""}}, **place},
        "status": {},
    }


def everything(files: Mapping[str, str], volumes: tuple[Volume, ...], *, side: str) -> list[Object]:
    """Return what `SIDE/manifests/all` answers: the CA, the VM, the DataVolumes, with addresses as the real server puts them.

    `files` is the stored ConfigMap, `side` is `internal` or `external`. Raises NotThere or Crash.
    """
    if NAME_KEY not in files:
        raise NotThere(500)
    if f"{side}_host" not in files:
        raise NotThere(404)
    if f"{side}_ca_cm" not in files or VM_KEY not in files:
        raise NotThere(500)
    base = files[f"{side}_host"]
    authority = json.loads(files[f"{side}_ca_cm"])
    header = header_name(files[NAME_KEY])
    vm = json.loads(files[VM_KEY])
    for index, template in enumerate(vm["spec"].get("dataVolumeTemplates") or []):
        http = (template["spec"].get("source") or {}).get("http")
        if http is None or index >= len(volumes):
            raise Crash
        _address(http, base, volumes[index].gzip, authority=authority, header=header)
    disks = []
    for name in claims_of(vm):
        if f"dv-{name}" in files:
            disk = json.loads(files[f"dv-{name}"])
            matching = [volume.gzip for volume in volumes if name in volume.gzip]
            _address(disk["spec"]["source"]["http"], base, matching[-1] if matching else None, authority=authority, header=header)
            disks.append(disk)
    return [authority, vm, *disks]


def _address(http: Object, base: str, path: str | None, *, authority: Object, header: str) -> None:
    if path is not None:
        http["url"] = f"https://{posixpath.normpath(f'{base}/{path}')}"
    http["certConfigMap"] = authority["metadata"]["name"]
    http["secretExtraHeaders"] = [header]


def swap_addresses(items: list[Object]) -> None:
    """Exchange the addresses of the first and the last disk in a manifest, as a fault asked for."""
    sources = [http for item in items for http in _sources(item)]
    if len(sources) > 1:
        sources[0]["url"], sources[-1]["url"] = sources[-1]["url"], sources[0]["url"]


def blur_addresses(items: list[Object]) -> None:
    """Give every disk the address of the first one whose claim starts with the same three letters, as a fault asked for."""
    first: dict[str, str] = {}
    for item in items:
        for http in _sources(item):
            start = http["url"].rpartition("/volumes/")[2][:3]
            http["url"] = first.setdefault(start, http["url"])


def age_machine(items: list[Object]) -> None:
    """Make the VM in a manifest run, as manifests that were stored while it ran still say, as a fault asked for."""
    for item in items:
        if item["kind"] == "VirtualMachine":
            legacy = "running" in item["spec"]
            item["spec"]["running" if legacy else "runStrategy"] = True if legacy else "Always"


def _sources(item: Object) -> Iterable[Object]:
    match item["kind"]:
        case "VirtualMachine":
            return [template["spec"]["source"]["http"] for template in item["spec"].get("dataVolumeTemplates") or []]
        case "DataVolume":
            return [item["spec"]["source"]["http"]]
        case _:
            return []


def header_name(export: str) -> str:
    """Return the name of the Secret that carries the token header in manifests."""
    return f"header-secret-{export}"


def header_secret(export: str, token: str) -> Object:
    """Return the Secret that CDI reads the token header from."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": header_name(export)},
        "stringData": {"token": f"x-kubevirt-export-token:{token}"},
    }


def written(items: list[Object], accept: str) -> bytes:
    """Write objects as the server does: YAML documents for exactly `application/yaml`, else one JSON List."""
    if accept == YAML_TYPE:
        return "".join(f"{yaml.safe_dump(item)}---\n" for item in items).encode()
    return json.dumps({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}, indent=4).encode()
