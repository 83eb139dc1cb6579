"""From the bytes of a request body to an object, noticing what Python's parsers swallow: a key that is given twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml


class Malformed(ValueError):
    """The body is no object that the API can read; the text is the server's reason."""


class _Twice(dict[str, Any]):
    """An object whose JSON text named some keys more than once (the last one counts)."""

    __slots__ = ("names",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.names = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else _Twice(pairs)


def parse_json(text: bytes | str) -> tuple[Any, tuple[str, ...]]:
    """Return the value and the paths of keys given twice. Raise Malformed when it is no JSON."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, UnicodeDecodeError) as error:
        raise Malformed(f"invalid character in JSON: {error}") from error
    twice = tuple(dict.fromkeys(_twice(value, "")))
    return (_plain(value) if twice else value), twice


def _twice(value: Any, path: str) -> Iterator[str]:
    match value:
        case dict():
            if isinstance(value, _Twice):
                yield from (f"{path}.{name}" if path else name for name in value.names)
            for key, item in value.items():
                yield from _twice(item, f"{path}.{key}" if path else key)
        case list():
            for number, item in enumerate(value):
                yield from _twice(item, f"{path}[{number}]")


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


class _Loader(yaml.SafeLoader):
    """YAML as the API reads it: JSON's types only (a timestamp stays text), every key a string, doubled keys noted."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    return _pairs([(_key(loader.construct_object(key, deep=True)), loader.construct_object(value, deep=True)) for key, value in node.value])


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: bytes | str) -> tuple[Any, tuple[str, ...]]:
    """Return the value and the paths of keys given twice, from YAML or JSON. Raise Malformed when it is neither."""
    raw = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    if raw.lstrip()[:1] == "{":
        try:
            return parse_json(raw)
        except Malformed:
            pass
    try:
        value = yaml.load(raw, Loader=_Loader)
    except yaml.YAMLError as error:
        raise Malformed(f"error decoding YAML: {error}") from error
    twice = tuple(dict.fromkeys(_twice(value, "")))
    return (_plain(value) if twice else value), twice
