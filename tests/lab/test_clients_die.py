"""A client that dies: its last request is carried out or not, unanswered in either case, and nothing of it arrives anywhere after that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migrate.kube.kinds import CONFIGMAP
from migrate.lab.doom import Doom, Fate, Heard
from migrate.lab.up import Lab
from migrate.model.errors import Unreachable

AGENT = "doomed/1"


@pytest.fixture(autouse=True)
def _lifted(lab: Lab) -> Iterator[None]:
    yield
    for cluster in lab.clusters.values():
        cluster.trouble.doom = None


def dies(lab: Lab, fate: Fate) -> Doom:
    """Let the client with that agent die at its first write."""
    doom = Doom(AGENT, lambda heard: fate if heard.sort == "write" else Fate.SERVED)
    for cluster in lab.clusters.values():
        cluster.trouble.doom = doom
    return doom


def config(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}}


@pytest.mark.parametrize(("fate", "there"), [(Fate.LOST, True), (Fate.CUT, False)])
def test_the_last_request_is_not_answered(lab: Lab, fate: Fate, there: bool) -> None:
    """LOST was carried out, CUT never arrived; the client hears the same in both cases, and its retries change nothing."""
    doom = dies(lab, fate)
    name = f"last-{fate.value}"
    with pytest.raises(Unreachable):
        lab.east.client(AGENT).create(config(name))
    assert doom.dead.is_set()
    assert (lab.east.client().get(CONFIGMAP, name, "shop") is not None) is there


def test_nothing_arrives_after_death_on_either_cluster(lab: Lab) -> None:
    """Neither a write nor a read, also where it had not died; others are served as before."""
    dies(lab, Fate.CUT)
    with pytest.raises(Unreachable):
        lab.east.client(AGENT).create(config("first"))
    with pytest.raises(Unreachable):
        lab.west.client(AGENT).create(config("second"))
    with pytest.raises(Unreachable):
        lab.west.client(AGENT).get(CONFIGMAP, "kube-root-ca.crt", "shop")
    assert lab.west.client().get(CONFIGMAP, "second", "shop") is None
    assert lab.west.client().get(CONFIGMAP, "kube-root-ca.crt", "shop") is not None


def test_it_lives_until_then(lab: Lab) -> None:
    """Reads, dry runs and access reviews are no writes."""
    doom = dies(lab, Fate.CUT)
    client = lab.east.client(AGENT)
    client.create(config("dry"), dry_run=True)
    assert client.can("get", CONFIGMAP, "shop")
    assert client.list(CONFIGMAP, "shop")
    assert not doom.dead.is_set()


def test_what_is_heard_of_a_request(lab: Lab) -> None:
    """Enough to know one again: cluster, verb, resource with subresource, namespace, name."""
    heard: list[Heard] = []
    lab.east.trouble.doom = Doom(AGENT, lambda one: (heard.append(one), Fate.SERVED)[1])
    lab.east.client(AGENT).get(CONFIGMAP, "kube-root-ca.crt", "shop")
    last = heard[-1]
    assert (last.cluster, last.place, last.verb, last.resource, last.namespace, last.name) == (
        "east",
        "api",
        "get",
        "configmaps",
        "shop",
        "kube-root-ca.crt",
    )
