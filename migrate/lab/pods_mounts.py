"""What a pod's volumes become on the node: directories of projected keys, the directories and files of claims, empty directories."""

from __future__ import annotations

import base64
import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import CONFIGMAP, PV, PVC, SECRET
from migrate.lab.pods import Mounted
from migrate.lab.storage import Volumes, capacity_bytes, is_block

if TYPE_CHECKING:
    from migrate.lab.controller import Runtime

Object = dict[str, Any]


class NotYet(Exception):
    """Something that the pod needs is not there; the kubelet tries again. `reason` is that of the Event or the waiting state."""

    def __init__(self, message: str, *, reason: str = "FailedMount") -> None:
        super().__init__(message)
        self.reason = reason


class Mounts:
    """The volumes of one pod."""

    def __init__(self, runtime: Runtime, volumes: Volumes, directory: Path, pod: Object) -> None:
        self._runtime = runtime
        self._volumes = volumes
        self._directory = directory
        self._pod = pod
        self._namespace: str = pod["metadata"]["namespace"]
        self._paths: dict[str, Path] = {}
        self._capacities: dict[Path, int] = {}
        self._versions: dict[str, str] = {}
        self._generation = itertools.count()

    @property
    def projects(self) -> bool:
        """Whether any volume is made of a Secret or ConfigMap."""
        return any(_projected(volume) for volume in self._pod["spec"].get("volumes") or ())

    def prepare(self) -> None:
        """Set up every volume that is not yet; raise NotYet with the kubelet's words for the first one that cannot be."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for volume in self._pod["spec"].get("volumes") or ():
            if volume["name"] in self._paths:
                continue
            if "persistentVolumeClaim" in volume:
                self._claim(volume)
            elif _projected(volume):
                self._project(volume)
            else:
                path = self._directory / volume["name"]
                path.mkdir(exist_ok=True)
                self._paths[volume["name"]] = path

    def refresh(self) -> None:
        """Bring projected Secrets and ConfigMaps up to date; one that is gone keeps its last content, as on a real node."""
        for volume in self._pod["spec"].get("volumes") or ():
            if _projected(volume):
                try:
                    self._project(volume)
                except NotYet:
                    continue

    def of(self, spec: Object) -> Mounted:
        """Return the mounts and devices of one container. Raise NotYet when a volume it names does not exist or has the other mode."""
        mounts, devices = {}, {}
        for mount in spec.get("volumeMounts") or ():
            path = self._paths.get(mount["name"])
            if path is None or path.is_file():
                raise NotYet(f"volume {mount['name']} has volumeMode Block, but is specified in volumeMounts", reason="FailedMount")
            mounts[mount["mountPath"].rstrip("/")] = path / mount.get("subPath", "")
        for device in spec.get("volumeDevices") or ():
            path = self._paths.get(device["name"])
            if path is None or not path.is_file():
                raise NotYet(
                    f"volume {device['name']} has volumeMode Filesystem, but is specified in volumeDevices", reason="FailedMapVolume"
                )
            devices[device["devicePath"]] = path
        return Mounted(mounts, devices, self._capacities)

    def environment(self, spec: Object) -> dict[str, str]:
        """Return the environment of one container. Raise NotYet when a Secret or ConfigMap it takes a value from is not there."""
        found: dict[str, str] = {}
        for entry in spec.get("env") or ():
            source = entry.get("valueFrom")
            if source is None:
                found[entry["name"]] = str(entry.get("value", ""))
            elif "fieldRef" in source:
                found[entry["name"]] = self._field(source["fieldRef"]["fieldPath"])
            elif (text := self._key(source)) is not None:
                found[entry["name"]] = text
        return found

    def remove(self) -> None:
        """Remove what belongs to the pod alone (never the claims' files)."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _claim(self, volume: Object) -> None:
        name = volume["persistentVolumeClaim"]["claimName"]
        claim = self._runtime.api.get(PVC, name, self._namespace)
        if claim is None:
            raise NotYet(f'MountVolume.SetUp failed for volume "{volume["name"]}" : persistentvolumeclaim "{name}" not found')
        if (claim.get("status") or {}).get("phase") != "Bound" or not claim["spec"].get("volumeName"):
            raise NotYet(f'MountVolume.SetUp failed for volume "{volume["name"]}" : PVC {self._namespace}/{name} is not bound')
        pv = self._runtime.api.get(PV, claim["spec"]["volumeName"])
        if pv is None or (pv["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
            raise NotYet(f'MountVolume.SetUp failed for volume "{volume["name"]}" : the volume of PVC {name} belongs to another claim')
        path = self._volumes.path(pv)
        if not path.exists():
            raise NotYet(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {path} does not exist')
        self._paths[volume["name"]] = path
        if not is_block(pv):
            facts = {"namespace": self._namespace, "name": name, "storage_class": pv["spec"].get("storageClassName", "")}
            full = self._runtime.trouble.find("storage", "full", **facts)
            self._capacities[path] = full.count("after") if full else capacity_bytes(pv)

    def _project(self, volume: Object) -> None:
        kind, name = _projected(volume) or ("", "")
        source = volume["secret"] if "secret" in volume else volume["configMap"]
        obj = self._runtime.api.get(SECRET if kind == "Secret" else CONFIGMAP, name, self._namespace)
        if obj is None and not source.get("optional"):
            raise NotYet(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind.lower()} "{name}" not found')
        version = obj["metadata"]["resourceVersion"] if obj else ""
        if self._versions.get(volume["name"]) == version:
            return
        content = content_of(obj) if obj else {}
        if source.get("items"):
            missing = [item["key"] for item in source["items"] if item["key"] not in content]
            if missing and not source.get("optional"):
                raise NotYet(f'MountVolume.SetUp failed for volume "{volume["name"]}" : references non-existent secret key: {missing[0]}')
            content = {item["path"]: content[item["key"]] for item in source["items"] if item["key"] in content}
        self._write(self._directory / volume["name"], content)
        self._paths[volume["name"]] = self._directory / volume["name"]
        self._versions[volume["name"]] = version

    def _write(self, directory: Path, content: dict[str, bytes]) -> None:
        """Swap all keys at once: they are links through `..data`, which is replaced in one step, as the kubelet does it."""
        directory.mkdir(exist_ok=True, mode=0o700)
        data, fresh = directory / "..data", directory / f"..{next(self._generation)}"
        fresh.mkdir()
        for key, text in content.items():
            (fresh / key).parent.mkdir(parents=True, exist_ok=True)
            (fresh / key).write_bytes(text)
        old = data.resolve() if data.is_symlink() else None
        link = directory / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(data)
        tops = {key.split("/")[0] for key in content}
        for top in tops:
            if not (directory / top).is_symlink():
                (directory / top).symlink_to(Path("..data") / top)
        for stale in directory.iterdir():
            if not stale.name.startswith("..") and stale.name not in tops:
                stale.unlink()
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def _field(self, path: str) -> str:
        if path == "status.podIP":
            return "127.0.0.1"
        found: Any = self._pod
        for part in path.split("."):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        return str(found or "")

    def _key(self, source: Object) -> str | None:
        kind, ref = (SECRET, source["secretKeyRef"]) if "secretKeyRef" in source else (CONFIGMAP, source.get("configMapKeyRef", {}))
        obj = self._runtime.api.get(kind, ref.get("name", ""), self._namespace) if ref else None
        content = content_of(obj) if obj else {}
        if ref.get("key") in content:
            return content[ref["key"]].decode()
        if ref.get("optional"):
            return None
        words = (
            f'{kind.kind.lower()} "{ref.get("name")}" not found' if obj is None else f"couldn't find key {ref.get('key')} in {kind.kind}"
        )
        raise NotYet(words, reason="CreateContainerConfigError")


def content_of(obj: Object) -> dict[str, bytes]:
    """Return the keys of a Secret or ConfigMap as bytes."""
    if obj["kind"] == "Secret":
        return {key: base64.b64decode(text) for key, text in (obj.get("data") or {}).items()}
    plain = {key: text.encode() for key, text in (obj.get("data") or {}).items()}
    return plain | {key: base64.b64decode(text) for key, text in (obj.get("binaryData") or {}).items()}


def _projected(volume: Object) -> tuple[str, str] | None:
    if "secret" in volume:
        return "Secret", volume["secret"]["secretName"]
    if "configMap" in volume:
        return "ConfigMap", volume["configMap"]["name"]
    return None
