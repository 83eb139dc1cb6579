"""A download whose export gets another pod, token or certificate on the way, or is made anew: it was met, and the bytes are the disk's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, POD, SECRET
from migrate.lab.up import Lab
from migrate.model.exports import Source, Subject
from migrate.model.objects import dig, leaving, uid_of
from migrate.reading.exports import choose
from migrate.transfer import download
from migrate.transfer.ranges import FULL_RANGE_BYTES, MIB
from migrate.workflow.exports import Approach, Exports, Open, Wish
from tests.cli.conftest import Plant
from tests.cli.disks import digest, digest_of
from tests.flows.flow import Flow


@dataclass(frozen=True)
class Harm:
    """Something that happens to an export in the middle of a download."""

    deed: Callable[[Flow, str], object]
    changed: Callable[[Flow, str], object]
    """What is another one afterwards."""
    said: tuple[str, ...] = ()
    """What the download met by it, as it is told to the user; none where the stream goes on by itself."""
    inside: bool = False


def pod(flow: Flow, name: str) -> list[str]:
    found = flow.east.list(POD, labels={"kubevirt.io.virt-export-service": name})
    return [uid_of(one) for one in found if not leaving(one)]


def token(flow: Flow, name: str) -> object:
    return (flow.east.get(SECRET, f"secret-{name}") or {}).get("data")


def host(flow: Flow, name: str) -> object:
    return dig(flow.east.get(EXPORT, name), "status", "links", "external", "cert")


def export(flow: Flow, name: str) -> object:
    return uid_of(flow.east.get(EXPORT, name) or {})


def restart(flow: Flow, name: str) -> None:
    flow.lab.east.trouble.set("export", "restart", times=1, namespace="shop", export=name)


def rotate_server(flow: Flow, name: str) -> None:
    flow.lab.east.trouble.set("export", "rotate", times=1, namespace="shop", export=name)


def rotate_token(flow: Flow, name: str) -> None:
    flow.east.merge(SECRET, f"secret-{name}", {"stringData": {"token": "another0token0of0a0user"}})


def rotate_host(flow: Flow, name: str) -> None:
    """Another authority and certificate for the Ingress; the pod dies, too, since a connection that is open asks for no certificate."""
    flow.lab.east.trouble.set("proxy", "rotate")
    restart(flow, name)


def end(flow: Flow, name: str) -> None:
    flow.east.delete(EXPORT, name)


HARMS = {
    "another-pod": Harm(restart, pod),
    "another-pod-through-the-api-server": Harm(restart, pod, inside=True),
    "certificate-of-the-server": Harm(rotate_server, pod),
    "certificate-of-the-server-through-the-api-server": Harm(rotate_server, pod, inside=True),
    "token": Harm(rotate_token, token, said=("status 401",)),
    "certificate-of-the-host": Harm(rotate_host, host, said=("certificate in certificate chain",)),
    "export": Harm(end, export, said=("status 404",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_whatever_happens_to_the_export_meanwhile(plant: Plant, cluster: Cluster, lab: Lab, tmp_path: Path, harm: Harm) -> None:
    """Another pod, token, certificate, or the export made anew: the download meets it, goes on where it was, and is the disk.

    One stream reads two ranges one after the other, and the harm is done within the first: so the second is asked for afterwards.
    """
    mib = FULL_RANGE_BYTES // MIB + 8
    flow = plant(mib=mib)
    name, output, done, said = f"{flow.name}-harm", tmp_path / "d.img", [0], list[str]()
    met: list[object] = []
    exports = Exports(cluster, lab.clock)
    wish = Wish(Subject(Source.VM, flow.name), ttl=timedelta(hours=1))
    exports.create(name, wish)

    def moved(there: int, _: int) -> None:
        done[0] = there
        if there > 4 * MIB and not met:
            met.append(harm.changed(flow, name))
            harm.deed(flow, name)
            lab.clock.sleep(15)

    def read(opened: Open) -> download.Got:
        _, _, url = choose(opened.links, export=name, volume="", formats=("raw",))
        return download.raw(opened.client, url, output, identity=exports.begin(opened, f"{flow.name}-root")[0], streams=1, moved=moved)

    got = exports.reading(
        name, Approach(port_forward=harm.inside), read, again=wish, patience=timedelta(minutes=5), retries=20, tell=said.append,
        moved=lambda: done[0],
    )  # fmt: skip
    assert met
    assert harm.changed(flow, name) not in (met[0], None, [], "")
    for words in harm.said:
        assert any(words in one for one in said), said
    assert got.bytes == mib * MIB
    assert (got.read_bytes < got.bytes) == bool(harm.said)
    assert got.digest == digest(lab, flow) == digest_of(output)
