"""The rules of KubeVirt and CDI as admission webhooks of a real API server: AdmissionReview in, the lab's Review inside, and back."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import Kind
from migrate.lab.admission import Admission, Denied, Review, User, chain
from migrate.lab.api_status import REASONS
from migrate.lab.httpd import Exchange, HttpServer

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster
    from migrate.lab.certs import Authority
    from migrate.lab.clock import LabClock
    from migrate.lab.kinds import Registry, Resource

Object = dict[str, Any]

COMPONENTS = "system:serviceaccount:kubevirt:"
"""KubeVirt's own components, which may change the spec of an instance; nobody else may."""
_PREFIX = re.compile(r'admission webhook "[^"]+" denied the request: ')
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook: its name, as refusals show it, and what it is asked about."""

    name: str
    group: str
    plural: str
    operations: tuple[str, ...]
    mutating: bool = False

    @property
    def path(self) -> str:
        return f"/{'mutate' if self.mutating else 'validate'}/{self.plural}"


HOOKS = (
    Hook("virtualmachines-mutator.kubevirt.io", "kubevirt.io", "virtualmachines", ("CREATE",), mutating=True),
    Hook("virtualmachine-validator.kubevirt.io", "kubevirt.io", "virtualmachines", ("CREATE", "UPDATE")),
    Hook("virtualmachineinstances-update-validator.kubevirt.io", "kubevirt.io", "virtualmachineinstances", ("UPDATE",)),
    Hook("virtualmachineexport-validator.export.kubevirt.io", "export.kubevirt.io", "virtualmachineexports", ("CREATE", "UPDATE")),
    Hook("virtualmachinesnapshot-validator.snapshot.kubevirt.io", "snapshot.kubevirt.io", "virtualmachinesnapshots", ("CREATE", "UPDATE")),
    Hook("datavolume-validate.cdi.kubevirt.io", "cdi.kubevirt.io", "datavolumes", ("CREATE", "UPDATE")),
)


class Webhooks:
    """One HTTPS server for all hooks of a cluster."""

    def __init__(
        self, admissions: Sequence[Admission], *, registry: Registry, client: Cluster, clock: LabClock, authority: Authority
    ) -> None:
        self._admissions = admissions
        self._registry = registry
        self._client = client
        self._ca_pem = authority.ca_pem
        context = authority.server_context(_HOST, "localhost")
        self._httpd = HttpServer(self._handle, clock=clock, tls=lambda: context, name="webhooks")

    def start(self) -> None:
        """Serve, and tell the API server to ask."""
        self._httpd.start()
        self._client.create(self._configuration(mutating=True), self._configuration(mutating=False))

    def stop(self) -> None:
        """Stop serving."""
        self._httpd.stop()

    def _configuration(self, *, mutating: bool) -> Object:
        word = "Mutating" if mutating else "Validating"
        bundle = base64.b64encode(self._ca_pem.encode()).decode()
        hooks = [
            {
                "name": hook.name,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 10,
                "clientConfig": {"url": f"https://{_HOST}:{self._httpd.port}{hook.path}", "caBundle": bundle},
                "rules": [
                    {"apiGroups": [hook.group], "apiVersions": ["*"], "resources": [hook.plural], "operations": list(hook.operations)}
                ],
            }
            for hook in HOOKS
            if hook.mutating is mutating
        ]
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{word}WebhookConfiguration",
            "metadata": {"name": "migrate-lab"},
            "webhooks": hooks,
        }

    def _handle(self, exchange: Exchange) -> None:
        hook = next((hook for hook in HOOKS if hook.path == exchange.request.path), None)
        if hook is None or exchange.request.method != "POST":
            exchange.reply(404, "no such webhook")
            return
        asked = json.loads(exchange.body())["request"]
        answer = self._answer(hook, asked) | {"uid": asked["uid"]}
        exchange.reply(200, {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})

    def _answer(self, hook: Hook, asked: Object) -> Object:
        user = asked.get("userInfo") or {}
        if hook.plural == "virtualmachineinstances" and user.get("username", "").startswith(COMPONENTS):
            return {"allowed": True}
        review = self._review(asked, user)
        if hook.mutating:
            return self._changed(review)
        try:
            chain(self._admissions, review)
        except Denied as denied:
            return {"allowed": False, "status": _status(denied)}
        return {"allowed": True}

    def _changed(self, review: Review) -> Object:
        """Return what the changing rules make of a new object; refusals are left to the validating hook, as both see every write."""
        import jsonpatch

        before = review.new or {}
        now = copy.deepcopy(before)
        for admission in self._admissions:
            try:
                now = admission(replace(review, new=now)) or now
            except Denied:
                continue
        patch = jsonpatch.make_patch(before, now).to_string()
        if patch == "[]":
            return {"allowed": True}
        return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}

    def _review(self, asked: Object, user: Object) -> Review:
        resource = self._resource(asked["resource"]["group"], asked["resource"]["resource"])
        return Review(
            operation=asked["operation"],
            resource=resource,
            version=asked["resource"]["version"],
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
            old=asked.get("oldObject"),
            new=asked.get("object"),
            user=User(user.get("username", ""), tuple(user.get("groups") or ()), user.get("uid", "")),
            dry_run=bool(asked.get("dryRun")),
            subresource=asked.get("subResource", ""),
            get=lambda group, plural, namespace, name: self._client.get(self._kind(group, plural), name, namespace or None),
            list=self._list,
        )

    def _list(self, group: str, plural: str, namespace: str) -> list[Object]:
        return self._client.list(self._kind(group, plural), namespace or None, everywhere=not namespace)

    def _kind(self, group: str, plural: str) -> Kind:
        found = self._resource(group, plural)
        return Kind(found.kind, plural, group, found.served, namespaced=found.namespaced)

    def _resource(self, group: str, plural: str) -> Resource:
        found = self._registry.resource(group, plural)
        if found is None:
            raise LookupError(f"no resource {plural}.{group}")
        return found


def _status(denied: Denied) -> Object:
    """Return the Status of a refusal, without the words that the API server puts in front itself."""
    causes: Iterable[Object] = (
        {"reason": cause.reason, "message": cause.message, **({"field": cause.field} if cause.field else {})} for cause in denied.causes
    )
    status: Object = {
        "status": "Failure",
        "code": denied.code,
        "message": _PREFIX.sub("", denied.message, count=1),
        "reason": denied.reason or REASONS.get(denied.code, ""),
    }
    return status | ({"details": {"causes": found}} if (found := list(causes)) else {})
