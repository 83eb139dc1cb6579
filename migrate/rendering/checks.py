"""All that is wrong, at once and before anything is changed. Pure: judges the facts that check-both collected.

The checks are grouped by what they look at: the machine, its snapshot, the two clusters, what is on the target already, references, TPM and
EFI state, storage and quota.
"""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.errors import Problem
from migrate.model.facts import Facts
from migrate.model.migration import Migration
from migrate.rendering.checks_clusters import check_clusters
from migrate.rendering.checks_machine import check_machine
from migrate.rendering.checks_quota import check_quota
from migrate.rendering.checks_references import check_references
from migrate.rendering.checks_snapshot import check_snapshot
from migrate.rendering.checks_state import check_state
from migrate.rendering.checks_storage import check_storage
from migrate.rendering.checks_target import check_target
from migrate.rendering.checks_users import check_users
from migrate.rendering.findings import Finding, Severity

_CHECKS = (
    check_machine,
    check_snapshot,
    check_users,
    check_clusters,
    check_target,
    check_references,
    check_state,
    check_storage,
    check_quota,
)


def findings(facts: Facts, migration: Migration) -> list[Finding]:
    """Return everything found, blocked ones first, each group in a stable order."""
    found: list[Finding] = []
    for check in _CHECKS:
        found.extend(check(facts, migration))
    return sorted(found, key=lambda finding: finding.severity is not Severity.BLOCKED)


def blocking(found: Sequence[Finding]) -> tuple[Problem, ...]:
    """Return the problems that make the move impossible."""
    return tuple(finding.problem for finding in found if finding.severity is Severity.BLOCKED)


def warnings(found: Sequence[Finding]) -> tuple[Problem, ...]:
    """Return the problems that the user should know of."""
    return tuple(finding.problem for finding in found if finding.severity is Severity.WARNING)
