"""Resources that nobody stores: reviews, tokens, subresources with a program behind them. Other parts of the lab add theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from migrate.lab.admission import User
from migrate.lab.discovery import Virtual, core_virtuals

if TYPE_CHECKING:
    from migrate.lab.api import ApiServer
    from migrate.lab.httpd import Exchange

Answer: TypeAlias = tuple[int, dict[str, Any] | str] | Callable[[], None]
"""Code and body, or a function that answers by itself, for conversations during which the clock need not stand still."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a virtual resource. `body` is the parsed JSON or None; `query` has the first value of each parameter."""

    method: str
    group: str
    version: str
    plural: str
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]
    body: Any
    user: User
    dry_run: bool
    server: ApiServer
    exchange: Exchange


Responder = Callable[[Call], Answer]
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete", "PATCH": "patch"}


@dataclass(slots=True)
class Routes:
    """Which function answers which virtual resource. Everything here appears in discovery."""

    _responders: dict[tuple[str, str, str, str, str], Responder] = field(default_factory=dict)
    _virtuals: dict[tuple[str, str, str, str], Virtual] = field(
        default_factory=lambda: {(v.group, v.version, v.plural, v.subresource): v for v in core_virtuals()}
    )

    def add(self, virtual: Virtual, method: str, responder: Responder) -> None:
        """Answer a method of a virtual resource; its verb is added to those that discovery shows."""
        place = (virtual.group, virtual.version, virtual.plural, virtual.subresource)
        self._responders[(method, *place)] = responder
        known = self._virtuals.get(place)
        verbs = {*(known.verbs if known else ()), *virtual.verbs, _VERBS[method]}
        self._virtuals[place] = Virtual(
            virtual.group,
            virtual.version,
            virtual.plural,
            (known or virtual).kind,
            tuple(sorted(verbs)),
            subresource=virtual.subresource,
            namespaced=virtual.namespaced,
            body_group=(known or virtual).body_group,
            body_version=(known or virtual).body_version,
            singular=virtual.singular,
        )

    def find(self, method: str, group: str, version: str, plural: str, subresource: str) -> Responder | None:
        """Return who answers, or None."""
        return self._responders.get((method, group, version, plural, subresource))

    def known(self, group: str, version: str, plural: str, subresource: str) -> bool:
        """Tell whether anything is answered there, whatever the method."""
        return any(place[1:] == (group, version, plural, subresource) for place in self._responders)

    def virtuals(self) -> list[Virtual]:
        """Return all of them, for discovery."""
        return list(self._virtuals.values())
