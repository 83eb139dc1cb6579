"""Lab time passes where a controller and the garbage collector work against each other."""

from __future__ import annotations

from typing import Any

from migrate.kube.kinds import CONFIGMAP
from migrate.lab.up import Lab

REST_S = 0.5


def orphan(name: str) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "of-no-object"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop", "ownerReferences": [owner]}}


def test_the_collector_rests_after_it_has_deleted(lab: Lab) -> None:
    """A controller that has not heard of its owner's end makes the same thing again and again, until its watch is back: a matter of time.

    Simulated time passes only when everybody waits, so if nobody waited between two rounds the watch would never be back.
    """
    admin = lab.east.client("lab/admin").at("shop")
    began = lab.clock.monotonic()
    for number in range(3):
        admin.create(orphan(f"orphan{number}"))
        lab.until(lambda number=number: admin.get(CONFIGMAP, f"orphan{number}") is None, what="the collection")
    assert lab.clock.monotonic() - began >= 2 * REST_S
    admin.close()
