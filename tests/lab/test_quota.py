"""A quota lets in what fits and refuses the rest in the server's words."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.lab import quota
from tests.lab.kinds_under_test import manifest, resource


def claim(size: str, name: str = "fast") -> dict[str, Any]:
    return manifest("PersistentVolumeClaim", spec={"storageClassName": name, "resources": {"requests": {"storage": size}}})


def pod(*containers: dict[str, Any], **rest: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": f"c{n}", "resources": resources} for n, resources in enumerate(containers)], **rest}
    return manifest("Pod", spec=spec)


def limits(name: str = "q", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


def hard(**amounts: str) -> dict[str, Any]:
    return limits(hard={key.replace("__", "/").replace("_", "."): value for key, value in amounts.items()})


def check(quotas: list[dict[str, Any]], obj: dict[str, Any], *present: dict[str, Any], old: dict[str, Any] | None = None) -> str | None:
    used = quota.usage((resource(o["kind"]), o) for o in present)
    return quota.check(quotas, resource(obj["kind"]), obj, used, old=old)


def test_claim_beyond_the_storage_quota_is_refused() -> None:
    """The message names the quota, what was asked, used and allowed."""
    assert check([hard(requests_storage="15Gi", persistentvolumeclaims="9")], claim("10Gi"), claim("10Gi")) == (
        "exceeded quota: q, requested: requests.storage=10Gi, used: requests.storage=10Gi, limited: requests.storage=15Gi"
    )


def test_claim_that_just_fits_is_let_in() -> None:
    """The limit itself is allowed."""
    assert check([hard(requests_storage="20Gi")], claim("10Gi"), claim("10Gi")) is None


def test_every_exceeded_key_is_listed() -> None:
    """Several keys are joined by commas, in order."""
    quotas = [hard(persistentvolumeclaims="1", requests_storage="1Gi")]
    assert check(quotas, claim("2Gi"), claim("1Gi")) == (
        "exceeded quota: q, requested: persistentvolumeclaims=1,requests.storage=2Gi, "
        "used: persistentvolumeclaims=1,requests.storage=1Gi, limited: persistentvolumeclaims=1,requests.storage=1Gi"
    )


def test_storage_classes_have_quotas_of_their_own() -> None:
    """Only claims of that class count."""
    key = "fast.storageclass.storage.k8s.io/requests.storage"
    quotas = [limits(hard={key: "5Gi", "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "9"})]
    assert check(quotas, claim("5Gi"), claim("100Gi", "slow")) is None
    assert check(quotas, claim("6Gi", "slow")) is None
    assert check(quotas, claim("1Gi"), claim("5Gi")) == f"exceeded quota: q, requested: {key}=1Gi, used: {key}=5Gi, limited: {key}=5Gi"


def test_growing_a_claim_counts_only_the_growth() -> None:
    """On update the old cost is given back."""
    quotas = [hard(requests_storage="10Gi", persistentvolumeclaims="1")]
    assert check(quotas, claim("10Gi"), claim("4Gi"), old=claim("4Gi")) is None
    assert check(quotas, claim("11Gi"), claim("4Gi"), old=claim("4Gi")) == (
        "exceeded quota: q, requested: requests.storage=7Gi, used: requests.storage=4Gi, limited: requests.storage=10Gi"
    )
    assert check(quotas, claim("1Gi"), claim("40Gi"), old=claim("40Gi")) is None


def test_objects_of_any_kind_can_be_counted() -> None:
    """count/* works for builtin and custom kinds."""
    vm = manifest("VirtualMachine")
    assert check([limits(hard={"count/virtualmachines.kubevirt.io": "1"})], vm, vm) == (
        "exceeded quota: q, requested: count/virtualmachines.kubevirt.io=1, "
        "used: count/virtualmachines.kubevirt.io=1, limited: count/virtualmachines.kubevirt.io=1"
    )
    secret = manifest("Secret")
    assert check([limits(hard={"secrets": "1", "count/secrets": "5"})], secret, secret) is not None
    assert check([limits(hard={"secrets": "1"})], secret) is None


def test_pods_count_their_requests_and_limits() -> None:
    """Containers add up; the largest init container counts when it is larger."""
    big = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    quotas = [hard(requests_cpu="1", limits_memory="3Gi")]
    assert check(quotas, pod(big, big)) is None
    assert (
        check(quotas, pod(big, big, big))
        == "exceeded quota: q, requested: requests.cpu=1500m, used: requests.cpu=0, limited: requests.cpu=1"
    )
    init = {"name": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}}}
    assert (
        check(quotas, pod(big, initContainers=[init]))
        == "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1"
    )


def test_finished_pods_are_free() -> None:
    """Only the object count remains of a pod that ended."""
    done = {**pod({}), "status": {"phase": "Succeeded"}}
    assert check([hard(pods="1")], pod({}), done) is None
    assert check([hard(pods="1")], pod({}), pod({})) is not None
    assert check([hard(count__pods="1")], pod({}), done) is not None


def test_pods_must_state_what_is_limited() -> None:
    """A quota on compute refuses containers that do not say what they need."""
    quotas = [hard(requests_memory="1Gi", limits_cpu="2")]
    assert check(quotas, pod({"requests": {"memory": "1Mi"}}, {"limits": {"cpu": 1}})) == (
        "failed quota: q: must specify limits.cpu for: c0; requests.memory for: c1"
    )


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        ({"scopes": ["Terminating"]}, False),
        ({"scopes": ["NotTerminating"]}, True),
        ({"scopes": ["BestEffort"]}, True),
        ({"scopes": ["NotBestEffort"]}, False),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}, False),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}, True),
    ],
)
def test_scopes_choose_the_pods(spec: dict[str, Any], counts: bool) -> None:
    """A quota with scopes judges only pods inside them."""
    assert (check([limits(hard={"pods": "0"}, **spec)], pod({})) is not None) is counts


def test_status_shows_used_of_each_limit() -> None:
    """Keys that nothing uses are zero."""
    used = quota.usage([(resource("PersistentVolumeClaim"), claim("1Gi")), (resource("PersistentVolumeClaim"), claim("2Gi"))])
    assert quota.status(hard(requests_storage="5Gi", pods="1"), used) == {
        "hard": {"requests.storage": "5Gi", "pods": "1"},
        "used": {"requests.storage": "3Gi", "pods": "0"},
    }
