"""Checks of the two clusters: what they serve, what we may do, whether and under which certificate disks can leave them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from migrate.model.facts import Facts, Side
from migrate.model.inventory import Trust, no_external_link
from migrate.model.migration import Migration, Verify
from migrate.model.objects import Object, dig
from migrate.rendering.findings import Finding, Severity, at, block, warn

_GATES = {"VirtualMachineExport": "VMExport", "VirtualMachineSnapshot": "Snapshot"}
"""Feature gates of KubeVirt that must be open for a kind to do anything."""


def check_clusters(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what is found about both clusters."""
    proof = m.options.verify is not Verify.OFF and bool(m.disks)
    yield from _served(facts, m, proof)
    purpose = " --for copy" if m.copies else ""
    for word, side in (("source", facts.source), ("target", facts.target)):
        if side.denied:
            yield block(
                f"permissions are missing: {', '.join(side.denied)}",
                where=at(side),
                why=f"context {side.context} may not",
                now=f"ask for these verbs; migrate rbac {word} --namespace {side.namespace}{purpose} prints roles that have them",
            )
    target = facts.target
    if not target.namespace_exists and not m.options.create_namespace:
        remedy = "create it, or say --create-namespace"
        yield block(f"there is no namespace {target.namespace} on the target", where=at(target), now=remedy)
    if m.disks:
        yield from _exports(facts.source, "--source-ca")
    if proof and target.host is None and target.forwards:
        yield warn(
            "the target's disks are read for the proof through its API server (port-forward)",
            where=f"context {target.context}",
            why="its exports have no link from outside: no Ingress or Route leads to virt-exportproxy",
            now="nothing; but every byte passes the API server, so prefer --verify sample for large disks",
        )
    elif proof:
        yield from _exports(target, "--target-ca")
    for what, words in facts.refused:
        yield block(
            f"the target refuses {what} (server-side dry run)", where=at(target), why=words, now="cure what it says, then run again"
        )


def _served(facts: Facts, m: Migration, proof: bool) -> Iterator[Finding]:
    source, target = facts.source, facts.target
    wanted = [
        (source, "VirtualMachine", "KubeVirt"),
        (source, "VirtualMachineExport", "KubeVirt's export API"),
        (target, "VirtualMachine", "KubeVirt"),
        (target, "DataVolume", "CDI"),
    ]
    if proof:
        wanted.append((target, "VirtualMachineExport", "KubeVirt's export API (the proof reads the target's disks through it)"))
    if m.copies:
        wanted.append((source, "VirtualMachineSnapshot", "KubeVirt's snapshot API"))
    if m.copies and m.disks:
        wanted.append((source, "VolumeSnapshot", "the snapshot API of the storage (CRDs of snapshot.storage.k8s.io)"))
    for side, kind, what in wanted:
        if kind not in side.served:
            yield block(f"{what} is missing", where=f"context {side.context}", why=f"it serves no {kind}", now="install it, then run again")
        elif kind in _GATES and not gate_open(side.kubevirt, _GATES[kind]):
            does = "exports" if kind == "VirtualMachineExport" else "snapshots"
            yield block(
                f"the feature gate {_GATES[kind]} is off",
                where=f"context {side.context}",
                why=f"KubeVirt {_version_text(side.kubevirt)} {does} nothing without it",
                now=f"add {_GATES[kind]} to spec.configuration.developerConfiguration.featureGates of the KubeVirt object",
            )


def gate_open(kubevirt: Object | None, gate: str = "VMExport") -> bool:
    """Tell whether a gate is open: by default since 1.6, only when listed before; exports always since 1.9 (reference section 0).

    An object that we could not see counts as open: the export itself will tell.
    """
    if kubevirt is None:
        return True
    developer = dig(kubevirt, "spec", "configuration", "developerConfiguration", default={})
    listed, disabled = developer.get("featureGates") or (), developer.get("disabledFeatureGates") or ()
    found = re.match(r"v?(\d+)\.(\d+)", _version_text(kubevirt))
    if found is None:
        return gate not in disabled
    version = (int(found[1]), int(found[2]))
    if version >= (1, 9) and gate == "VMExport":
        return True
    return gate not in disabled if version >= (1, 6) else gate in listed


def _version_text(kubevirt: Object | None) -> str:
    return str(dig(kubevirt, "status", "observedKubeVirtVersion", default=""))


def _exports(side: Side, option: str) -> Iterator[Finding]:
    """Foretell the external links of a side and whether their host can be trusted."""
    if side.host is None:
        found = no_external_link("exports will have no external links", where=f"context {side.context}")
        if option == "--target-ca":
            found = replace(
                found, now=f"{found.now}; or allow get and create of pods/portforward there, and the proof goes through the API server"
            )
        yield Finding(Severity.BLOCKED, found)
        return
    where = f"context {side.context}, {side.host.via}, host {side.host.host}"
    if side.given is not None:
        if side.given not in {Trust.GOOD, Trust.LEAF_ONLY}:
            why = f"its certificates are {side.given.value} for this host"
            yield block(
                f"the file given with {option} does not help", where=where, why=why, now=f"give the CA of the host with {option} FILE"
            )
        return
    words = {
        Trust.EMPTY: "the Secret with its certificate is missing or empty, so links will name no CA",
        Trust.MALFORMED: "what the Secret holds is not a certificate, so links will name no CA",
        Trust.FOREIGN: "no certificate in the Secret is for this host, so links will name a wrong CA",
        Trust.EXPIRED: "no certificate in the Secret is valid now",
    }
    if side.host.trust in words:
        yield block("the export host cannot be trusted", where=where, why=words[side.host.trust], now=f"give its CA with {option} FILE")
    elif side.host.trust is Trust.LEAF_ONLY:
        why = "the Secret holds the host's own certificate without its CA: the move fails if it is renewed meanwhile"
        yield warn("links will name a certificate, not a CA", where=where, why=why, now=f"give its CA with {option} FILE to be safe")
