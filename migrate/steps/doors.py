"""Where exports of a side will be reached, foretold before the source is stopped, and tried with the CA that will be shipped."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, INGRESS, ROUTE, SECRET
from migrate.model.errors import Problem, Unreachable, UsageError
from migrate.model.inventory import ExportHost, Trust
from migrate.model.objects import dig
from migrate.reading.exporthost import FoundHost, host_of, judge
from migrate.steps.base import Crossing
from migrate.steps.exporting import secret_text
from migrate.transfer.export_client import NotTrusted

ROOT_CA = "kube-root-ca.crt"


@dataclass(frozen=True, slots=True)
class Door:
    """The host of a side's exports, as far as we may see it."""

    host: ExportHost | None
    pem: str = ""
    """The certificates that its links will name; "" = none, or we may not look."""
    denied: bool = False
    """We may not look at the Ingresses of the KubeVirt namespace, so nothing can be foretold."""

    @property
    def url(self) -> str:
        """Return a URL of the host that anybody may ask for."""
        assert self.host is not None
        return f"https://{self.host.host}/healthz"


def find_door(x: Crossing, cluster: Cluster, kubevirt_namespace: str) -> Door:
    """Follow KubeVirt's own rules to the host: Ingress first, then Route (kubevirt-export section 2, Links)."""
    if not cluster.can("list", INGRESS, kubevirt_namespace):
        return Door(None, denied=True)
    ingresses = cluster.list(INGRESS, kubevirt_namespace)
    see_routes = cluster.serves(ROUTE) is not None and cluster.can("list", ROUTE, kubevirt_namespace)
    routes = cluster.list(ROUTE, kubevirt_namespace) if see_routes else []
    found = host_of(ingresses, routes)
    if found is None:
        return Door(None)
    pem = _certificates(cluster, found, kubevirt_namespace)
    trust = Trust.GOOD if pem is None else judge(pem, host=found.host, now=x.clock.now())
    return Door(ExportHost(found.host, found.via, trust), pem or "")


def try_door(x: Crossing, door: Door, *, ca_given: str, side: str) -> Problem | None:
    """Knock with the CA that will be shipped: the user's, else what the links will say. None = it opens, or there is nothing to try.

    The importers of the target need the source's door, and this machine needs both for the proof. Trouble of the wire is an answer here,
    so it is caught.
    """
    if door.host is None or not (door.pem or ca_given):
        return None
    where = f"{side}, {door.host.via}, host {door.host.host}"
    option = f"--{side}-ca FILE"
    try:
        x.connect(ca_given or door.pem, "").probe(door.url)
    except NotTrusted as error:
        return Problem(
            "the export host shows a certificate that is not to be trusted", where=where, why=error.why, now=f"give its CA with {option}"
        )
    except UsageError as error:
        return Problem(error.what, where=where, why=error.why, now=f"give PEM text with {option}")
    except Unreachable as error:
        return Problem(error.what, where=where, why=error.why, now=error.now)
    return None


def _certificates(cluster: Cluster, found: FoundHost, namespace: str) -> str | None:
    """Return the PEM text that KubeVirt reads for a host; None where we may not look."""
    if found.via.startswith("Route"):
        if not cluster.can("get", CONFIGMAP, namespace, name=ROOT_CA):
            return None
        return str(dig(cluster.get(CONFIGMAP, ROOT_CA, namespace), "data", "ca.crt", default=""))
    if not found.secret:
        return ""
    if not cluster.can("get", SECRET, namespace, name=found.secret):
        return None
    return secret_text(cluster.get(SECRET, found.secret, namespace), "tls.crt")
