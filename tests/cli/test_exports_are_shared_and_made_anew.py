"""Exports by hand that somebody else made, uses, wants or has just deleted: nobody's is taken away, and nothing old is taken for new."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, SECRET
from migrate.lab.up import Lab
from migrate.model.exports import Source, Subject
from migrate.model.objects import owned_by, uid_of
from migrate.reading.exports import readers_of
from migrate.workflow.exports import Approach, Exports, Wish
from tests.cli.conftest import Plant
from tests.cli.disks import PLACE
from tests.cli.shell import MIGRATE, Shell
from tests.flows.flow import Flow

HELD = "test.kubevirt-migrate.io/held"


@pytest.fixture
def exports(cluster: Cluster, lab: Lab) -> Exports:
    return Exports(cluster, lab.clock)


def of(flow: Flow, reader: str = "") -> Wish:
    return Wish(Subject(Source.VM, flow.name), ttl=timedelta(hours=1), passing=reader)


def test_a_token_of_an_earlier_export_is_waited_out(exports: Exports, cluster: Cluster, plant: Plant, lab: Lab) -> None:
    """Deleted and made again under the same name: the Secret that is just being collected is not taken for the new one's."""
    flow, said = plant(), list[str]()
    first, _ = exports.create("again", of(flow))
    cluster.merge(SECRET, "secret-again", {"metadata": {"finalizers": [HELD]}})
    exports.delete("again")
    lab.until(lambda: (cluster.get(SECRET, "secret-again") or {"metadata": {}})["metadata"].get("deletionTimestamp"))

    def tell(words: str) -> None:
        said.append(words)
        cluster.merge(SECRET, "secret-again", {"metadata": {"finalizers": None}})

    second, new = exports.create("again", of(flow), tell=tell)
    assert new
    assert uid_of(first) != uid_of(second)
    assert owned_by(cluster.get(SECRET, "secret-again") or {}, uid_of(second))
    assert "earlier export" in said[0]


def test_a_token_of_the_user_is_left_alone(exports: Exports, cluster: Cluster, plant: Plant) -> None:
    """A Secret without an owner, also of the name that we would choose, is the user's: used as it is."""
    flow = plant()
    metadata = {"name": "secret-own", "namespace": "shop"}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "1234567890ab"}})
    try:
        exports.create("own", of(flow))
        opened = exports.ready("own", Approach(), patience=timedelta(minutes=2), tell=lambda _: None)
        opened.client.close()
        assert opened.token == "1234567890ab"
    finally:
        cluster.delete(SECRET, "secret-own")


def test_what_somebody_wants_is_not_taken_away(shell: Shell, exports: Exports, cluster: Cluster, plant: Plant) -> None:
    """`create` on an export that a download made for itself makes it the user's: no download removes it any more."""
    flow = plant()
    exports.create("mine", of(flow, "here:/a"))
    shell("export", "create", "mine", "--vm", flow.name, "--ttl", "9h", *PLACE, code=6)
    assert readers_of(cluster.get(EXPORT, "mine") or {}) == ("here:/a",)
    assert "was there already" in shell("export", "create", "mine", "--vm", flow.name, *PLACE).stdout
    shell("export", "download", "mine", "--vm", flow.name, "--output", "a", *PLACE)
    found = cluster.get(EXPORT, "mine")
    assert found is not None
    assert "deletionTimestamp" not in found["metadata"]
    assert exports.leave("mine", uid_of(found), "here:/a") == ""


@pytest.mark.slow
def test_two_downloads_share_one_and_the_last_takes_it_away(shell: Shell, exports: Exports, cluster: Cluster, plant: Plant) -> None:
    """Whoever finds an export of another download joins in; who ends first leaves it and says for whom."""
    flow = plant()
    exports.create("both", of(flow, "there:/their.img"))
    assert "there:/their.img" in shell("export", "download", "both", "--vm", flow.name, "--output", "a", *PLACE).stderr
    found = cluster.get(EXPORT, "both")
    assert readers_of(found) == ("there:/their.img",)
    opened = exports.ready("both", Approach(), patience=timedelta(minutes=2), tell=lambda _: None)
    opened.client.close()
    second = exports.reading(
        "both", Approach(), lambda one: readers_of(cluster.get(EXPORT, "both")) and uid_of(one.export), again=None, reader="here:/b",
        patience=timedelta(minutes=2), tell=lambda _: None,
    )  # fmt: skip
    assert readers_of(cluster.get(EXPORT, "both")) == ("here:/b", "there:/their.img")
    assert "here:/b" in exports.leave("both", str(second), "there:/their.img")
    assert exports.leave("both", "of another one", "here:/b") == "export both stays: it is another one by now than the one that was read"
    assert exports.leave("both", str(second), "here:/b") == "export both is removed"


@pytest.mark.slow
def test_a_start_that_changes_no_spec_is_another_state(exports: Exports, cluster: Cluster, plant: Plant) -> None:
    """A VM of run strategy Manual ran between two tries: what was read before is not mixed with what is there now."""
    flow = plant(strategy="Manual")
    exports.create("ran", of(flow))

    def state() -> str:
        opened = exports.ready("ran", Approach(), patience=timedelta(minutes=5), tell=lambda _: None)
        opened.client.close()
        return exports.begin(opened, f"{flow.name}-root")[0]

    before = state()
    assert state() == before
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/{flow.name}"
    cluster.call("PUT", f"{path}/start", {})
    flow.until(flow.runs)
    cluster.call("PUT", f"{path}/stop", {})
    flow.until(lambda: flow.instance() is None)
    flow.until(lambda: state() != before)


@pytest.mark.slow
def test_a_full_disk_behind_standard_output_is_said(shell: Shell, plant: Plant) -> None:
    """In words, as everything else; the export stays, and is left by the download that ended."""
    flow = plant()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*MIGRATE, "export", "download", "full", "--vm", flow.name, "--output", "-", *PLACE],
            env=shell.environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "standard output could not be written" in " ".join(done.stderr.split())
    assert "export full stays" in done.stderr
    assert readers_of(flow.east.get(EXPORT, "full")) == ()
