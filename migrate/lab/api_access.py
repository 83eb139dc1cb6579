"""Who may do what: RBAC on the objects in the store, impersonation, and the words of a 403."""

from __future__ import annotations

from typing import Any

from migrate.lab import rbac
from migrate.lab.admission import User
from migrate.lab.api_objects import Objects
from migrate.lab.api_paths import Target
from migrate.lab.api_selectors import name_wanted
from migrate.lab.api_status import ApiError
from migrate.lab.auth import ANONYMOUS, impersonated
from migrate.lab.httpd import Request
from migrate.lab.rbac import Attributes, Roles
from migrate.lab.store import Object, Place

OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")
"""Paths that need no credentials."""
_ACCOUNT = "system:serviceaccount:"


class Access:
    """Authorization of one server."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._roles: Roles | None = None
        objects.committed.append(self._changed)

    def first_objects(self) -> list[Object]:
        """Return the cluster roles and bindings that every cluster has."""
        return rbac.shipped("core")

    def acting(self, user: User, request: Request) -> User:
        """Return whom the request acts as, after impersonation. Raises a 403 ApiError when that is not allowed."""
        wanted = impersonated(request)
        if wanted is None:
            return user
        for asked in _impersonations(wanted, request):
            if not self._may(user, asked):
                raise _forbidden(user, asked)
        return wanted

    def require(self, user: User, target: Target, request: Request) -> None:
        """Raise a 403 ApiError unless the user may do this; nobody in particular may look at health and version."""
        if user.name == ANONYMOUS.name and any(target.path == path or target.path.startswith(f"{path}/") for path in OPEN_PATHS):
            return
        if rbac.MASTERS in user.groups:
            return
        if not target.resource_path:
            asked = Attributes(target.verb, path=target.path)
        else:
            name = target.name
            if not name and target.verb in ("list", "watch", "deletecollection"):
                name = name_wanted(request.arg("fieldSelector"))
            asked = Attributes(target.verb, target.group, target.plural, target.subresource, target.namespace, name)
        if not self._may(user, asked):
            raise _forbidden(user, asked)

    def may(
        self,
        user: User,
        verb: str,
        *,
        group: str = "",
        resource: str = "",
        subresource: str = "",
        namespace: str = "",
        name: str = "",
        path: str = "",
    ) -> bool:
        """Tell whether a user may do something."""
        return self._may(user, Attributes(verb, group, resource, subresource, namespace, name, path))

    def rules(self, user: User, namespace: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the resource rules and path rules of a user in a namespace."""
        return rbac.rules_for(user.name, user.groups, namespace, self._present())

    def _may(self, user: User, asked: Attributes) -> bool:
        return rbac.allowed(user.name, user.groups, asked, self._present())

    def _present(self) -> Roles:
        roles = self._roles
        if roles is None:
            look = self._objects.lookup_all
            roles = self._roles = Roles(
                cluster_roles=rbac.aggregated(look(rbac.GROUP, "clusterroles")),
                cluster_bindings=look(rbac.GROUP, "clusterrolebindings"),
                roles=look(rbac.GROUP, "roles"),
                bindings=look(rbac.GROUP, "rolebindings"),
            )
        return roles

    def _changed(self, place: Place, _before: Object | None, _after: Object | None) -> None:
        if place[0] == rbac.GROUP:
            self._roles = None


def _impersonations(wanted: User, request: Request) -> list[Attributes]:
    asked = []
    if wanted.name.startswith(_ACCOUNT) and wanted.name.count(":") == 3:
        namespace, name = wanted.name.removeprefix(_ACCOUNT).split(":")
        asked.append(Attributes("impersonate", "", "serviceaccounts", "", namespace, name))
    else:
        asked.append(Attributes("impersonate", "", "users", name=wanted.name))
    asked += [Attributes("impersonate", "", "groups", name=group) for group in request.headers.get("impersonate-group", ())]
    if wanted.uid:
        asked.append(Attributes("impersonate", "authentication.k8s.io", "uids", name=wanted.uid))
    for key, values in wanted.extra:
        asked += [Attributes("impersonate", "authentication.k8s.io", "userextras", key, name=value) for value in values]
    return asked


def _forbidden(user: User, asked: Attributes) -> ApiError:
    if asked.path:
        text = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
        return ApiError(403, text, details={})
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    what = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    if asked.name:
        what += f' "{asked.name}"'
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    text = f'{what} is forbidden: User "{user.name}" cannot {asked.verb} resource "{resource}" in API group "{asked.group}" {where}'
    details = {**({"name": asked.name} if asked.name else {}), **({"group": asked.group} if asked.group else {}), "kind": asked.resource}
    return ApiError(403, text, details=details)
