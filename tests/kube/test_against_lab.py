"""The kube room against the lab's API server: two programs that share no code but the names of labels must agree on the protocol."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.bell import Bell, Pace
from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, NAMESPACE, PV, ROUTE, SECRET, VM, Kind
from migrate.kube.readonly import ReadOnly
from migrate.kube.session import open_cluster
from migrate.lab import kinds as lab_kinds
from migrate.lab.api import ApiServer
from migrate.lab.certs import Authority
from migrate.lab.clock import SimClock
from migrate.model.errors import Conflict, OwnedByAnother, Refused, Taken, Unreachable
from migrate.model.labels import ours
from tests.kube.small_server import write_kubeconfig

PATIENCE_S = 20.0


@dataclass
class Lab:
    """One API server on simulated time, with the definitions of KubeVirt and CDI installed, and an administrator's handle."""

    api: ApiServer
    clock: SimClock
    folder: Path
    east: Cluster
    opened: list[Cluster] = field(default_factory=list)

    def open(self, user: dict[str, Any], *, user_agent: str = "kubevirt-migrate/test") -> Cluster:
        authority = base64.b64encode(self.api.ca_pem.encode()).decode()
        path = write_kubeconfig(
            self.folder / "config", cluster={"server": self.api.url, "certificate-authority-data": authority}, user=user
        )
        self.opened.append(open_cluster("east", kubeconfig=path, clock=self.clock, user_agent=user_agent))
        return self.opened[-1]

    def until(self, condition: Callable[[], bool]) -> None:
        """Let lab time pass until it is so."""
        for _ in range(2000):
            if condition():
                return
            with self.clock.idle():
                self.clock.sleep(0.1)
        raise AssertionError("it did not come")

    def counted(self, verb: str, resource: str = "configmaps") -> int:
        return sum(1 for asked in self.api.requests.since() if (asked.verb, asked.resource) == (verb, resource))

    def token(self, user: str, *groups: str) -> dict[str, Any]:
        """Return a user stanza with a token that the server knows."""
        self.api.authentication.allow_token(f"token-of-{user}", user, *groups)
        return {"token": f"token-of-{user}"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    clock = SimClock()
    authority = Authority("kubernetes east")
    api = ApiServer("east", registry=lab_kinds.Registry(lab_kinds.builtin()), clock=clock, authority=authority, history=50)
    with clock.busy():
        api.start()
        admin = authority.client("admin", "system:masters")
        pair = {"client-certificate-data": admin.chain_pem, "client-key-data": admin.key_pem}
        made = Lab(api, clock, tmp_path_factory.mktemp("east"), None)  # type: ignore[arg-type]
        made.east = made.open({key: base64.b64encode(text.encode()).decode() for key, text in pair.items()})
        made.east.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, *lab_kinds.crds("v1.6"))
        made.until(lambda: made.east.serves(EXPORT) is not None)
        yield made
        for cluster in made.opened:
            cluster.close()
        api.stop()
    clock.close()


@pytest.fixture
def east(lab: Lab) -> Iterator[Cluster]:
    yield lab.east
    lab.api.trouble.clear()


def _map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **({"labels": labels} if labels else {})}, "data": data}


def test_versions_are_found_and_absence_is_told_from_no_such_type(east: Cluster) -> None:
    """KubeVirt 1.6 serves exports in v1beta1 first; a Route is no type here; an export that is not there is None."""
    assert east.serves(EXPORT) == "v1beta1"
    assert east.serves(ROUTE) is None
    assert east.get(EXPORT, "none") is None
    assert east.get(VM, "none", "no-such-namespace") is None
    for kind in (ROUTE, Kind("Widget", "widgets", "example.org"), Kind("Thing", "things")):
        with pytest.raises(Refused, match="no resource type"):
            east.get(kind, "a")
        with pytest.raises(Refused, match="no resource type"):
            east.list(kind)
    assert len(east.uid()) == 36
    assert east.version()["gitVersion"].startswith("v1.")


def test_a_list_of_many_pages_is_complete(east: Cluster) -> None:
    """More objects than a page holds come back once each."""
    east.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}})
    there = east.at("many")
    there.create(*(_map(f"m{number:03}", {"odd": "yes"} if number % 2 else None) for number in range(520)))
    names = [item["metadata"]["name"] for item in there.list(CONFIGMAP)]
    assert sorted(name for name in names if name.startswith("m")) == [f"m{number:03}" for number in range(520)]
    assert len(there.list(CONFIGMAP, labels={"odd": None})) == 260
    assert len(there.list(CONFIGMAP, labels={"odd": "yes"})) == 260
    assert len(east.list(CONFIGMAP, everywhere=True)) >= 520


def test_a_page_that_expires_is_survived(lab: Lab, east: Cluster) -> None:
    """The history is compacted between two pages; the list is complete all the same."""
    lab.api.trouble.set("api", "expire", verb="list", times="1")
    assert len([item for item in east.list(CONFIGMAP, "many") if item["metadata"]["name"].startswith("m")]) == 520


def test_taken_names_and_ours(east: Cluster) -> None:
    """A second create is Taken; ours is read back if asked, another migration's is not; uid preconditions protect a successor."""
    made = east.create(_map("taken", ours("id1", "record"), a="1"))[0]
    with pytest.raises(Taken, match="already exists"):
        east.create(_map("taken", ours("id1", "record"), a="2"))
    assert east.create(_map("taken", ours("id1", "record"), a="2"), ours_ok=True)[0]["data"] == {"a": "1"}
    with pytest.raises(Taken):
        east.create(_map("taken", ours("id2", "record")), ours_ok=True)
    with pytest.raises(Conflict, match="UID"):
        east.delete(CONFIGMAP, "taken", uid="another")
    east.delete(CONFIGMAP, "taken", uid=made["metadata"]["uid"])
    assert east.get(CONFIGMAP, "taken") is None
    east.delete(CONFIGMAP, "taken")


def test_ours_on_its_way_out_is_a_conflict(east: Cluster) -> None:
    """A finalizer keeps it for a while; it is not built upon."""
    held = _map("leaving", ours("id1", "record"))
    held["metadata"]["finalizers"] = ["example.org/hold"]
    east.create(held)
    east.delete(CONFIGMAP, "leaving")
    with pytest.raises(Conflict, match="being deleted"):
        east.create(_map("leaving", ours("id1", "record")), ours_ok=True)
    east.merge(CONFIGMAP, "leaving", {"metadata": {"finalizers": None}})
    assert east.get(CONFIGMAP, "leaving") is None


def test_a_stale_write_is_a_conflict(east: Cluster) -> None:
    """PUT or merge with an old resourceVersion, a patch whose tests do not hold: Conflict, each with its reason."""
    old = east.create(_map("stale", a="1"))[0]
    east.merge(CONFIGMAP, "stale", {"data": {"a": "2"}})
    with pytest.raises(Conflict, match="object has been modified"):
        east.replace(old)
    with pytest.raises(Conflict, match="object has been modified"):
        east.merge(CONFIGMAP, "stale", {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "data": {"a": "3"}})
    with pytest.raises(Conflict, match="/data/a is '2', expected '1'"):
        east.patch(
            CONFIGMAP, "stale", [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "4"}]
        )
    current = east.get(CONFIGMAP, "stale")
    assert current is not None
    east.replace(current | {"data": {"a": "5"}})
    patched = east.patch(
        CONFIGMAP, "stale", [{"op": "test", "path": "/data/a", "value": "5"}, {"op": "add", "path": "/data/b", "value": "6"}]
    )
    assert patched["data"] == {"a": "5", "b": "6"}
    with pytest.raises(Refused) as absent:
        east.patch(CONFIGMAP, "no-such", [{"op": "add", "path": "/data", "value": {}}])
    assert (type(absent.value), absent.value.status) == (Refused, 404)


def test_a_field_of_another_manager_is_named(lab: Lab, east: Cluster) -> None:
    """Server-side apply against somebody else's field says whose it is; force takes it; an own field may change at will."""
    other = lab.open(lab.token("argo", "system:masters"), user_agent="lab/argocd-controller")
    other.apply(_map("shared", a="theirs"))
    with pytest.raises(OwnedByAnother) as caught:
        east.apply(_map("shared", a="ours"))
    assert "field .data.a belongs to argocd-controller" in caught.value.what
    east.apply(_map("shared", b="ours"))
    east.apply(_map("shared", b="ours again"))
    assert east.apply(_map("shared", a="ours"), force=True)[0]["data"]["a"] == "ours"


def test_unknown_fields_are_refused_before_anything_is_made(east: Cluster) -> None:
    """A misspelt field is an error and not a silent loss."""
    volume = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": {"name": "typo"}, "spec": {"sauce": {}}}
    for write in (east.create, east.apply):
        with pytest.raises(Refused) as caught:
            write(volume)
        assert "sauce" in caught.value.why
    assert east.get(DATAVOLUME, "typo") is None


def test_a_missing_namespace_is_the_clusters_own_sentence(east: Cluster) -> None:
    """Creating in a namespace that is not there is refused with status 404, and is not taken for an unserved type."""
    with pytest.raises(Refused) as caught:
        east.at("nowhere").create(_map("a"))
    assert (caught.value.status, caught.value.why) == (404, 'namespaces "nowhere" not found')


def test_a_dry_run_leaves_no_trace(lab: Lab, east: Cluster) -> None:
    """Nothing exists afterwards, in a namespace that is there and in one that would have been made."""
    dry = ReadOnly(east)
    dry.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "paper"}}, _map("paper"))
    dry.at("paper").create(_map("paper"))
    dry.apply(_map("paper-2"))
    dry.merge(CONFIGMAP, "paper-2", {"data": {"x": "y"}})
    dry.delete(CONFIGMAP, "kube-root-ca.crt")
    assert east.get(NAMESPACE, "paper") is None
    assert east.get(CONFIGMAP, "paper") is None
    assert east.get(CONFIGMAP, "paper-2") is None
    assert east.get(CONFIGMAP, "kube-root-ca.crt") is not None
    assert len(dry.noted) == 6
    with pytest.raises(Taken):
        dry.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})


def test_rights_decide(lab: Lab, east: Cluster) -> None:
    """Somebody without rights is refused with the cluster's sentence, and `can` says so beforehand; an unknown token is a 401."""
    nobody = lab.open(lab.token("nobody"))
    assert not nobody.can("list", CONFIGMAP)
    assert east.can("list", CONFIGMAP)
    with pytest.raises(Refused) as caught:
        nobody.list(CONFIGMAP)
    assert (caught.value.status, 'User "nobody" cannot list resource "configmaps"' in caught.value.why) == (403, True)
    with pytest.raises(Refused) as unknown:
        lab.open({"token": "made-up"}).list(CONFIGMAP)
    assert unknown.value.status == 401


def test_impersonation_takes_the_rights_of_the_other(lab: Lab) -> None:
    """An administrator who asks as nobody has nobody's rights."""
    root = lab.token("root", "system:masters")
    assert lab.open(root).can("list", CONFIGMAP)
    assert not lab.open(root | {"as": "nobody", "as-groups": ["none"]}).can("list", CONFIGMAP)


def test_a_lost_answer_creates_nothing_twice(lab: Lab, east: Cluster) -> None:
    """The server carried it out and the connection broke: the handle finds its own object."""
    lab.api.trouble.set("api", "drop", verb="create", resource="configmaps", after="1", times="1")
    made = east.create(_map("lost", ours("id1", "record"), a="1"))[0]
    assert made["data"] == {"a": "1"}
    lab.api.trouble.set("api", "drop", verb="create", resource="configmaps", after="1", times="1")
    assert east.create(_map("lost-unmarked", a="1"))[0]["metadata"]["uid"]


@pytest.mark.parametrize("action", ["drop", "truncate", "refuse"])
def test_passing_trouble_is_not_noticed(lab: Lab, east: Cluster, action: str) -> None:
    """Two broken answers in a row, then a whole one; the waits pass on the lab's clock."""
    lab.api.trouble.set("api", action, verb="list", resource="configmaps", times="2")
    with lab.clock.idle():
        assert east.list(CONFIGMAP)


def test_lasting_trouble_is_reported_in_the_clusters_words(lab: Lab, east: Cluster) -> None:
    """After the last attempt."""
    lab.api.trouble.set("api", "refuse", verb="list", resource="configmaps", message="etcd is away")
    with lab.clock.idle(), pytest.raises(Unreachable, match="etcd is away"):
        east.list(CONFIGMAP)


class Ears:
    """What a bell told."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, kind: str, obj: dict[str, Any]) -> None:
        self.heard.put((kind, obj["metadata"]["name"]))

    def next(self, count: int = 1) -> list[tuple[str, str]]:
        return [self.heard.get(timeout=PATIENCE_S) for _ in range(count)]


@pytest.fixture
def rung(lab: Lab, east: Cluster) -> Iterator[tuple[Bell, Ears]]:
    """A bell on labelled ConfigMaps, in contact."""
    ears = Ears()
    bell = east.bell(CONFIGMAP, labels={"rings": None}, on_event=ears)
    assert bell.synced.wait(PATIENCE_S)
    lab.until(lambda: bell.live)
    yield bell, ears
    bell.close()
    for item in east.list(CONFIGMAP, labels={"rings": None}):
        east.delete(CONFIGMAP, item["metadata"]["name"])


RINGS = {"rings": "yes"}


def test_a_bell_follows_creations_changes_and_deletions(east: Cluster, rung: tuple[Bell, Ears]) -> None:
    """And what enters or leaves its selector by a change of labels."""
    bell, ears = rung
    east.create(_map("b1", RINGS), _map("b2"))
    east.merge(CONFIGMAP, "b1", {"data": {"a": "1"}})
    east.merge(CONFIGMAP, "b2", {"metadata": {"labels": RINGS}})
    east.merge(CONFIGMAP, "b2", {"metadata": {"labels": None}})
    east.delete(CONFIGMAP, "b1")
    assert ears.next(5) == [("ADDED", "b1"), ("MODIFIED", "b1"), ("ADDED", "b2"), ("DELETED", "b2"), ("DELETED", "b1")]
    assert bell.all() == []


def test_a_bell_resumes_when_connections_are_cut(lab: Lab, east: Cluster, rung: tuple[Bell, Ears]) -> None:
    """Every connection of the server is closed; nothing is listed again and nothing is lost."""
    _bell, ears = rung
    listed = lab.counted("list")
    for number in range(5):
        lab.api.disconnect()
        east.create(_map(f"cut{number}", RINGS))
    with lab.clock.idle():
        assert sorted(ears.next(5)) == [("ADDED", f"cut{number}") for number in range(5)]
    assert lab.counted("list") == listed


def test_a_bell_outlives_an_expired_history(lab: Lab, east: Cluster, rung: tuple[Bell, Ears]) -> None:
    """The watch is answered 410, and in the meantime one object went, one changed and one came: the difference is told."""
    bell, ears = rung
    east.create(_map("gone", RINGS), _map("kept", RINGS))
    ears.next(2)
    with lab.clock.idle():
        lab.api.trouble.set("api", "refuse", verb="watch", resource="configmaps", times="2")
        lab.api.disconnect()
        lab.until(lambda: not bell.live)
    east.delete(CONFIGMAP, "gone")
    east.merge(CONFIGMAP, "kept", {"data": {"a": "1"}})
    east.create(_map("came", RINGS))
    for number in range(60):
        east.merge(CONFIGMAP, "kube-root-ca.crt", {"metadata": {"annotations": {"n": str(number)}}})
    with lab.clock.idle():
        assert sorted(ears.next(3)) == [("ADDED", "came"), ("DELETED", "gone"), ("MODIFIED", "kept")]
    assert sorted(obj["metadata"]["name"] for obj in bell.all()) == ["came", "kept"]


def test_a_bell_reconnects_at_the_end_of_its_time(lab: Lab, east: Cluster) -> None:
    """The server ends the watch after timeoutSeconds of lab time; the next one begins where it ended."""
    ears = Ears()
    bell = Bell(east, CONFIGMAP, namespace="shop", labels=RINGS, on_event=ears, pace=Pace(watch_s=(20, 20))).start()
    lab.until(lambda: bell.live)
    watched = lab.counted("watch")
    lab.until(lambda: lab.counted("watch") >= watched + 3)
    lab.until(lambda: bell.live)
    east.create(_map("late", RINGS))
    with lab.clock.idle():
        assert ears.next() == [("ADDED", "late")]
    bell.close()
    east.delete(CONFIGMAP, "late")


def test_a_cached_look_costs_no_request(lab: Lab, east: Cluster, rung: tuple[Bell, Ears]) -> None:
    """While the bell is in contact; a cluster-wide kind works alike."""
    _bell, ears = rung
    east.create(_map("cheap", RINGS))
    ears.next()
    volumes = east.bell(PV)
    lab.until(lambda: volumes.live)
    asked = lab.api.requests.mark
    cached = east.cached()
    assert cached.get(CONFIGMAP, "cheap") is not None
    assert cached.list(PV) == []
    assert cached.get(PV, "none") is None
    assert lab.api.requests.mark == asked
    volumes.close()


def test_secrets_are_read_one_by_one_only(east: Cluster) -> None:
    """A get is fine; a bell is refused before anything is sent."""
    east.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": "t"}})
    found = east.get(SECRET, "s")
    assert found is not None
    assert base64.b64decode(found["data"]["token"]) == b"t"
    with pytest.raises(ValueError, match="never listed or watched"):
        east.bell(SECRET)


def test_eight_threads_share_a_handle(east: Cluster) -> None:
    """Writes and reads from many threads at once, each seeing its own."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                east.create(_map(f"t{number}-{turn}", a=str(number)))
                found = east.get(CONFIGMAP, f"t{number}-{turn}")
                assert found is not None
                assert found["data"] == {"a": str(number)}
                east.delete(CONFIGMAP, f"t{number}-{turn}")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
