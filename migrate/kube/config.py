"""kubeconfig files: found, merged and checked as kubectl does it, with errors that name the file, the line and the nearest context.

The official loader is given one clean stanza afterwards (`credentials.py`); its own merging takes `current-context` from the last file
instead of the first, skips missing files in silence and answers malformed ones with a traceback.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrate.model.errors import UsageError

DEFAULT = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Stanza:
    """What one context says. Relative file names count from the folder of the file that holds the stanza."""

    context: str
    namespace: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    user_name: str
    cluster_folder: Path
    user_folder: Path

    @property
    def server(self) -> str:
        return str(self.cluster.get("server") or "").rstrip("/")


@dataclass(frozen=True, slots=True)
class _Entry:
    body: Mapping[str, Any]
    file: Path


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """The merged files. The first file that names a context, cluster or user wins, and so does the first current-context."""

    contexts: Mapping[str, _Entry]
    clusters: Mapping[str, _Entry]
    users: Mapping[str, _Entry]
    current: str
    files: tuple[Path, ...]

    def stanza(self, context: str | None) -> Stanza:
        """Return one context's stanza; None means the current context. Raise UsageError if it is unknown or incomplete."""
        name = context or self.current
        if not name:
            raise UsageError(
                "no context is named, and the kubeconfig has no current-context", where=self.place, now=f"Name one of: {self._known()}."
            )
        entry = self.contexts.get(name)
        if entry is None:
            raise UsageError(f'there is no context "{name}"', where=self.place, now=self._nearest(name))
        cluster_name, user_name = str(entry.body.get("cluster") or ""), str(entry.body.get("user") or "")
        cluster = self.clusters.get(cluster_name)
        if cluster is None:
            raise _broken(entry.file, f'context "{name}" points at the cluster "{cluster_name}", which is not defined')
        if not cluster.body.get("server"):
            raise _broken(cluster.file, f'cluster "{cluster_name}" has no server')
        user = self.users.get(user_name)
        if user is None and user_name:
            raise _broken(entry.file, f'context "{name}" points at the user "{user_name}", which is not defined')
        return Stanza(
            context=name,
            namespace=str(entry.body.get("namespace") or "default"),
            cluster=cluster.body,
            user=user.body if user else {},
            user_name=user_name,
            cluster_folder=cluster.file.parent,
            user_folder=(user or cluster).file.parent,
        )

    @property
    def place(self) -> str:
        return "kubeconfig " + ":".join(str(file) for file in self.files)

    def _known(self) -> str:
        return ", ".join(sorted(self.contexts)) or "(the file has no contexts)"

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.contexts, n=3, cutoff=0.5)
        rest = sorted(set(self.contexts) - set(near))
        if not self.contexts:
            return "The file has no contexts at all."
        guess = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{guess}Known contexts: {', '.join([*near, *rest])}."


def read_kubeconfig(path: str | None = None) -> Kubeconfig:
    """Read the files of `path` (or of $KUBECONFIG, or ~/.kube/config); several are joined by `:`.

    A file named by the user must exist; of several in $KUBECONFIG one must. Raise UsageError for anything unreadable or malformed.
    """
    given = path or os.environ.get("KUBECONFIG", "")
    source = "--kubeconfig" if path else "$KUBECONFIG" if given else "the default place"
    named = [Path(part).expanduser() for part in (given or DEFAULT).split(os.pathsep) if part]
    files = [file for file in named if file.exists()]
    if not files or (path and len(files) < len(named)):
        missing = next((file for file in named if not file.exists()), Path(given))
        raise UsageError(
            "there is no kubeconfig file",
            where=str(missing),
            why=f"named by {source}",
            now="Name it with --kubeconfig FILE or the environment variable KUBECONFIG.",
        )
    merged: dict[str, dict[str, _Entry]] = {"contexts": {}, "clusters": {}, "users": {}}
    current = ""
    for file in files:
        content = _parsed(file)
        current = current or str(content.get("current-context") or "")
        for section, entries in merged.items():
            for name, body in _entries(content, section, file).items():
                entries.setdefault(name, _Entry(body, file.absolute()))
    return Kubeconfig(merged["contexts"], merged["clusters"], merged["users"], current, tuple(files))


def known_contexts(kubeconfig: str | None = None) -> tuple[list[str], str]:
    """Return the names of all contexts, in the order of the files, and the current one ("" if none). Raise UsageError."""
    config = read_kubeconfig(kubeconfig)
    return list(config.contexts), config.current


def _parsed(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(
            "cannot read the kubeconfig", where=str(file), why=problem.strerror or str(problem), now="Check its permissions."
        ) from None
    except UnicodeDecodeError:
        raise _broken(file, "it is not a text file") from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _broken(file, f"it is not YAML: {line}{getattr(problem, 'problem', None) or 'malformed'}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise _broken(file, "it is not a mapping of clusters, users and contexts")
    return content


def _entries(content: dict[str, Any], section: str, file: Path) -> dict[str, Mapping[str, Any]]:
    """Return name -> body of one section; `clusters: [{name: a, cluster: {...}}]`."""
    listed = content.get(section) or []
    if not isinstance(listed, list):
        raise _broken(file, f"`{section}` is not a list")
    found: dict[str, Mapping[str, Any]] = {}
    for number, entry in enumerate(listed, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _broken(file, f"entry {number} of `{section}` has no name")
        body = entry.get(section.removesuffix("s")) or {}
        if not isinstance(body, dict):
            raise _broken(file, f"`{section.removesuffix('s')}` of `{entry['name']}` is not a mapping")
        found.setdefault(entry["name"], body)
    return found


def _broken(file: Path, why: str) -> UsageError:
    return UsageError(
        "the kubeconfig is malformed", where=str(file), why=why, now="Correct it; `kubectl config view` shows how kubectl reads it."
    )
