"""Where the real Kubernetes programs are, for a lab that runs on them: envtest's convention first, then our own cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from migrate.lab.places import LabError

KUBERNETES = "1.36.3"
"""What `make kube-assets` builds; hack/kube-assets/go.mod names the same."""
FOLDER = "KUBEBUILDER_ASSETS"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The three programs of a control plane."""

    etcd: Path
    api_server: Path
    controller_manager: Path


def cache() -> Path:
    """Return the folder that `make kube-assets` fills."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "kubevirt-migrate" / "kube-assets" / KUBERNETES


def find() -> Binaries:
    """Return the programs, each from the folder in KUBEBUILDER_ASSETS or else from the cache. Raise LabError, with the ways to get them."""
    named = os.environ.get(FOLDER, "")
    folders = [*([Path(named)] if named else []), cache()]
    return Binaries(*(_program(name, folders) for name in ("etcd", "kube-apiserver", "kube-controller-manager")))


def _program(name: str, folders: list[Path]) -> Path:
    for folder in folders:
        path = folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return path.absolute()
    looked = " and ".join(str(folder) for folder in folders)
    raise LabError(
        f"the program {name} is missing; looked in {looked}",
        now=(
            f"Build it with `make kube-assets` (needs Go, up to an hour once), or point {FOLDER} at a folder with etcd, kube-apiserver and "
            "kube-controller-manager (setup-envtest brings the first two). The embedded lab needs none of them: leave out --backend kube."
        ),
    )
