"""Disks that are added to a guest that runs: the instance alone knows them, and the VM's next start does without.

What virt-api does for `virtctl addvolume` and `removevolume` without --persist; with it, a patch of the VM does as much. The disk is named
in the instance, and no pod takes it to the guest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import VMI
from migrate.lab.api_status import ApiError, bad_request

if TYPE_CHECKING:
    from migrate.lab.api_virtual import Answer, Call

Object = dict[str, Any]


def add_volume(call: Call) -> Answer:
    """Name one more disk in the spec of an instance."""
    asked = _asked(call)
    if not asked.get("volumeSource"):
        raise bad_request("AddVolumeOptions requires volumeSource to be set")
    volume = {"name": asked["name"], **asked["volumeSource"]}
    device = {"name": asked["name"], **(asked.get("disk") or {"disk": {"bus": "scsi"}})}
    return _changed(call, lambda volumes, disks: ([*volumes, volume], [*disks, device]))


def remove_volume(call: Call) -> Answer:
    """Take a disk off the spec of an instance."""
    name = _asked(call)["name"]
    return _changed(call, lambda volumes, disks: (_without(name, volumes), _without(name, disks)))


def _without(name: str, entries: list[Object]) -> list[Object]:
    return [one for one in entries if one["name"] != name]


def _asked(call: Call) -> Object:
    body = json.loads(call.body) if isinstance(call.body, str | bytes) else call.body
    if not isinstance(body, dict) or not body.get("name"):
        raise bad_request("AddVolumeOptions requires name to be set")
    return body


def _changed(call: Call, alter: Callable[[list[Object], list[Object]], tuple[list[Object], list[Object]]]) -> Answer:
    if call.server.look_up(VMI, call.namespace, call.name) is None:
        raise ApiError(404, f'virtualmachineinstance.kubevirt.io "{call.name}" not found', reason="NotFound")

    def whole(instance: Object) -> Object:
        spec = instance["spec"]
        devices = spec["domain"]["devices"]
        volumes, disks = alter(spec.get("volumes") or [], devices.get("disks") or [])
        return {**instance, "spec": {**spec, "volumes": volumes, "domain": {**spec["domain"], "devices": {**devices, "disks": disks}}}}

    if not call.dry_run:
        call.server.rewrite(VMI, call.namespace, call.name, whole)
    return 202, ""
