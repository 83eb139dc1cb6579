"""Where a lab keeps its things, and who may read them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLUSTERS = ("east", "west")
RELEASES = ("v1.3", "v1.6", "v1.9")
DEFAULT_RELEASE = "v1.9"


class LabError(Exception):
    """Something about the lab itself that a person must know. `now` says what to do."""

    def __init__(self, what: str, *, now: str = "") -> None:
        super().__init__(what)
        self.now = now


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one lab."""

    directory: Path

    @property
    def kubeconfig(self) -> Path:
        """Both contexts; mode 0600."""
        return self.directory / "kubeconfig"

    @property
    def door(self) -> Path:
        """Locked while a lab starts."""
        return self.directory / "lab.lock"

    def log(self, cluster: str) -> Path:
        """What the components of a cluster have to say."""
        return self.directory / f"{cluster}.log"

    def socket(self, cluster: str) -> Path:
        """Control socket: HTTP for status, troubles and disks."""
        return self.directory / f"{cluster}.sock"

    def state(self, cluster: str) -> Path:
        """JSON: pid, url, release, since; written when the cluster is ready with its seeds in place."""
        return self.directory / f"{cluster}.json"

    def lock(self, cluster: str) -> Path:
        """Locked by the process of a cluster as long as it lives; holds its pid."""
        return self.directory / f"{cluster}.pid"

    def cluster(self, cluster: str) -> Path:
        """Volumes and pod directories of a cluster."""
        return self.directory / cluster

    def made(self) -> list[Path]:
        """Return everything that a lab puts into its directory."""
        each = [
            place
            for name in CLUSTERS
            for place in (self.log(name), self.socket(name), self.state(name), self.lock(name), self.cluster(name))
        ]
        return [self.kubeconfig, *each]

    def prepare(self) -> None:
        """Make the directory, for its owner alone. Raise LabError for one that holds other things or cannot be made."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            strangers = {path.name for path in self.directory.iterdir()} - {path.name for path in (*self.made(), self.door)}
        except OSError as problem:
            raise LabError(f"cannot use the directory {self.directory}: {problem.strerror}", now="Name another with --dir.") from None
        if strangers and not self.kubeconfig.exists():
            example = sorted(strangers)[0]
            raise LabError(f"{self.directory} holds other things ({example}, ...)", now="Name an empty or new directory with --dir.")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def read_state(path: Path) -> dict[str, Any] | None:
    """Return the JSON of a state file, or None if there is none (or it is being written)."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def kubeconfig_text(clusters: dict[str, dict[str, str]], *, current: str) -> str:
    """Return a kubeconfig. Each cluster has `server` and the base64 texts `ca`, `certificate`, `key`."""
    entries: dict[str, list[dict[str, Any]]] = {"clusters": [], "users": [], "contexts": []}
    for name, facts in clusters.items():
        entries["clusters"].append({"name": name, "cluster": {"server": facts["server"], "certificate-authority-data": facts["ca"]}})
        user = {"client-certificate-data": facts["certificate"], "client-key-data": facts["key"]}
        entries["users"].append({"name": f"{name}-admin", "user": user})
        entries["contexts"].append({"name": name, "context": {"cluster": name, "user": f"{name}-admin"}})
    return json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": current, **entries}, indent=1) + "\n"
