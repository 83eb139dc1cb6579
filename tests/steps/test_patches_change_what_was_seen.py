"""JSON patches for objects of others: whatever the object looks like, they lead exactly to what is wanted, or to nothing."""

from __future__ import annotations

from typing import Any

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st

from migrate.steps import patches

KEYS = st.sampled_from(["a", "kubevirt-migrate.io/was", "x~y/z", "~1"])
NOTES = st.dictionaries(KEYS, st.text(max_size=3), max_size=3)
WISHES = st.dictionaries(KEYS, st.none() | st.text(max_size=3), max_size=4)
_STRATEGIES = st.sampled_from(["Always", "Halted"])
SPECS = st.fixed_dictionaries({}, optional={"running": st.booleans(), "runStrategy": _STRATEGIES, "other": st.just(1)})


def seen(notes: dict[str, str] | None, spec: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"uid": "u", "resourceVersion": "7"}
    if notes is not None:
        metadata["annotations"] = notes
    return {"metadata": metadata, "spec": spec}


@given(notes=st.none() | NOTES, wishes=WISHES)
def test_annotations_end_as_wished(notes: dict[str, str] | None, wishes: dict[str, str | None]) -> None:
    """What is wished stands, what is None is gone, everything else is as it was; what stands already is not written."""
    obj = seen(notes, {})
    operations = patches.annotate(obj, wishes)
    after = jsonpatch.apply_patch(obj, operations)["metadata"].get("annotations", {})
    wanted = {**(notes or {}), **{key: value for key, value in wishes.items() if value is not None}}
    assert after == {key: value for key, value in wanted.items() if wishes.get(key, "") is not None}
    assert patches.annotate(seen(after or None, {}), wishes) == []


@given(spec=SPECS, strategy=st.sampled_from([("Halted", None), ("Always", None), (None, True), (None, False), (None, None)]))
def test_the_strategy_is_spelled_in_one_way(spec: dict[str, Any], strategy: tuple[str | None, bool | None]) -> None:
    """runStrategy and running never stand together, and nothing else is touched."""
    after = jsonpatch.apply_patch({"spec": spec}, patches.strategy({"spec": spec}, run_strategy=strategy[0], running=strategy[1]))["spec"]
    wanted = {"runStrategy": strategy[0], "running": strategy[1]}
    assert {key: after.get(key) for key in wanted} == wanted
    assert after.get("other") == spec.get("other")


def test_every_patch_tests_what_it_saw() -> None:
    """uid and resourceVersion come first, so that a changed object is not changed again."""
    operations = patches.guarded(seen(None, {}), [{"op": "add", "path": "/x", "value": 1}])
    assert [(one["op"], one["path"], one["value"]) for one in operations] == [
        ("test", "/metadata/uid", "u"),
        ("test", "/metadata/resourceVersion", "7"),
        ("add", "/x", 1),
    ]
