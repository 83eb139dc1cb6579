"""The node: what becomes of pods, as those who read their status see it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migrate.kube.kinds import CONFIGMAP, EVENT, NODE, POD, PVC, SECRET
from migrate.lab.certs import Authority
from migrate.lab.pods import PORTS, PROGRAMS, Container
from tests.lab.conftest import Bare

_numbers = itertools.count(1)


@pytest.fixture
def image() -> Iterator[Callable[[Callable[[Container], int]], str]]:
    """Register a program and return its image name."""
    names: list[str] = []

    def register(program: Callable[[Container], int]) -> str:
        name = f"test/{next(_numbers)}"
        PROGRAMS[name] = program
        names.append(name)
        return name

    yield register
    for name in names:
        del PROGRAMS[name]


def pod(name: str, image: str, *, restart: str = "Never", volumes: tuple[dict[str, Any], ...] = (), **container: Any) -> dict[str, Any]:
    spec = {"restartPolicy": restart, "volumes": list(volumes), "containers": [{"name": "main", "image": image, **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def status(bare: Bare, name: str) -> dict[str, Any]:
    found = bare.api.get(POD, name)
    return found["status"] if found else {}


def main(bare: Bare, name: str) -> dict[str, Any]:
    return next(iter(status(bare, name).get("containerStatuses", ())), {})


def phase(bare: Bare, name: str, wanted: str) -> Callable[[], bool]:
    return lambda: status(bare, name).get("phase") == wanted


def reasons(bare: Bare, name: str) -> list[str]:
    return [event["reason"] for event in bare.api.list(EVENT) if event["involvedObject"]["name"] == name]


def lasting(container: Container) -> int:
    container.clock.wait(container.stop, None)
    return 0


def test_a_pod_runs_and_ends(bare: Bare, image: Callable[..., str]) -> None:
    """A program that returns 0 leaves the pod Succeeded, with its words as the termination message and its log readable."""

    def program(container: Container) -> int:
        container.log(f"hello {container.env['WHO']} {container.args}")
        container.clock.wait(container.stop, 5)
        container.terminate("all done")
        return 0

    env = [{"name": "WHO", "value": "you"}, {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    bare.api.create(pod("runs", image(program), env=env, args=["-v"]))
    bare.until(phase(bare, "runs", "Running"))
    assert main(bare, "runs")["ready"]
    bare.until(phase(bare, "runs", "Succeeded"))
    ended = main(bare, "runs")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "all done")
    assert not main(bare, "runs")["ready"]
    assert bare.api.log_text("runs") == "hello you ['-v']\n"
    assert sorted(reasons(bare, "runs")) == ["Scheduled", "Started"]


def test_never_restarted_pods_fail(bare: Bare, image: Callable[..., str]) -> None:
    """With restartPolicy Never an exception is exit code 1, the reason Error, and the pod Failed."""

    def program(container: Container) -> int:
        raise ValueError("broken")

    bare.api.create(pod("fails", image(program)))
    bare.until(phase(bare, "fails", "Failed"))
    ended = main(bare, "fails")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (1, "Error", "ValueError: broken")
    assert "Traceback" in bare.api.log_text("fails")


def test_crashes_back_off(bare: Bare, image: Callable[..., str]) -> None:
    """With OnFailure a crashing container starts again: at once, then after 10, 20, 40 seconds, seen as CrashLoopBackOff."""
    starts: list[float] = []

    def program(container: Container) -> int:
        starts.append(container.clock.monotonic())
        return 3

    bare.api.create(pod("crashes", image(program), restart="OnFailure"))
    bare.until(lambda: main(bare, "crashes").get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")
    waiting = main(bare, "crashes")
    assert waiting["lastState"]["terminated"]["exitCode"] == 3
    assert waiting["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main")
    assert status(bare, "crashes")["phase"] == "Running"
    bare.until(lambda: len(starts) == 5)
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(starts)]
    assert gaps == [1, 10, 20, 40]
    assert main(bare, "crashes")["restartCount"] >= 3
    bare.api.delete(POD, "crashes")


def test_a_missing_secret_keeps_the_pod_waiting(bare: Bare, image: Callable[..., str]) -> None:
    """A pod whose Secret is not there is Pending in ContainerCreating, with FailedMount, and starts when the Secret comes."""
    seen: list[str] = []

    def program(container: Container) -> int:
        seen.append(container.path("/keys/token").read_text())
        return 0

    volume = {"name": "keys", "secret": {"secretName": "late"}}
    bare.api.create(pod("waits", image(program), volumes=(volume,), volumeMounts=[{"name": "keys", "mountPath": "/keys"}]))
    bare.until(lambda: "FailedMount" in reasons(bare, "waits"))
    assert status(bare, "waits")["phase"] == "Pending"
    assert main(bare, "waits")["state"] == {"waiting": {"reason": "ContainerCreating"}}
    bare.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"token": "abc"}})
    bare.until(phase(bare, "waits", "Succeeded"))
    assert seen == ["abc"]


def test_mounted_secrets_follow_changes(bare: Bare, image: Callable[..., str]) -> None:
    """A changed Secret or ConfigMap shows in the running container's files within about ten seconds, and removed keys go."""
    bare.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "turns"}, "stringData": {"token": "old", "more": "x"}})
    bare.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "turns"}, "data": {"ca.pem": "old"}})
    running: list[Container] = []

    def program(container: Container) -> int:
        running.append(container)
        return lasting(container)

    volumes = ({"name": "keys", "secret": {"secretName": "turns"}}, {"name": "ca", "configMap": {"name": "turns"}})
    mounts = [{"name": "keys", "mountPath": "/keys"}, {"name": "ca", "mountPath": "/ca"}]
    bare.api.create(pod("follows", image(program), volumes=volumes, volumeMounts=mounts))
    bare.until(lambda: running)
    assert sorted(path.name for path in running[0].path("/keys").iterdir() if not path.name.startswith(".")) == ["more", "token"]
    new = {"data": {"token": base64.b64encode(b"new").decode(), "more": None}}
    bare.api.merge(SECRET, "turns", new)
    bare.api.merge(CONFIGMAP, "turns", {"data": {"ca.pem": "new"}})
    assert running[0].path("/keys/token").read_text() == "old"
    changed = bare.clock.monotonic()
    bare.until(lambda: running[0].path("/keys/token").read_text() == "new" and running[0].path("/ca/ca.pem").read_text() == "new")
    assert bare.clock.monotonic() - changed <= 11
    assert not running[0].path("/keys/more").exists()
    bare.api.delete(POD, "follows")


def test_readiness_is_asked_for(bare: Bare, image: Callable[..., str]) -> None:
    """A probed container is ready only after its delay and a good answer over HTTPS, and no longer after three bad ones."""
    context = Authority("probe").server_context("localhost")
    healthy = threading.Event()
    healthy.set()

    def program(container: Container) -> int:
        server = container.listen(8443)

        def answer() -> None:
            while True:
                try:
                    plain, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(4096)
                    word = b"200 OK" if healthy.is_set() else b"503 Not"
                    connection.sendall(b"HTTP/1.1 " + word + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        return lasting(container)

    probe = {"httpGet": {"path": "/ok", "port": 8443, "scheme": "HTTPS"}, "initialDelaySeconds": 5, "periodSeconds": 5}
    bare.api.create(pod("probed", image(program), readinessProbe=probe))
    bare.until(phase(bare, "probed", "Running"))
    began = bare.clock.monotonic()
    assert not main(bare, "probed")["ready"]
    bare.until(lambda: main(bare, "probed")["ready"])
    assert 4 <= bare.clock.monotonic() - began <= 6
    found = bare.api.get(POD, "probed")
    assert found is not None
    assert '"8443"' in found["metadata"]["annotations"][PORTS]
    node = bare.cluster.api.node
    assert node is not None
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    with node.dial("shop", "probed", 8443) as plain, insecure.wrap_socket(plain) as secured:
        secured.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert secured.recv(100).startswith(b"HTTP/1.1 200")
    healthy.clear()
    failing = bare.clock.monotonic()
    bare.until(lambda: not main(bare, "probed")["ready"])
    assert 10 <= bare.clock.monotonic() - failing <= 16
    bare.api.delete(POD, "probed")
    with pytest.raises(ConnectionRefusedError):
        bare.until(lambda: node.dial("shop", "probed", 8443) and False)


def test_deletion_waits_for_the_grace_period(bare: Bare, image: Callable[..., str]) -> None:
    """A deleted pod gets the stop signal, its grace period to end in, and is gone when it has ended or when the period is over."""
    told: list[float] = []

    def slow(container: Container) -> int:
        container.clock.wait(container.stop, None)
        told.append(container.clock.monotonic())
        container.clock.sleep(8)
        container.check()
        return 0

    bare.api.create(pod("slow", image(slow)))
    bare.until(phase(bare, "slow", "Running"))
    began = bare.clock.monotonic()
    bare.api.delete(POD, "slow", grace_s=30)
    bare.until(lambda: told)
    assert bare.api.get(POD, "slow") is not None
    bare.until(lambda: bare.api.get(POD, "slow") is None)
    assert 8 <= bare.clock.monotonic() - began <= 10
    bare.api.create(pod("slow", image(slow)))
    bare.until(phase(bare, "slow", "Running"))
    began = bare.clock.monotonic()
    bare.api.delete(POD, "slow", grace_s=2)
    bare.until(lambda: bare.api.get(POD, "slow") is None)
    assert 2 <= bare.clock.monotonic() - began <= 9


def test_killed_programs_write_no_more(bare: Bare, image: Callable[..., str]) -> None:
    """An OOM kill ends the program at its next check; the status says OOMKilled with 137, and OnFailure starts it again."""
    runs: list[Container] = []

    def program(container: Container) -> int:
        runs.append(container)
        while True:
            container.check()
            container.clock.wait(container.killed, 0.5)

    bare.api.create(pod("hungry", image(program), restart="OnFailure"))
    bare.until(phase(bare, "hungry", "Running"))
    bare.trouble.set("node", "oom", name="hungry", times=1)
    bare.until(lambda: main(bare, "hungry")["restartCount"] == 1)
    ended = main(bare, "hungry")["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert "message" not in ended
    assert len(runs) == 2
    bare.api.delete(POD, "hungry", grace_s=0)


def test_an_evicted_pod_stays_failed(bare: Bare, image: Callable[..., str]) -> None:
    """Eviction leaves the pod Failed with reason Evicted, not restarted, until somebody deletes it."""
    bare.api.create(pod("evicted", image(lasting), restart="OnFailure"))
    bare.until(phase(bare, "evicted", "Running"))
    bare.trouble.set("node", "evict", name="evicted", times=1)
    bare.until(phase(bare, "evicted", "Failed"))
    assert status(bare, "evicted")["reason"] == "Evicted"
    bare.clock.sleep(600)
    assert main(bare, "evicted")["restartCount"] == 0
    bare.api.delete(POD, "evicted")
    bare.until(lambda: bare.api.get(POD, "evicted") is None)


def test_unknown_images_are_not_pulled(bare: Bare) -> None:
    """An image without a program waits in ImagePullBackOff."""
    bare.api.create(pod("unknown", "registry.example/none:1"))
    bare.until(lambda: main(bare, "unknown").get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff")
    assert status(bare, "unknown")["phase"] == "Pending"
    bare.api.delete(POD, "unknown", grace_s=0)


def test_pods_without_a_place_stay_pending(bare: Bare, image: Callable[..., str]) -> None:
    """An order, a wrong node selector, a missing claim: PodScheduled=False, Unschedulable, with the scheduler's words."""
    bare.trouble.set("node", "refuse", name="heavy", message="1 Insufficient memory")
    bare.api.create(pod("heavy", image(lasting)))
    picky = pod("picky", image(lasting))
    picky["spec"]["nodeSelector"] = {"disk": "ssd"}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "nowhere"}}
    bare.api.create(picky, pod("lost", image(lasting), volumes=(claim,)))

    def words(name: str) -> str:
        return next((c.get("message", "") for c in status(bare, name).get("conditions", ()) if c["type"] == "PodScheduled"), "")

    bare.until(lambda: all(words(name) for name in ("heavy", "picky", "lost")))
    assert words("heavy").startswith("0/1 nodes are available: 1 Insufficient memory. ")
    assert "didn't match Pod's node affinity/selector" in words("picky")
    assert 'persistentvolumeclaim "nowhere" not found' in words("lost")
    assert "FailedScheduling" in reasons(bare, "lost")
    bare.trouble.clear()
    bare.api.merge(NODE, "east-node", {"metadata": {"labels": {"disk": "ssd"}}})
    bare.until(phase(bare, "heavy", "Running"))
    bare.until(phase(bare, "picky", "Running"))
    for name in ("heavy", "picky", "lost"):
        bare.api.delete(POD, name, grace_s=0)


def test_two_pods_share_a_claim(bare: Bare, image: Callable[..., str]) -> None:
    """Two pods of the one node may mount the same ReadWriteOnce claim, and see one another's bytes."""
    seen: list[bytes] = []

    def writer(container: Container) -> int:
        container.path("/data/word").write_bytes(b"from the writer")
        return lasting(container)

    def reader(container: Container) -> int:
        seen.append(container.path("/data/word").read_bytes())
        assert 0 < container.free_bytes("/data") < 4 << 20
        return 0

    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4Mi"}}, "storageClassName": "fast"}
    bare.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "both"}, "spec": spec})
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "both"}}
    mounts = [{"name": "data", "mountPath": "/data"}]
    bare.api.create(pod("writer", image(writer), volumes=(volume,), volumeMounts=mounts))
    bare.until(phase(bare, "writer", "Running"))
    bare.api.create(pod("reader", image(reader), volumes=(volume,), volumeMounts=mounts))
    bare.until(phase(bare, "reader", "Succeeded"))
    assert seen == [b"from the writer"]
    bare.api.delete(PVC, "both")
    bare.clock.sleep(5)
    assert bare.api.get(PVC, "both") is not None, "a claim in use must not go"
    bare.api.delete(POD, "writer", grace_s=0)
    bare.until(lambda: bare.api.get(PVC, "both") is None)


def test_logs_can_be_followed(bare: Bare, image: Callable[..., str]) -> None:
    """A followed log brings every line, also those written later, and ends with the container."""

    def program(container: Container) -> int:
        for number in range(3):
            container.log(f"line {number}")
            container.clock.wait(container.stop, 10)
        return 0

    bare.api.create(pod("talks", image(program)))
    bare.until(phase(bare, "talks", "Running"))
    node = bare.cluster.api.node
    assert node is not None
    assert list(node.logs("shop", "talks", "main", follow=True)) == [b"line 0\n", b"line 1\n", b"line 2\n"]
    assert list(node.logs("shop", "talks", "main", tail=1)) == [b"line 2\n"]
    with pytest.raises(LookupError):
        node.logs("shop", "talks", "other")
