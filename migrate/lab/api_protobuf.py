"""Request bodies in Kubernetes' protobuf encoding, which kubectl's typed commands send without asking (`create secret`, `auth can-i`).

Only requests are read, and only the kinds that such commands send; answers go out as JSON, which those clients accept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"

_TEXT = """
ObjectMeta: 1 name, 2 generateName, 3 namespace, 5 uid, 6 resourceVersion, 11 labels map string, 12 annotations map string,
  13 ownerReferences list OwnerReference, 14 finalizers list string
OwnerReference: 1 kind, 3 name, 4 uid, 5 apiVersion, 6 controller bool, 7 blockOwnerDeletion bool
ObjectReference: 1 kind, 2 namespace, 3 name, 4 uid, 5 apiVersion, 6 resourceVersion, 7 fieldPath
LocalReference: 1 name
Quantity: 1 text
ConfigMap: 1 metadata ObjectMeta, 2 data map string, 3 binaryData map bytes, 4 immutable bool
Secret: 1 metadata ObjectMeta, 2 data map bytes, 3 type, 4 stringData map string, 5 immutable bool
Namespace: 1 metadata ObjectMeta
ServiceAccount: 1 metadata ObjectMeta, 2 secrets list ObjectReference, 3 imagePullSecrets list LocalReference,
  4 automountServiceAccountToken bool
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec
TokenRequestSpec: 1 audiences list string, 3 boundObjectRef BoundObject, 4 expirationSeconds int
BoundObject: 1 kind, 2 apiVersion, 3 name, 4 uid
Rule: 1 verbs list string, 2 apiGroups list string, 3 resources list string, 4 resourceNames list string, 5 nonResourceURLs list string
Role: 1 metadata ObjectMeta, 2 rules list Rule
ClusterRole: 1 metadata ObjectMeta, 2 rules list Rule
Subject: 1 kind, 2 apiGroup, 3 name, 4 namespace
RoleRef: 1 apiGroup, 2 kind, 3 name
RoleBinding: 1 metadata ObjectMeta, 2 subjects list Subject, 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects list Subject, 3 roleRef RoleRef
ResourceQuota: 1 metadata ObjectMeta, 2 spec ResourceQuotaSpec
ResourceQuotaSpec: 1 hard map Quantity, 2 scopes list string
PriorityClass: 1 metadata ObjectMeta, 2 value int, 3 globalDefault bool, 4 description, 5 preemptionPolicy
Service: 1 metadata ObjectMeta, 2 spec ServiceSpec
ServiceSpec: 1 ports list ServicePort, 2 selector map string, 3 clusterIP, 4 type, 7 sessionAffinity, 10 externalName
ServicePort: 1 name, 2 protocol, 3 port int, 4 targetPort IntOrString, 5 nodePort int
IntOrString: 1 type int, 2 number int, 3 text
ResourceAttributes: 1 namespace, 2 verb, 3 group, 4 version, 5 resource, 6 subresource, 7 name
NonResourceAttributes: 1 path, 2 verb
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessSpec
SubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessSpec
LocalSubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessSpec
AccessSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes, 3 user, 4 groups list string, 6 uid
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec RulesSpec
RulesSpec: 1 namespace
SelfSubjectReview: 1 metadata ObjectMeta
TokenReview: 1 metadata ObjectMeta, 2 spec TokenReviewSpec
TokenReviewSpec: 1 token, 2 audiences list string
DeleteOptions: 1 gracePeriodSeconds int, 2 preconditions Preconditions, 3 orphanDependents bool, 4 propagationPolicy, 5 dryRun list string
Preconditions: 1 uid, 2 resourceVersion
Eviction: 1 metadata ObjectMeta, 2 deleteOptions DeleteOptions
Event: 1 metadata ObjectMeta, 2 involvedObject ObjectReference, 3 reason, 4 message, 5 source EventSource, 6 firstTimestamp Time,
  7 lastTimestamp Time, 8 count int, 9 type, 12 action, 14 reportingComponent, 15 reportingInstance
EventSource: 1 component, 2 host
Time: 1 seconds int, 2 nanos int
Unknown: 1 typeMeta TypeMeta, 2 raw bytes, 4 contentType
TypeMeta: 1 apiVersion, 2 kind
"""
_ZERO_COUNTS = frozenset(
    {"gracePeriodSeconds", "orphanDependents", "immutable", "automountServiceAccountToken", "controller", "blockOwnerDeletion", "value"}
)
"""Fields whose zero is not the same as their absence."""


class Undecodable(ValueError):
    """The bytes are no protobuf, or of a kind that is not known here."""


def _read_table() -> dict[str, dict[int, tuple[str, ...]]]:
    table: dict[str, dict[int, tuple[str, ...]]] = {}
    for line in _TEXT.replace("\n  ", " ").strip().splitlines():
        name, _, fields = line.partition(": ")
        table[name] = {}
        for field in fields.split(", "):
            number, *words = field.split()
            table[name][int(number)] = tuple(words)
    return table


_MESSAGES = _read_table()


def decode(data: bytes) -> dict[str, Any]:
    """Return the object of a request body. Raises Undecodable."""
    if not data.startswith(_MAGIC):
        raise Undecodable("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        whole = _message("Unknown", data[len(_MAGIC) :])
        meta = whole["typeMeta"]
        if meta["kind"] not in _MESSAGES:
            raise Undecodable(f"no protobuf definition of {meta['kind']} here; send application/json")
        return {**meta, **_message(meta["kind"], base64.b64decode(whole.get("raw", "")))}
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise Undecodable(f"invalid protobuf message: {error!r}") from error


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise Undecodable("invalid protobuf message: it is cut short")
                yield tag >> 3, data[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case _:
                raise Undecodable("invalid protobuf message: unknown wire type")


def _message(kind: str, data: bytes) -> dict[str, Any]:
    known = _MESSAGES[kind]
    found: dict[str, Any] = {}
    for number, raw in _fields(data):
        if number not in known:
            continue
        name, *words = known[number]
        match words:
            case ["list", inner]:
                found.setdefault(name, []).append(_value(inner, raw))
            case ["map", inner]:
                pair = dict(_fields(raw if isinstance(raw, bytes) else b""))
                key = pair.get(1, b"")
                found.setdefault(name, {})[key.decode() if isinstance(key, bytes) else str(key)] = _value(inner, pair.get(2, b""))
            case _:
                value = _value(words[0] if words else "string", raw)
                if value not in ("", 0, False, None, {}) or name in _ZERO_COUNTS:
                    found[name] = value
    return found


def _value(kind: str, raw: int | bytes) -> Any:
    if isinstance(raw, int):
        if kind == "bool":
            return bool(raw)
        if kind != "int":
            raise Undecodable("invalid protobuf message: a number where bytes belong")
        return raw - (1 << 64) if raw >> 63 else raw
    match kind:
        case "string":
            return raw.decode()
        case "bytes":
            return base64.b64encode(raw).decode()
        case "int" | "bool":
            raise Undecodable("invalid protobuf message: bytes where a number belongs")
        case "Quantity":
            return _message(kind, raw).get("text", "0")
        case "IntOrString":
            both = _message(kind, raw)
            return both.get("text", "") if both.get("type") else both.get("number", 0)
        case "Time":
            seconds = _message(kind, raw).get("seconds")
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
        case _:
            return _message(kind, raw)
