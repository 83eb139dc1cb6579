"""Judge an object that was read back after a write went wrong: is it what we wanted, and which test of a patch did not hold?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migrate.model.labels import ID, MANAGED_BY, OWNER, is_ours

_ABSENT = object()


def same_object(live: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Tell whether `live` is the object that we tried to create.

    What carries our mark is recognised by mark and id; what does not must hold all that we sent.
    """
    labels = (sent.get("metadata") or {}).get("labels") or {}
    if labels.get(MANAGED_BY) == OWNER and ID in labels:
        return is_ours(dict(live), labels[ID])
    return covers(live, sent)


def covers(live: object, sent: object) -> bool:
    """Tell whether `live` holds everything in `sent`: servers add defaults, they do not drop what they accepted."""
    if isinstance(sent, Mapping):
        return isinstance(live, Mapping) and all(
            covers(live.get(key, _ABSENT), value) for key, value in sent.items() if value not in (None, {}, []) and key != "stringData"
        )
    if isinstance(sent, list):
        return isinstance(live, list) and len(live) >= len(sent) and all(map(covers, live, sent))
    return live == sent


def failed_tests(operations: Sequence[Mapping[str, Any]], live: Mapping[str, Any] | None) -> str:
    """Return a sentence on the `test` operations of a JSON patch that do not hold for `live`; "" if all do.

    Only tests ahead of the first change are looked at: later ones see the changed object.
    """
    if live is None:
        return ""
    said = []
    secret = live.get("kind") == "Secret"
    for operation in operations:
        if operation.get("op") != "test":
            break
        found = _at(live, str(operation.get("path", "")))
        if found is _ABSENT:
            said.append(f"{operation['path']} is absent")
        elif found != operation.get("value") and secret:
            said.append(f"{operation['path']} is not as expected")
        elif found != operation.get("value"):
            said.append(f"{operation['path']} is {_short(found)}, expected {_short(operation.get('value'))}")
    return "; ".join(said)


def _at(document: object, pointer: str) -> object:
    """Follow a JSON pointer (RFC 6901)."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document.get(key, _ABSENT)
        elif isinstance(document, list) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            return _ABSENT
    return document


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
