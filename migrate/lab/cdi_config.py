"""The controllers behind CDIConfig and StorageProfiles: they follow the storage classes and the CDI object."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from migrate.kube.kinds import CDI, CDICONFIG, CONFIGMAP, STORAGECLASS, STORAGEPROFILE, VOLUMESNAPSHOTCLASS, Kind
from migrate.lab import cdi_names as names
from migrate.lab import cdi_profiles
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.lab.upload_certs import BUNDLE, BUNDLE_KEY
from migrate.model.errors import Taken

CONFIG: Key = ("", "config")


class ConfigController(Controller):
    """Keeps the status of the CDIConfig. Its spec is a copy of `spec.config` of the CDI object, which is what people edit."""

    name = "cdi-config"

    def __init__(self, runtime: Runtime, upload_url: Callable[[], str]) -> None:
        super().__init__(runtime)
        self._upload_url = upload_url

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        def config(_: Object) -> Iterable[Key]:
            return (CONFIG,)

        return [(CDI, config), (CDICONFIG, config), (STORAGECLASS, config)]

    def reconcile(self, namespace: str, name: str) -> float | None:  # noqa: ARG002
        live = self.runtime.api.get(CDICONFIG, "config")
        owner = next(iter(self.runtime.cache(CDI).all()), None)
        if live is None or owner is None:
            return None
        spec = owner["spec"].get("config") or {}
        bundle = self.runtime.api.get(CONFIGMAP, BUNDLE, names.NAMESPACE) or {}
        status = cdi_profiles.config_status(
            spec,
            self.runtime.cache(STORAGECLASS).all(),
            upload_url=self._upload_url(),
            upload_ca=(bundle.get("data") or {}).get(BUNDLE_KEY, ""),
        )
        if (live.get("spec") or {}, live.get("status")) != (spec, status):
            self.runtime.api.replace({**live, "spec": spec, "status": status})
        return None


class ProfileController(Controller):
    """Makes a StorageProfile for every StorageClass."""

    name = "storageprofile-controller"

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(STORAGECLASS, itself), (STORAGEPROFILE, itself), (VOLUMESNAPSHOTCLASS, self._of_driver)]

    def _of_driver(self, snapshots: Object) -> Iterable[Key]:
        classes = self.runtime.cache(STORAGECLASS).all()
        return [key for cls in classes if cls["provisioner"] == snapshots["driver"] for key in itself(cls)]

    def reconcile(self, namespace: str, name: str) -> float | None:  # noqa: ARG002
        cls = self.runtime.cache(STORAGECLASS).get("", name)
        live = self.runtime.api.get(STORAGEPROFILE, name)
        if cls is None:
            if live is not None:
                self.runtime.api.delete(STORAGEPROFILE, name)
            return None
        if live is None:
            try:
                live = self.runtime.api.create(profile(name))[0]
            except Taken:
                return 0.1
        status = cdi_profiles.profile_status(cls, live.get("spec") or {}, self.runtime.cache(VOLUMESNAPSHOTCLASS).all())
        if live.get("status") != status:
            self.runtime.api.merge(STORAGEPROFILE, name, {"status": {"snapshotClass": None, **status}}, subresource="status")
        return None


def profile(name: str) -> Object:
    """Return a fresh StorageProfile."""
    return {
        "apiVersion": STORAGEPROFILE.api_version(),
        "kind": "StorageProfile",
        "metadata": {"name": name, "labels": dict(names.APP)},
        "spec": {},
    }
