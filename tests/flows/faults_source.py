"""Faults of the source: its export, the pod behind it, the proxy before it."""

from __future__ import annotations

from tests.flows.faults import Harm, fault, ordered
from tests.flows.flow import Flow


@fault()
def proxy_502(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "proxy", "refuse", status=502, volume=f"{flow.name}-root", times=3):
        yield
