"""Checks of a VM that keeps TPM and EFI variables on a claim of its own: whether the target's guest will find them there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from migrate.model.facts import Facts
from migrate.model.migration import Identity, Migration
from migrate.model.objects import Object, dig
from migrate.rendering.findings import Finding, at, block

_EXPORTS_STATE = (1, 5)
"""Release from which KubeVirt exports that claim with its VM, and looks for it by a label."""


def check_state(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what keeps the state from being found: TPM state is kept by firmware uuid, EFI variables by the VM's name."""
    state = next((disk for disk in m.disks if disk.archive), None)
    if state is None:
        return
    lost = "without it BitLocker asks for its recovery key and secure boot forgets its keys"
    if m.source.name != m.target.name:
        yield block(
            f"a VM with persistent TPM or EFI keeps its name, and {m.target.name} is another one",
            where=at(facts.target),
            why=f"its EFI variables lie on {state.pvc} under the name {m.source.name}; {lost}",
            now=f"name no other target than {m.target.context}:{m.target.namespace}/{m.source.name}",
        )
    if m.copies:
        yield block(
            "a VM with persistent TPM or EFI is not copied while it goes on",
            where=at(facts.source),
            why=f"its state lies on {state.pvc} and belongs to one machine, by firmware uuid and name; {lost}",
            now="move it instead (--method cold), or set persistent to false on a VM that can do without",
        )
    elif m.identity is Identity.NEW:
        yield block(
            "a VM with persistent TPM or EFI cannot get a new identity",
            where=at(facts.source),
            why=f"its TPM state lies on {state.pvc} under its firmware uuid; {lost}",
            now="say --identity keep, and never run both; or set persistent to false on a VM that can do without",
        )
    for side in (facts.source, facts.target):
        if (release := _release(side.kubevirt)) and release < _EXPORTS_STATE:
            yield block(
                f"KubeVirt {release[0]}.{release[1]} does not export TPM and EFI state",
                where=f"context {side.context}",
                why=f"{state.pvc} is offered with its VM, and found by its label, since 1.5",
                now="update KubeVirt there, or set persistent to false on a VM that can do without",
            )
    if facts.states_there:
        yield block(
            f"the target has a claim for the TPM and EFI state of {m.target.name} already",
            where=at(facts.target),
            why=f"KubeVirt would take {', '.join(facts.states_there)} or ours, and says nowhere which",
            now="delete it if it is not needed, or move to another namespace",
        )


def _release(kubevirt: Object | None) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", str(dig(kubevirt, "status", "observedKubeVirtVersion", default="")))
    return (int(found[1]), int(found[2])) if found is not None else None
