"""No value, however nasty, changes the structure around it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.errors import UsageError
from migrate.rendering.render import Renderer, tojson

NASTY = [
    "",
    "no",
    "null",
    "~",
    "0o17",
    "1e3",
    "22:00",
    "2001-01-01",
    "a: b",
    "- a",
    "a\nb: c",
    'x"\ny: z #',
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "'",
    "\\",
    "\u2028\x85\x00\x7f\ufeff",
    "</script>&<>",
    "💾",
    "!!python/object:os.system",
    "&a",
    "*a",
    "%YAML",
    "---",
    "...",
]
texts = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(exclude_categories=()), max_size=30), st.text("\n\r: -#'\"{}[]&*!|>%@`,?\t", max_size=20)
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


@given(values)
def test_every_value_comes_back_as_it_was(value: object) -> None:
    """What goes through tojson is read by YAML as the same value, and nothing beside it is touched."""
    text = f"before: 1\nhere: {tojson(value)}\nlist:\n- {tojson(value)}\nafter: 2\n"
    assert yaml.safe_load(text) == {"before": 1, "here": value, "list": [value], "after": 2}


@given(texts, texts)
def test_a_rendered_manifest_holds_exactly_its_values(folder_value: str, other: str) -> None:
    """A template's manifest has the given name, label and data, whatever is in them."""
    context = {
        "name": folder_value,
        "namespace": other,
        "labels": {"k": other},
        "annotations": {"a": other},
        "pins": {("data",): {"x": folder_value}},
        "data": {"x": folder_value},
        "migration": None,
    }
    (manifest,) = Renderer([Path(__file__).parents[2] / "templates"]).render("target/record.yaml.j2", **context)
    assert manifest == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": folder_value, "namespace": other, "labels": {"k": other}, "annotations": {"a": other}},
        "data": {"x": folder_value},
    }


@pytest.mark.parametrize("value", [object(), {1: 2}, {3.0}, b"x"])
def test_what_is_no_json_is_refused(value: object) -> None:
    """Sets, bytes, objects and keys that are no words have no place in a manifest."""
    with pytest.raises(TypeError):
        tojson(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_a_value_are_refused(value: float) -> None:
    """NaN and infinity have no place in a manifest."""
    with pytest.raises(ValueError, match="JSON"):
        tojson(value)


def test_bad_values_in_a_template_are_usage_errors(tmp_path: Path) -> None:
    """A template that is given such a value fails as an error of the family."""
    (tmp_path / "x.j2").write_text("a: {{ labels | tojson }}")
    with pytest.raises(UsageError):
        Renderer([tmp_path]).render("x.j2", name="a", namespace="b", labels={1: 2}, pins={})
