"""Least privilege, by the audit log of a real API server: what the roles grant is what our commands use, no more and no less.

Runs last. The deeds use every right once; and all flows ran under these accounts, too: those of this session, and of those that kept
what they did in the folder of `--uses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migrate.kube.kinds import POD, VM, Kind
from migrate.kube.session import open_cluster
from migrate.lab.up import Lab
from migrate.model.errors import Refused
from migrate.steps import forwarding
from tests.accounts import OWN, audited, granted, kept_uses
from tests.flows.deeds import DEEDS, NAMESPACE, Stage
from tests.machines import disk, machine

ROLE = Kind("Role", "roles", "rbac.authorization.k8s.io")

FORWARD = (OWN, "", "pods/portforward", "get")
"""Refused once on purpose."""
WITHIN_A_GET = {(OWN, "", "pods/portforward", "create")}
"""The API server asks its authorizer for it within the GET of a websocket (1.35 and newer), and the log shows the GET."""


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Stage:
    return Stage(lab)


@pytest.fixture(autouse=True)
def cleared(stage: Stage) -> Iterator[None]:
    yield
    stage.clear()


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_the_accounts_suffice(stage: Stage, deed: Callable[[Stage], None]) -> None:
    """Each deed is done as it says, with the rights that are printed and no others."""
    deed(stage)


def test_a_port_forward_wants_create_besides(stage: Stage, lab: Lab) -> None:
    """What the log does not show is needed: with `get` alone the websocket is refused, with `create` it is opened."""
    lab.plant(
        [
            disk("forwarded-root", namespace=NAMESPACE, cluster="west"),
            machine("forwarded", ["forwarded-root"], namespace=NAMESPACE, strategy="Always", cluster="west"),
        ]
    )
    admin = lab.west.client("lab/admin").at(NAMESPACE)
    lab.until(lambda: [pod for pod in admin.list(POD) if pod["status"].get("phase") == "Running"], what="a pod")
    account = stage.accounts.kubeconfig(NAMESPACE, NAMESPACE)
    name = "kubevirt-migrate-target"
    role = admin.get(ROLE, name)
    assert role is not None
    west = open_cluster("west", kubeconfig=str(account), namespace=NAMESPACE, clock=lab.clock)
    way = forwarding.way_to(west, lambda: west.list(POD), where="west")
    admin.merge(ROLE, name, {"rules": [rule | {"verbs": [v for v in rule["verbs"] if _kept(rule, v)]} for rule in role["rules"]]})
    lab.until(lambda: not forwarding.may_forward(west))
    with pytest.raises(Refused, match="could not be forwarded") as refused:
        way.connect()
    assert refused.value.status == 403
    admin.merge(ROLE, name, {"rules": role["rules"]})
    lab.until(lambda: forwarding.may_forward(west))
    way.connect().close()
    way.close()
    west.close()
    admin.delete(VM, "forwarded")
    admin.close()


def _kept(rule: dict[str, Any], verb: str) -> bool:
    return verb != "create" or rule["resources"] != ["pods/portforward"]


def test_granted_is_used_and_nothing_was_refused(request: pytest.FixtureRequest) -> None:
    """Over all flows no right was granted in vain, and no request was forbidden; deleting is for those who retire."""
    folder = request.config.getoption("--uses")
    seen = {*audited(), *(kept_uses(folder) if folder else ())}
    assert {use for use in seen if use.forbidden and use.right != FORWARD} == set()
    for side in ("source", "target"):
        used = {use.right for use in seen if (use.side, use.purpose) == (side, "move")}
        assert granted(side, "move") - used - WITHIN_A_GET == set(), f"granted on the {side} and never used"
    copying = {use.right for use in seen if (use.side, use.purpose) == ("source", "copy")}
    assert granted("source", "copy") - copying - WITHIN_A_GET == set(), "granted for copies and never used"
    exporting = {use.right for use in seen if (use.side, use.purpose) == ("source", "export")}
    assert granted("source", "export") - exporting - WITHIN_A_GET == set(), "granted for exports by hand and never used"
    deleting = granted("source", "retire") - granted("source", "move")
    assert deleting <= {use.right for use in seen if (use.side, use.purpose) == ("source", "retire")}
