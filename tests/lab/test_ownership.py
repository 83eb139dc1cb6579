"""Server-side apply shares an object between managers, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab import ownership
from migrate.lab.fieldset import decode, encode
from migrate.lab.ownership import ApplyConflict, ApplyRefused
from tests.lab.kinds_under_test import manifest, resource

Obj = dict[str, Any]


def _schema(obj: Obj) -> dict[str, Any]:
    return resource(obj["kind"]).schema_for(obj["apiVersion"].rpartition("/")[2])


def applied(
    live: Obj | None, config: Obj, manager: str = "us", *, force: bool = False, now: str = "t1", ignored: tuple[str, ...] = ()
) -> Obj:
    schema, version = _schema(config), config["apiVersion"]
    return ownership.apply(live, config, manager=manager, force=force, schema=schema, api_version=version, now=now, ignored=ignored)


def updated(live: Obj | None, new: Obj, manager: str = "controller", *, now: str = "t2", subresource: str = "") -> Obj:
    schema, version = _schema(new), new["apiVersion"]
    return ownership.track(live, new, manager=manager, api_version=version, now=now, schema=schema, subresource=subresource)


def owners(obj: Obj) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())}


def config(**data: str) -> Obj:
    return manifest("ConfigMap", data=data) if data else manifest("ConfigMap")


def pod(*containers: Obj, **fields: Any) -> Obj:
    return manifest("Pod", spec={"containers": list(containers)}, **fields)


def test_apply_owns_what_it_says() -> None:
    """A new object belongs to its applier, without what nobody owns."""
    obj = applied(None, {**config(a="1"), "metadata": {"name": "a", "namespace": "shop", "labels": {"x": "y"}}})
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "us",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": "t1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}},
        }
    ]


def test_create_by_update_owns_the_containers_of_fields_too() -> None:
    """A plain create tracks maps themselves with a dot."""
    assert owners(updated(None, config(a="1"))) == {"controller": {"f:data": {".": {}, "f:a": {}}}}


def test_applying_again_changes_nothing() -> None:
    """The same configuration is a no-op, its time included."""
    once = applied(None, config(a="1"))
    assert applied(once, config(a="1"), now="t9") == once


def test_field_of_another_manager_is_a_conflict_in_the_servers_words() -> None:
    """Changing a value that kubectl set is refused and names owner and field."""
    live = updated(None, config(a="1"), "kubectl-client-side-apply")
    with pytest.raises(ApplyConflict) as clash:
        applied(live, config(a="2"))
    assert str(clash.value) == 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a'
    assert clash.value.causes == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-client-side-apply" using v1', "field": ".data.a"}
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    """Each manager has its block of paths; an applier is named without a version."""
    live = applied(updated(None, config(a="1", b="1"), "kubectl-edit"), config(c="1"), "argocd")
    with pytest.raises(ApplyConflict) as clash:
        applied(live, config(a="2", b="2", c="2"))
    assert str(clash.value) == (
        'Apply failed with 3 conflicts: conflicts with "argocd":\n- .data.c\nconflicts with "kubectl-edit" using v1:\n- .data.a\n- .data.b'
    )


def test_conflicts_name_list_items_by_their_keys() -> None:
    """Paths into keyed lists show the key."""
    live = applied(None, pod({"name": "main", "image": "a", "ports": [{"containerPort": 80, "name": "http"}]}), "other")
    with pytest.raises(ApplyConflict) as clash:
        applied(live, pod({"name": "main", "image": "b", "ports": [{"containerPort": 80, "name": "web"}]}))
    assert [path for _, path in clash.value.conflicts] == [
        '.spec.containers[name="main"].image',
        '.spec.containers[name="main"].ports[containerPort=80,protocol="TCP"].name',
    ]


def test_force_takes_the_field_over() -> None:
    """With force the value changes hands; a manager left with nothing disappears."""
    obj = applied(updated(None, config(a="1", b="1"), "kubectl-edit"), config(a="2"), force=True)
    assert obj["data"] == {"a": "2", "b": "1"}
    assert owners(obj) == {"us": {"f:data": {"f:a": {}}}, "kubectl-edit": {"f:data": {".": {}, "f:b": {}}}}
    sole = applied(applied(None, config(a="1"), "old"), config(a="2"), force=True)
    assert list(owners(sole)) == ["us"]


def test_same_value_is_shared_without_conflict() -> None:
    """Two appliers of one value own it together, and it stays until both let go."""
    both = applied(applied(None, config(a="1"), "them"), config(a="1"))
    assert set(owners(both)) == {"us", "them"}
    one = applied(both, config())
    assert one["data"] == {"a": "1"}
    assert "data" not in applied(one, config(), "them")


def test_field_that_we_stop_applying_goes() -> None:
    """What only we owned is removed, what others own stays."""
    live = updated(applied(None, config(a="1", b="1")), {**applied(None, config(a="1", b="1")), "data": {"a": "1", "b": "1", "c": "1"}})
    assert applied(live, config(a="1"))["data"] == {"a": "1", "c": "1"}


def test_update_takes_fields_from_their_owner() -> None:
    """A controller that changes our field owns it from then on; we see a conflict at the next apply."""
    live = applied(None, config(a="1", b="1"))
    live = updated(live, {**live, "data": {"a": "2", "b": "1"}})
    assert owners(live) == {"us": {"f:data": {"f:b": {}}}, "controller": {"f:data": {"f:a": {}}}}
    with pytest.raises(ApplyConflict):
        applied(live, config(a="1", b="1"))


def test_update_that_removes_a_field_removes_it_from_its_owners() -> None:
    """Deleted fields belong to nobody."""
    live = applied(None, config(a="1", b="1"))
    assert owners(updated(live, {**live, "data": {"b": "1"}})) == {"us": {"f:data": {"f:b": {}}}}


def test_update_without_a_change_is_not_noted() -> None:
    """Writing back what was read leaves no trace."""
    live = applied(None, config(a="1"))
    assert updated(live, live) == live


def test_updates_are_told_apart_by_subresource_and_time_moves_only_with_fields() -> None:
    """Status writes have an entry of their own; the entry of others keeps its time."""
    live = updated(None, pod({"name": "main", "image": "a"}), now="t1")
    live = updated(live, {**live, "status": {"phase": "Running"}}, now="t2", subresource="status")
    assert [(e["manager"], e.get("subresource"), e["time"]) for e in live["metadata"]["managedFields"]] == [
        ("controller", None, "t1"),
        ("controller", "status", "t2"),
    ]


def test_keyed_lists_merge_and_keep_the_order_of_the_configuration() -> None:
    """Containers of two appliers live side by side; each removes only its own."""
    live = applied(None, pod({"name": "a", "image": "a"}, {"name": "z", "image": "z"}), "them")
    live = applied(live, pod({"name": "b", "image": "b"}, {"name": "a", "image": "a"}))
    assert [c["name"] for c in live["spec"]["containers"]] == ["b", "a", "z"]
    live = applied(live, pod({"name": "a", "image": "a"}))
    assert [c["name"] for c in live["spec"]["containers"]] == ["a", "z"]
    live = applied(live, pod(), "them")
    assert [c["name"] for c in live["spec"]["containers"]] == ["a"]


def test_finalizers_are_a_set() -> None:
    """Each manager owns the finalizers that it applied."""
    first = config()
    first["metadata"]["finalizers"] = ["x/a"]
    second = config()
    second["metadata"]["finalizers"] = ["x/b"]
    live = applied(applied(None, first, "them"), second)
    assert live["metadata"]["finalizers"] == ["x/a", "x/b"]
    assert owners(live)["us"] == {"f:metadata": {"f:finalizers": {'v:"x/b"': {}}}}
    assert applied(live, config())["metadata"]["finalizers"] == ["x/a"]


def test_atomic_lists_have_one_owner() -> None:
    """The volumes of a VM are one field: whoever changes one changes all."""
    spec = {"domain": {"devices": {}}, "volumes": [{"name": "a", "emptyDisk": {"capacity": "1Gi"}}]}
    vm = manifest("VirtualMachine", spec={"template": {"spec": spec}})
    live = applied(None, vm)
    assert owners(live)["us"]["f:spec"]["f:template"]["f:spec"]["f:volumes"] == {}
    other = manifest("VirtualMachine", spec={"template": {"spec": {"volumes": []}}})
    with pytest.raises(ApplyConflict) as clash:
        applied(live, other, "them")
    assert [path for _, path in clash.value.conflicts] == [".spec.template.spec.volumes"]


def test_untracked_object_belongs_to_a_manager_of_its_own_at_the_first_apply() -> None:
    """What was there before tracking is not up for grabs."""
    live = config(a="1")
    with pytest.raises(ApplyConflict, match="before-first-apply"):
        applied(live, config(a="2"))


def test_managed_fields_can_be_reset() -> None:
    """Sending [{}] forgets all owners; sending nothing keeps them."""
    live = applied(None, config(a="1"))
    reset = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert "managedFields" not in updated(live, reset)["metadata"]
    bare = {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}
    assert owners(updated(live, bare)) == owners(live)


def test_ignored_fields_are_neither_written_nor_owned() -> None:
    """A status in a configuration for the main endpoint has no effect."""
    vm = manifest("VirtualMachine", spec={"template": {"spec": {"domain": {"devices": {}}}}}, status={"created": True})
    obj = applied(None, vm, ignored=("status",))
    assert "status" not in obj
    assert "f:status" not in owners(obj)["us"]


@pytest.mark.parametrize(
    ("obj", "code", "message"),
    [
        (
            manifest("VirtualMachine", spec={"template": {"spec": {"domian": {}}}}),
            500,
            "failed to create typed patch object (shop/a; kubevirt.io/v1, Kind=VirtualMachine): "
            ".spec.template.spec.domian: field not declared in schema",
        ),
        (
            manifest("ConfigMap", dota={}, data={"a": 1}),
            500,
            "failed to create typed patch object (shop/a; /v1, Kind=ConfigMap): errors:\n"
            "  .dota: field not declared in schema\n  .data.a: expected string, got &{1}",
        ),
        (
            pod({"image": "x"}),
            500,
            "failed to create typed patch object (shop/a; /v1, Kind=Pod): .spec.containers: element 0: associative list with keys has "
            'an element that omits key field "name" (and doesn\'t have default value)',
        ),
        ({**config(), "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}}, 400, "metadata.managedFields must be nil"),
    ],
)
def test_configuration_that_does_not_fit_is_refused(obj: Obj, code: int, message: str) -> None:
    """Unknown fields, wrong types and missing keys are named as the real server names them."""
    with pytest.raises(ApplyRefused) as refusal:
        applied(None, obj)
    assert (refusal.value.code, refusal.value.message) == (code, message)


keys = st.sampled_from("abcd")
data = st.dictionaries(keys, st.sampled_from("12"), max_size=4)
elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
paths = st.lists(elements, min_size=1, max_size=3).map(tuple)


@given(st.frozensets(paths, max_size=8))
def test_field_sets_survive_being_written(fields: frozenset[tuple[str, ...]]) -> None:
    """decode(encode(x)) is x."""
    assert decode(encode(fields)) == fields


@given(data, data, data)
def test_apply_with_force_leaves_exactly_what_somebody_wants(first: dict[str, str], second: dict[str, str], third: dict[str, str]) -> None:
    """After two appliers and a change of mind: our values win, theirs stay, what only we wanted before is gone."""
    live = applied(applied(None, config(**first), "them"), config(**second), force=True)
    live = applied(live, config(**third), force=True)
    theirs = {key: value for key, value in first.items() if second.get(key, value) == value}
    shared = {key: value for key, value in theirs.items() if key not in third}
    assert live.get("data", {}) == {**shared, **third}
    assert applied(live, config(**third), now="t9") == live


@given(st.dictionaries(keys, st.sampled_from("12"), min_size=1), data)
def test_update_keeps_every_present_field_owned(first: dict[str, str], second: dict[str, str]) -> None:
    """Whatever is in the data after a create and an update has exactly one owner."""
    live = updated(None, config(**first), "one")
    live = updated(live, {**{k: v for k, v in live.items() if k != "data"}, **({"data": second} if second else {})}, "two")
    owned = [key for fields in owners(live).values() for key in fields.get("f:data", {}) if key != "."]
    assert sorted(owned) == sorted(f"f:{key}" for key in second)
