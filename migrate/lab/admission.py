"""Where webhooks and built-in plugins may change or refuse a write before it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrate.lab.kinds import Resource
from migrate.lab.schema_walk import Cause

Object = dict[str, Any]

__all__ = ["Admission", "Cause", "Denied", "Review", "User", "chain"]


class Denied(Exception):
    """A refusal. `message` is the final text that the client sees; `reason` is derived from the code unless given."""

    def __init__(self, code: int, message: str, causes: Sequence[Cause] = (), *, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.causes = tuple(causes)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. `groups` holds `system:authenticated` for everybody but anonymous."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Review:
    """One write under review. `operation` is CREATE, UPDATE or DELETE; `old` and `new` are None where they cannot exist.

    `new` may be changed freely: it is a copy. `old` may not. `get` and `list` look up other objects (group, plural, namespace, name);
    what they return must not be changed.
    """

    operation: str
    resource: Resource
    version: str
    namespace: str
    name: str
    old: Object | None
    new: Object | None
    user: User
    dry_run: bool
    subresource: str
    get: Callable[[str, str, str, str], Object | None]
    list: Callable[[str, str, str], list[Object]]


Admission = Callable[[Review], "Object | None"]
"""Return the changed object, or None to let it pass unchanged. Raise Denied to refuse."""


def chain(admissions: Iterable[Admission], review: Review) -> Object | None:
    """Ask every admission in turn, each seeing the changes of those before it; return the object at the end. Raises Denied."""
    for admission in admissions:
        changed = admission(review)
        if changed is not None:
            review = replace(review, new=changed)
    return review.new
