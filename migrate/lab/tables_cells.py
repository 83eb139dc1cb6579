"""The cells of builtin kinds in the tables of `kubectl get`: what a person reads there, made from the object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from migrate.lab import ages

Obj = Mapping[str, Any]
Cell = Callable[[Obj, datetime], Any]
NONE = "<none>"
UNSET = "<unset>"

_SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def at(obj: Any, *keys: str | int, default: Any = None) -> Any:
    """Return a field of an object by its path; `default` where there is none or null."""
    for key in keys:
        if isinstance(key, int):
            obj = obj[key] if isinstance(obj, list) and len(obj) > key else None
        else:
            obj = obj.get(key) if isinstance(obj, Mapping) else None
    return default if obj is None else obj


def field(*keys: str | int, default: Any = "") -> Cell:
    """Return a cell that shows one field."""
    return lambda obj, _now: at(obj, *keys, default=default)


def count(key: str) -> Cell:
    """Return a cell that counts the entries of one field."""
    return lambda obj, _now: len(at(obj, key, default=()))


def age(obj: Obj, now: datetime) -> str:
    """Return the age of an object."""
    return ages.since(at(obj, "metadata", "creationTimestamp"), now)


def modes(*keys: str) -> Cell:
    """Return a cell that shows access modes in their short form."""
    return lambda obj, _now: ",".join(_SHORT_MODES.get(mode, mode) for mode in at(obj, *keys, default=()))


def phase(obj: Obj, _now: datetime) -> str:
    """Return the phase, or that the object is going."""
    return "Terminating" if at(obj, "metadata", "deletionTimestamp") else at(obj, "status", "phase", default="")


def claim(obj: Obj, _now: datetime) -> str:
    """Return the claim that a volume is for."""
    namespace, name = at(obj, "spec", "claimRef", "namespace"), at(obj, "spec", "claimRef", "name")
    return f"{namespace}/{name}" if name else ""


def name(obj: Obj) -> str:
    """Return what stands in the name column: default storage classes say that they are."""
    marks = at(obj, "metadata", "annotations", default={})
    default = obj.get("kind") == "StorageClass" and marks.get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{at(obj, 'metadata', 'name', default='')}{' (default)' if default else ''}"


def ready(obj: Obj, _now: datetime) -> str:
    """Return how many containers of a pod are ready."""
    statuses = at(obj, "status", "containerStatuses", default=())
    return f"{sum(bool(s.get('ready')) for s in statuses)}/{len(at(obj, 'spec', 'containers', default=()))}"


def pod_status(obj: Obj, _now: datetime) -> str:
    """Return the one word for the state of a pod, as kubectl chooses it."""
    reason = at(obj, "status", "reason") or at(obj, "status", "phase", default="")
    running = False
    for condition in at(obj, "status", "conditions", default=()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    for status in reversed(at(obj, "status", "containerStatuses", default=())):
        waiting, ended = at(status, "state", "waiting", "reason"), at(status, "state", "terminated")
        if waiting:
            reason = waiting
        elif ended is not None:
            signal = ended.get("signal")
            reason = ended.get("reason") or (f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode', 0)}")
        elif status.get("ready") and at(status, "state", "running") is not None:
            running = True
    if reason == "Completed" and running:
        reason = "Running" if has_condition(obj, "Ready") else "NotReady"
    if at(obj, "metadata", "deletionTimestamp"):
        return "Unknown" if at(obj, "status", "reason") == "NodeLost" else "Terminating"
    return str(reason)


def has_condition(obj: Obj, kind: str) -> bool:
    """Tell whether a condition is True."""
    return any(c["type"] == kind and c["status"] == "True" for c in at(obj, "status", "conditions", default=()))


def restarts(obj: Obj, now: datetime) -> str:
    """Return how often the containers of a pod restarted, and when last."""
    statuses = at(obj, "status", "containerStatuses", default=())
    total = sum(s.get("restartCount", 0) for s in statuses)
    ends = [end for s in statuses if (end := at(s, "lastState", "terminated", "finishedAt"))]
    return f"{total} ({ages.since(max(ends), now)} ago)" if total and ends else str(total)


def gates(obj: Obj, _now: datetime) -> str:
    """Return how many readiness gates of a pod are open."""
    gates = at(obj, "spec", "readinessGates", default=())
    if not gates:
        return NONE
    return f"{sum(has_condition(obj, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"


def external(obj: Obj, _now: datetime) -> str:
    """Return the addresses of a service from outside."""
    kind = at(obj, "spec", "type")
    points = [p.get("ip") or p.get("hostname") for p in at(obj, "status", "loadBalancer", "ingress", default=())]
    if kind == "ExternalName":
        return str(at(obj, "spec", "externalName", default=NONE))
    addresses = [*points, *at(obj, "spec", "externalIPs", default=())]
    return ",".join(addresses) or ("<pending>" if kind == "LoadBalancer" else NONE)


def ports(obj: Obj, _now: datetime) -> str:
    """Return the ports of a service."""
    texts = []
    for port in at(obj, "spec", "ports", default=()):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(texts) or NONE


def selector(obj: Obj, _now: datetime) -> str:
    """Return the selector of a service."""
    return ",".join(f"{key}={value}" for key, value in at(obj, "spec", "selector", default={}).items()) or NONE


def endpoints(obj: Obj, _now: datetime) -> str:
    """Return the first three addresses behind a service."""
    texts = []
    for subset in at(obj, "subsets", default=()):
        ports = [port["port"] for port in subset.get("ports") or ()]
        texts += [f"{a['ip']}:{port}" for a in subset.get("addresses") or () for port in ports]
    return ",".join(texts[:3]) + (f" + {len(texts) - 3} more..." if len(texts) > 3 else "") or NONE


def last_seen(obj: Obj, now: datetime) -> str:
    """Return how long ago an event was last seen."""
    last = at(obj, "series", "lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime") or obj.get("firstTimestamp")
    return ages.since(last, now)


def about(obj: Obj, _now: datetime) -> str:
    """Return what an event is about."""
    subject = at(obj, "involvedObject", default={})
    return f"{subject.get('kind', '').lower()}/{subject.get('name', '')}"


def source(obj: Obj, _now: datetime) -> str:
    """Return who recorded an event."""
    parts = [at(obj, "source", "component") or obj.get("reportingComponent") or "", at(obj, "source", "host", default="")]
    return ", ".join(part for part in parts if part)


def node_status(obj: Obj, _now: datetime) -> str:
    """Return whether a node is ready and takes pods."""
    known = [c for c in at(obj, "status", "conditions", default=()) if c["type"] == "Ready"]
    words = [("Ready" if c["status"] == "True" else "NotReady") for c in known] or ["Unknown"]
    return ",".join([*words, *(["SchedulingDisabled"] if at(obj, "spec", "unschedulable") else [])])


def roles(obj: Obj, _now: datetime) -> str:
    """Return the roles of a node."""
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(key.removeprefix(prefix) for key in at(obj, "metadata", "labels", default={}) if key.startswith(prefix))) or NONE


def used(part: str) -> Cell:
    """Return a cell that shows the requests (or the limits) of a quota."""

    def cell(obj: Obj, _now: datetime) -> str:
        hard, used = at(obj, "status", "hard", default={}), at(obj, "status", "used", default={})
        return ", ".join(f"{k}: {used.get(k, 0)}/{hard[k]}" for k in sorted(hard) if k.startswith("limits.") == (part == "limits"))

    return cell


def hosts(obj: Obj, _now: datetime) -> str:
    """Return the hosts of an ingress."""
    return ",".join(rule["host"] for rule in at(obj, "spec", "rules", default=()) if rule.get("host")) or "*"


def points(obj: Obj, _now: datetime) -> str:
    """Return the addresses of an ingress."""
    return ",".join(p.get("ip") or p.get("hostname", "") for p in at(obj, "status", "loadBalancer", "ingress", default=()))


def role_ref(obj: Obj, _now: datetime) -> str:
    """Return the role of a binding."""
    return f"{at(obj, 'roleRef', 'kind')}/{at(obj, 'roleRef', 'name')}"


def created(obj: Obj, _now: datetime) -> str:
    """Return when the object was created."""
    return str(at(obj, "metadata", "creationTimestamp", default=ages.UNKNOWN))


def completions(obj: Obj, _now: datetime) -> str:
    """Return how many pods of a job succeeded."""
    return f"{at(obj, 'status', 'succeeded', default=0)}/{at(obj, 'spec', 'completions', default=1)}"


def job_status(obj: Obj, _now: datetime) -> str:
    """Return how a job stands."""
    found = (word for word in ("Complete", "Failed", "Suspended") if has_condition(obj, word))
    return next(found, "Running")


def controller(obj: Obj, _now: datetime) -> str:
    """Return who controls the object, as kind/name."""
    owners = at(obj, "metadata", "ownerReferences", default=())
    return next((f"{owner['kind'].lower()}/{owner['name']}" for owner in owners if owner.get("controller")), NONE)


def ingress_ports(obj: Obj, _now: datetime) -> str:
    """Return the ports on which an ingress listens."""
    return "80, 443" if at(obj, "spec", "tls") else "80"


def api_service(obj: Obj, _now: datetime) -> str:
    """Return the service behind an API version, `Local` for the server itself."""
    service = at(obj, "spec", "service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "Local"


def available(obj: Obj, _now: datetime) -> str:
    """Return whether an API version answers."""
    return str(has_condition(obj, "Available"))
