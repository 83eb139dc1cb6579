"""Faults of the target: its CDI, its nodes, its storage; and bytes that arrive wrong."""

from __future__ import annotations

from tests.flows.faults import Harm, fault, ordered
from tests.flows.flow import Flow


@fault(disks=("root", "data"))
def wrong_disk(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "swap", volume=f"{flow.name}-root") as order:
        flow.when("create-target", "", lambda: flow.lab.east.trouble.clear(order))
        yield
