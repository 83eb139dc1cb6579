"""ResourceQuota at work: refuses what does not fit, and keeps the usage in the status of every quota."""

from __future__ import annotations

from migrate.lab import quota
from migrate.lab.api_objects import Objects, Write
from migrate.lab.api_status import forbidden
from migrate.lab.api_update import retouch, system_write
from migrate.lab.store import Object, Place

QUOTAS = ("", "resourcequotas")


class Quotas:
    """The quota plugin and controller in one: since both run under the store's lock, the usage is always exact."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        objects.guards.append(self._judge)
        objects.committed.append(self._recount)

    def _judge(self, write: Write, old: Object | None, new: Object) -> None:
        namespace = write.namespace
        quotas = self._objects.lookup_all(*QUOTAS, namespace) if namespace else []
        if not quotas or write.subresource:
            return
        refusal = quota.check(quotas, write.resource, new, self._usage(namespace), old=old)
        if refusal is not None:
            raise forbidden(write.resource, write.name, refusal)

    def _usage(self, namespace: str) -> quota.Amounts:
        kinds = [kind for kind in self._objects.registry.all() if kind.namespaced]
        return quota.usage((kind, obj) for kind in kinds for obj in self._objects.lookup_all(kind.group, kind.plural, namespace))

    def _recount(self, place: Place, before: Object | None, after: Object | None) -> None:
        shown = after or before or {}
        namespace = shown["metadata"].get("namespace", "")
        if not namespace or (place == QUOTAS and after is None):
            return
        quotas = self._objects.lookup_all(*QUOTAS, namespace)
        if not quotas:
            return
        used = self._usage(namespace)
        resource = self._objects.registry.resource(*QUOTAS)
        assert resource is not None
        for found in quotas:
            wanted = quota.status(found, used)
            if found.get("status") != wanted:
                write = system_write(resource, namespace, found["metadata"]["name"], manager="kube-controller-manager")
                retouch(self._objects, write, lambda obj, wanted=wanted: {**obj, "status": wanted})
