"""Where our own templates and playbooks lie: in the installed package, or at the top of a checkout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from migrate.model.errors import MigrateError


def find_data(name: Literal["templates", "playbooks"]) -> Path:
    """Return the folder. A wheel carries it in the package (hatchling force-include); an editable install and a checkout at the top."""
    package = Path(str(resources.files("migrate")))
    for folder in (package / "_data" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise MigrateError(
        f"the {name} of this program are missing",
        where=str(package),
        why=f"neither _data/{name} in the package nor {name}/ beside it is there",
        now="install kubevirt-migrate again",
    )
