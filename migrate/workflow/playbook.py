"""Playbooks: which steps, in which order. YAML names them; nothing in it decides."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import yaml

from migrate.model.errors import UsageError
from migrate.rendering.assets import find_data
from migrate.steps.base import Step

STEPS = (
    "check-both",
    "claim-source",
    "prepare-target",
    "claim-target",
    "carry-references",
    "stop-source",
    "snapshot-source",
    "publish-disks",
    "import-disks",
    "create-target",
    "verify-disks",
    "start-target",
    "release-source",
    "clean-up",
)
"""Every step there is; the file and the class carry the same words."""


@dataclass(frozen=True, slots=True)
class Playbook:
    """A named order of steps."""

    name: str
    steps: tuple[Step, ...]


def load(name: str) -> Playbook:
    """Load a playbook of ours by name.

    Raises UsageError for an unknown playbook, an unknown step, or an `until` whose step does not follow.
    """
    path = find_data("playbooks") / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(f'there is no playbook "{name}"', where="playbooks", now="use cold-move or snapshot-copy")
    return parse(path.read_text(encoding="utf-8"), where=path.name)


def parse(text: str, *, where: str) -> Playbook:
    """Parse a playbook. Raises UsageError as `load` does."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError("the playbook is not YAML", where=where, why=str(error), now="mend it") from error
    if not isinstance(document, dict) or set(document) != {"playbook", "steps"} or not isinstance(document["steps"], list):
        raise UsageError("a playbook has exactly the keys playbook and steps", where=where, now="see playbooks/cold-move.yaml")
    names = [str(name) for name in document["steps"]]
    strangers = [name for name in names if name not in STEPS]
    if strangers:
        raise UsageError(f"unknown step {', '.join(strangers)}", where=where, now=f"the steps are {', '.join(STEPS)}")
    if len(set(names)) != len(names):
        raise UsageError("a step stands twice", where=where, now="name every step once")
    steps = tuple(_step(name) for name in names)
    for place, step in enumerate(steps):
        if step.until is not None and step.until not in names[place + 1 :]:
            raise UsageError(f"{step.name} holds until {step.until}, which does not follow", where=where, now="add it, or reorder")
    return Playbook(str(document["playbook"]), steps)


def _step(name: str) -> Step:
    module = importlib.import_module(f"migrate.steps.{name.replace('-', '_')}")
    made = getattr(module, "".join(word.capitalize() for word in name.split("-")))()
    assert isinstance(made.name, str)
    return made  # type: ignore[no-any-return]
