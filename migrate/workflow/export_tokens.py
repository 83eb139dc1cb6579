"""The token of an export that a person makes: chosen at random, in a Secret that goes with the export."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import SECRET
from migrate.model.clock import Clock
from migrate.model.errors import Conflict, Stalled
from migrate.model.objects import Object, name_of
from migrate.reading.exports import goes_with_another
from migrate.rendering import exports as rendering
from migrate.steps import exporting

LENGTH = 20
LOOK_S = 1.0
PATIENCE_S = 120.0
"""The garbage collector takes the Secret of a deleted export within seconds, on a busy cluster within a minute."""


def name_for(export: str) -> str:
    """Return the name of the Secret that we make for an export: virtctl's."""
    return f"secret-{export}"


def of(cluster: Cluster, export: Object, secret: str) -> str:
    """Return the token in a Secret; "" while there is none, or only one that goes with an earlier export of the same name."""
    found = cluster.get(SECRET, secret) if secret else None
    return exporting.secret_text(found) if found is not None and not goes_with_another(found, export) else ""


def make(cluster: Cluster, clock: Clock, export: Object, *, tell: Callable[[str], None]) -> None:
    """See to it that our Secret is there. One of an earlier export of the same name is waited for until it is gone; others stay.

    Raises Stalled when it does not go.
    """
    secret, end, said = name_for(name_of(export)), clock.monotonic() + PATIENCE_S, False
    while True:
        found = cluster.get(SECRET, secret)
        if found is not None and not goes_with_another(found, export):
            return
        if found is None:
            text = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(LENGTH))
            try:
                found = cluster.create(rendering.token(secret, text, owner=export), there_ok=True)[0]
            except Conflict:
                found = None
            if found is not None and not goes_with_another(found, export):
                return
        if clock.monotonic() > end:
            raise Stalled(
                f"Secret {secret} belongs to an earlier export of the same name and does not go",
                where=f"{cluster.context}, namespace {cluster.namespace}",
                why="the cluster has not collected it, or a finalizer holds it",
                now=f"see its finalizers, or remove it: kubectl delete secret {secret}; then run the same again",
            )
        if not said:
            tell(f"waiting until Secret {secret} of the earlier export is gone")
            said = True
        clock.sleep(LOOK_S)
