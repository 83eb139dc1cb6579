"""Request bodies are read as the API reads them: no key given twice goes unnoticed, and YAML means JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab.schema_text import Malformed, parse_json, parse_yaml

values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_json_reads_as_json_with_nothing_twice(value: object) -> None:
    """What json.dumps wrote comes back, and no duplicate is reported."""
    assert parse_json(json.dumps(value)) == (value, ())


@given(st.dictionaries(st.text(max_size=5), values, max_size=3))
def test_yaml_takes_json_too(value: object) -> None:
    """JSON is accepted where YAML is."""
    assert parse_yaml(json.dumps(value).encode()) == (value, ())


def test_keys_given_twice_are_reported_with_their_path() -> None:
    """The last value counts, the path names the place, lists included."""
    value, twice = parse_json(b'{"spec":{"a":1,"a":2},"items":[{"x":{"b":1,"b":1}}],"spec2":{}}')
    assert value == {"spec": {"a": 2}, "items": [{"x": {"b": 1}}], "spec2": {}}
    assert twice == ("spec.a", "items[0].x.b")
    assert all(type(part) is dict for part in (value, value["spec"]))


def test_yaml_keys_given_twice_are_reported() -> None:
    """YAML has the same rule."""
    assert parse_yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n") == ({"a": 3, "b": {"c": 2}}, ("a", "b.c"))


def test_yaml_keeps_timestamps_as_text_and_keys_as_strings() -> None:
    """Only JSON's types come out of YAML."""
    assert parse_yaml("t: 2026-01-01T00:00:00Z\n1: x\ntrue: y\n") == ({"t": "2026-01-01T00:00:00Z", "1": "x", "true": "y"}, ())


def test_yaml_merge_keys_are_resolved() -> None:
    """Anchors and merge keys are plain data after reading."""
    assert parse_yaml("a: &x {k: 1}\nb: {<<: *x, l: 2}\n") == ({"a": {"k": 1}, "b": {"k": 1, "l": 2}}, ())


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe{}", b"nope"])
def test_what_is_no_json_is_malformed(text: bytes) -> None:
    """Broken bodies are refused."""
    with pytest.raises(Malformed):
        parse_json(text)


def test_what_is_no_yaml_is_malformed() -> None:
    """Broken YAML is refused."""
    with pytest.raises(Malformed):
        parse_yaml("a: [1, 2")
