"""Templates frame what Python has decided: strict, parsed back, and checked before anything is sent.

Scalars go through `tojson`, which writes JSON that every YAML parser reads as the same value, so no name, label or token can change
the structure around it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import yaml

from migrate.model.errors import UsageError
from migrate.model.objects import dig

Manifest = dict[str, Any]

KINDS = {
    "source/export-token.yaml.j2": "Secret",
    "source/export.yaml.j2": "VirtualMachineExport",
    "source/snapshot.yaml.j2": "VirtualMachineSnapshot",
    "target/namespace.yaml.j2": "Namespace",
    "target/ca.yaml.j2": "ConfigMap",
    "target/header.yaml.j2": "Secret",
    "target/secret.yaml.j2": "Secret",
    "target/configmap.yaml.j2": "ConfigMap",
    "target/datavolume.yaml.j2": "DataVolume",
    "target/state.yaml.j2": "DataVolume",
    "target/vm.yaml.j2": "VirtualMachine",
    "target/record.yaml.j2": "ConfigMap",
    "target/claim.yaml.j2": "Lease",
}
"""What each template makes; a user's own template of that name must make the same."""

ABSENT = object()
"""As a pinned value: the field must not be there."""

_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that YAML takes for line breaks, byte order marks or errors, and JSON leaves as they are."""


class Renderer:
    """Renders templates from folders; the first folder that has the name wins (the user's before ours)."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._environment = _environment(tuple(map(str, folders)))

    def render(self, template: str, **context: object) -> tuple[Manifest, ...]:
        """Return the one manifest of a template. `context` comes from rendering/frames.py: it always has name, namespace, labels, pins.

        Raises UsageError when the template is broken or its result is not what was asked for.
        """
        text, where = self._text(template, context)
        manifest = _parse(text, where=where)
        faults = list(_faults(manifest, template, context))
        if faults:
            raise UsageError(
                f"the template {template} made something else than it was asked for",
                where=where,
                why="; ".join(faults),
                now="let the template keep these fields as they are given to it",
            )
        return (manifest,)

    def text(self, template: str, **context: object) -> str:
        """Return what a template makes as it stands, comments and all, for a person to read. Raises UsageError when it is broken."""
        return self._text(template, context)[0]

    def _text(self, template: str, context: Mapping[str, object]) -> tuple[str, str]:
        where = template
        try:
            found = self._environment.get_template(template)
            where = found.filename or template
            return found.render(**context), where
        except jinja2.TemplateNotFound as error:
            raise UsageError(f"there is no template {error.name}", now="this installation is not whole; install it anew") from None
        except jinja2.TemplateSyntaxError as error:
            raise _broken(template, f"{error.filename or where}, line {error.lineno}", error.message or "") from None
        except jinja2.UndefinedError as error:
            raise _broken(template, where, error.message or "") from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise _broken(template, where, type(error).__name__) from None


@functools.cache
def _environment(folders: tuple[str, ...]) -> jinja2.Environment:
    """Return what compiles templates, and keeps them: a process with many migrations compiles each once."""
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["tojson"] = tojson
    return made


def tojson(value: object) -> str:
    """Write a value as JSON that YAML reads as the same value. Raises TypeError for what has no place in a manifest."""
    match value:
        case bool() | None:
            return json.dumps(value)
        case str():
            # str() and int() strip enum types, whose repr would be no JSON
            return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(str(value), ensure_ascii=False))
        case int():
            return str(int(value))
        case float():
            # without a point, YAML 1.1 takes 1e-07 for a word
            text = json.dumps(value, allow_nan=False)
            return text if "." in text or "e" not in text else text.replace("e", ".0e")
        case Mapping():
            return "{" + ", ".join(f"{tojson(_key(key))}: {tojson(entry)}" for key, entry in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(tojson(entry) for entry in value) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError("keys of a manifest are words")
    return key


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the C parser takes a tenth of the time
    """Safe YAML without double keys, of which PyYAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(set(map(str, keys))) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _parse(text: str, *, where: str) -> Manifest:
    """Parse one document. The complaint never quotes the text: it may hold a token."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_StrictLoader) if document is not None]
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1} of the result" if error.problem_mark else ""
        raise _broken(where, where + line, str(error.problem or "not YAML")) from None
    except yaml.YAMLError:
        raise _broken(where, where, "the result holds characters that YAML forbids") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise _broken(where, where, f"the result has {len(documents)} documents, wanted is one object")
    try:
        json.dumps(documents[0], allow_nan=False)
    except (TypeError, ValueError):
        raise _broken(where, where, "the result holds a value that JSON cannot carry, such as an unquoted date") from None
    return documents[0]


def _faults(manifest: Manifest, template: str, context: Mapping[str, object]) -> Iterable[str]:
    kind = KINDS.get(template)
    if kind is not None and manifest.get("kind") != kind:
        yield f"kind is {manifest.get('kind')}, not {kind}"
    if not isinstance(manifest.get("apiVersion"), str):
        yield "apiVersion is missing"
    for key in ("name", "namespace"):
        if dig(manifest, "metadata", key, default="") != context[key]:
            yield f"metadata.{key} is not {context[key]}"
    labels = dig(manifest, "metadata", "labels", default={})
    for key, value in _mapping(context["labels"]).items():
        if not isinstance(labels, Mapping) or labels.get(key) != value:
            yield f"the label {key} is not {value}"
    for path, value in _mapping(context["pins"]).items():
        found = dig(manifest, *path, default=ABSENT)
        if value is ABSENT and found is not ABSENT:
            yield f"{'.'.join(path)} must not be set"
        elif value is not ABSENT and found != value:
            yield f"{'.'.join(path)} is not as given"


def _mapping(value: object) -> Mapping[Any, object]:
    assert isinstance(value, Mapping)
    return value


def _broken(template: str, where: str, why: str) -> UsageError:
    return UsageError(f"the template {template} is broken", where=where, why=why, now="mend it, or install it anew to have ours back")
