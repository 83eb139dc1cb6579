"""References to virtual machines: CONTEXT:NAMESPACE/NAME and its shorter forms."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migrate.model.errors import UsageError

FORMS = "CONTEXT:NAMESPACE/NAME, NAMESPACE/NAME or NAME"
TARGET_FORMS = "CONTEXT:NAMESPACE/NAME, CONTEXT:NAMESPACE, CONTEXT, NAMESPACE/NAME or NAME"

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class VMRef:
    """CONTEXT:NAMESPACE/NAME. Contexts may hold `:` and `/` (cloud ARNs, OpenShift names); object names may not."""

    context: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.context}:{self.namespace}/{self.name}"

    def virtctl(self, verb: str) -> str:
        """Return the command that starts or stops this very VM, for a shell: the one on the other side mostly has the same name."""
        return f"virtctl --context {shlex.quote(self.context)} -n {self.namespace} {verb} {self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """CONTEXT[:NAMESPACE]: where to look for migrations."""

    context: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the text itself says; None where it is silent."""

    context: str | None
    namespace: str | None
    name: str | None


def parse_ref(
    text: str,
    *,
    contexts: Sequence[str],
    current: str | None,
    namespace_of: Callable[[str], str],
    source: VMRef | None = None,
) -> VMRef:
    """Read a reference to a VM, as a user wrote it on the command line.

    With `source` the text names a target: its missing namespace and name are the source's. Without it the text names a source and
    must name a VM. `namespace_of` gives the default namespace of a context. Raises UsageError.
    """
    where = "the source reference" if source is None else "the target reference"
    parts = _split(text, contexts=contexts, where=where, forms=FORMS if source is None else TARGET_FORMS)
    if source is not None and parts.context is None and parts.namespace is None:
        _guard_mistyped_context(text, contexts=contexts, where=where)
    context = parts.context if parts.context is not None else _current(current, text=text, where=where)
    if source is not None:
        return VMRef(context, parts.namespace or source.namespace, parts.name or source.name)
    if parts.name is None:
        raise UsageError(
            f'"{text}" names no VM',
            where=where,
            why=f"it names a {'namespace' if parts.namespace else 'context'} only",
            now=f"write {context}:{parts.namespace or 'NAMESPACE'}/NAME",
        )
    return VMRef(context, parts.namespace or namespace_of(context), parts.name)


def parse_place(text: str, *, contexts: Sequence[str]) -> Place:
    """Read CONTEXT or CONTEXT:NAMESPACE. Raises UsageError."""
    where = "the place"
    parts = _split(text, contexts=contexts, where=where, forms="CONTEXT or CONTEXT:NAMESPACE")
    if parts.context is None:
        raise _unknown_context(text, contexts=contexts, where=where)
    if parts.name is not None:
        raise _malformed(text, "it names a VM", where=where, forms="CONTEXT or CONTEXT:NAMESPACE")
    return Place(parts.context, parts.namespace)


def _split(text: str, *, contexts: Sequence[str], where: str, forms: str) -> _Parts:
    if text in contexts:
        return _Parts(text, None, None)
    context, colon, rest = text.rpartition(":")
    if not colon:
        if not text:
            raise _malformed(text, "it is empty", where=where, forms=forms)
        namespace, name = _place(text, whole=text, where=where, forms=forms)
        return _Parts(None, namespace, name)
    if not context:
        raise _malformed(text, "the context before the colon is empty", where=where, forms=forms)
    if context not in contexts:
        raise _unknown_context(context, contexts=contexts, where=where)
    if "/" in rest:
        namespace, name = _place(rest, whole=text, where=where, forms=forms)
        return _Parts(context, namespace, name)
    _check(rest, _NAMESPACE, 63, what="namespace", whole=text, where=where, forms=forms)
    return _Parts(context, rest, None)


def _place(rest: str, *, whole: str, where: str, forms: str) -> tuple[str | None, str | None]:
    """Cut NAMESPACE/NAME or NAME, both checked."""
    namespace, slash, name = rest.rpartition("/")
    if slash:
        _check(namespace, _NAMESPACE, 63, what="namespace", whole=whole, where=where, forms=forms)
    _check(name, _NAME, 253, what="VM name", whole=whole, where=where, forms=forms)
    return (namespace if slash else None), name


def _check(word: str, pattern: re.Pattern[str], limit: int, *, what: str, whole: str, where: str, forms: str) -> None:
    if not word:
        raise _malformed(whole, f"the {what} is empty", where=where, forms=forms)
    if len(word) > limit:
        raise _malformed(whole, f"the {what} is longer than {limit} characters", where=where, forms=forms)
    if not pattern.fullmatch(word):
        why = f'"{word}" is no {what}: small letters, digits and dashes only, a letter or digit at both ends'
        raise _malformed(whole, why, where=where, forms=forms)


def _malformed(text: str, why: str, *, where: str, forms: str) -> UsageError:
    return UsageError(f'"{text}" is not a reference', where=where, why=why, now=f"write {forms}")


def _unknown_context(context: str, *, contexts: Sequence[str], where: str) -> UsageError:
    known = ", ".join(sorted(contexts)) or "none"
    close = difflib.get_close_matches(context, contexts, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return UsageError(
        f'there is no context "{context}"',
        where=where,
        why=f"the kubeconfig has these contexts: {known}",
        now=f"{hint}use one of them, or name another file with --kubeconfig",
    )


def _guard_mistyped_context(word: str, *, contexts: Sequence[str], where: str) -> None:
    """Refuse a bare word that looks like a context: as a VM name it would send the machine to the wrong cluster."""
    close = difflib.get_close_matches(word, contexts, n=1, cutoff=0.75)
    if close:
        raise UsageError(
            f'"{word}" could be a mistyped context',
            where=where,
            why=f'there is a context "{close[0]}", and "{word}" alone would name a VM in the current context',
            now=f"write {close[0]} for the context, or NAMESPACE/{word} for the VM",
        )


def _current(current: str | None, *, text: str, where: str) -> str:
    if current:
        return current
    raise UsageError(
        f'"{text}" names no context',
        where=where,
        why="the kubeconfig has no current context",
        now=f"write CONTEXT:{text if '/' in text else 'NAMESPACE/' + text}",
    )
