"""Identity towards the API server: user agent, impersonation, field manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate import __version__
from migrate.kube.kinds import POD
from migrate.kube.session import open_cluster
from migrate.model.errors import UsageError
from tests.kube.conftest import Opener
from tests.kube.small_server import SmallServer, trusting, write_kubeconfig


def test_impersonation_is_honoured(server: SmallServer, opened: Opener) -> None:
    """`as`, `as-uid`, `as-groups` and `as-user-extra` become headers: a call never runs with more rights than asked for."""
    opened(
        {"token": "t", "as": "jane", "as-uid": "u1", "as-groups": ["dev", "ops"], "as-user-extra": {"example.org/Scope": ["a", "b"]}}
    ).get(POD, "a")
    headers = server.requests[0].headers
    assert headers["Impersonate-User"] == "jane"
    assert headers["Impersonate-Uid"] == "u1"
    assert headers.get_all("Impersonate-Group") == ["dev", "ops"]
    assert headers.get_all("Impersonate-Extra-example.org%2Fscope") == ["a", "b"]


@pytest.mark.parametrize("user", [{"as-groups": ["a"]}, {"as-uid": "u"}, {"as": "a", "as-groups": "b"}])
def test_half_an_impersonation_is_refused(opened: Opener, user: dict[str, object]) -> None:
    """Groups without a user would be dropped by the server, and the call would run with our own rights."""
    with pytest.raises(UsageError, match="as-"):
        opened(user)


def test_the_user_agent_names_us_and_our_version(server: SmallServer, opened: Opener) -> None:
    """Audit logs show who it was; writes are ours in managedFields."""
    opened().create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})
    assert server.requests[0].headers["User-Agent"] == f"kubevirt-migrate/{__version__}"
    assert server.requests[0].query == {"fieldManager": "kubevirt-migrate", "fieldValidation": "Strict"}


def test_a_lab_component_writes_under_its_own_name(server: SmallServer, tmp_path: Path) -> None:
    """managedFields of lab objects name the component that wrote them, as in a real cluster."""
    path = write_kubeconfig(tmp_path / "config", cluster=trusting(server))
    east = open_cluster("east", kubeconfig=path, user_agent="lab/virt-controller")
    east.merge(POD, "a", {"metadata": {}})
    assert server.requests[0].query == {"fieldManager": "virt-controller"}
    east.close()
