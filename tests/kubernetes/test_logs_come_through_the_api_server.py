"""Logs of the lab's pods, asked of the real API server, which asks the node's door."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import POD
from migrate.lab.up import Lab
from migrate.model.errors import MigrateError
from migrate.model.objects import name_of
from tests.machines import disk, machine


def test_a_log_is_what_the_program_said(lab: Lab) -> None:
    """The launcher of a running machine: its log, the beginning of it, and the refusal for a container that it has not."""
    lab.plant([disk("chatty-root"), machine("chatty", ["chatty-root"], strategy="Always")])
    api = lab.east.client("lab/user").at("shop")

    def launcher() -> str:
        named = [name_of(pod) for pod in api.list(POD) if name_of(pod).startswith("virt-launcher-chatty-")]
        return named[0] if named else ""

    lab.until(lambda: launcher() and api.log_text(launcher()), what="the launcher's log")
    assert api.log_text(launcher()) == "Domain shop/chatty started, boot 1\n"
    path = f"/api/v1/namespaces/shop/pods/{launcher()}/log"
    assert api.call("GET", f"{path}?limitBytes=6") == "Domain"
    with pytest.raises(MigrateError, match="container none is not valid for pod"):
        api.call("GET", f"{path}?container=none")
    api.close()
