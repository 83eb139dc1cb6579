"""Trouble on request: what goes wrong in the lab, where, for whom, how often.

The lab's parts ask at named points (`find`) whether there is an order for them. Nothing goes wrong by chance.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrate.lab.doom import Doom

SIZES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

_HTTP: dict[str, tuple[str, ...]] = {
    "refuse": ("status", "message", "retry_after"),
    "delay": ("seconds",),
    "drop": ("after",),
}

ACTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "api": {**_HTTP, "truncate": (), "hang": (), "expire": ()},
    "export": {**_HTTP, "truncate": ("after",), "swap": (), "expire": (), "rotate": (), "restart": (), "lapse": (), "skip": ()},
    "proxy": {**_HTTP, "truncate": ("after",), "rotate": (), "expire": ()},
    "importer": {"refuse": ("message",), "delay": ("seconds",), "drop": ("after",), "restart": ("code", "after"), "oom": ("after",)},
    "upload": {**_HTTP, "restart": ("code", "after"), "expire": ()},
    "storage": {"refuse": ("message",), "delay": ("seconds",), "full": ("after",), "lag": ("seconds",)},
    "snapshot": {"refuse": ("message",), "lag": ("seconds",), "delay": ("seconds",), "hang": ()},
    "freeze": {"refuse": ("message",), "expire": ()},
    "node": {"refuse": ("message",), "delay": ("seconds",), "evict": ("message",), "restart": ("code",), "oom": ()},
    "manifest": {"swap": (), "refuse": (), "truncate": (), "expire": ()},
    "guest": {"refuse": (), "delay": ("seconds",), "restart": ("code",)},
    "links": {"refuse": (), "truncate": (), "swap": (), "delay": ("seconds",)},
}
"""Point -> action -> names of its arguments. Every other word of an order is a match on the facts of the point.

export/proxy/upload: answers to requests. `drop`/`truncate` cut after so many bytes of body (drop: hard; truncate: as if it were the end).
export rotate/expire/restart: new certificate and pod / deadline now / pod dies; lapse: its time to live is over; skip: its VM is not
seen for one look of the controller (phase Skipped). importer restart/oom: the program dies after so many bytes.
storage: no volume / late volume / volume full / late binding of a claim that CDI hands a filled volume to. node: not schedulable /
slow start / evicted / container dies. snapshot (of one volume): the storage refuses / cuts it late (a frozen guest stays frozen so
long) / it can be used late / never. freeze: the guest agent refuses / the guest thaws by itself at once, and says so only afterwards.
manifest swap: disks crossed,
also beyond what the real server gets wrong; truncate: URLs by substring; expire: manifests of an older state. links: external links
missing (refuse), certificate leaf-only (truncate), empty (swap), late (delay). guest: ignores shutdown / slow shutdown / reboots.
"""

FACTS: dict[str, tuple[str, ...]] = {
    "api": ("method", "path", "verb", "group", "resource", "subresource", "namespace", "name", "user_agent", "user"),
    "export": ("namespace", "export", "volume", "format", "path", "method"),
    "proxy": ("namespace", "export", "volume", "format", "path", "method"),
    "importer": ("namespace", "name", "pod", "attempt", "url"),
    "upload": ("namespace", "name", "pod", "path", "method"),
    "storage": ("namespace", "name", "storage_class"),
    "snapshot": ("namespace", "name", "claim", "storage_class"),
    "freeze": ("namespace", "name"),
    "node": ("namespace", "name", "image", "container", "app"),
    "manifest": ("namespace", "export", "type"),
    "guest": ("namespace", "name"),
    "links": ("namespace", "export"),
}


class BadOrder(ValueError):
    """An order that no part of the lab could follow; the text lists what is known."""


@dataclass(slots=True)
class Order:
    """One trouble: `times` counts down; None = until cleared."""

    where: str
    action: str
    args: dict[str, str] = field(default_factory=dict)
    match: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    id: int = 0
    used: int = 0

    def number(self, name: str, default: float = 0.0) -> float:
        """Return an argument as a number; sizes may end in Ki, Mi, Gi."""
        word = self.args.get(name, "")
        return _number(word) if word else default

    def count(self, name: str, default: int = 0) -> int:
        """Return an argument as a whole number; sizes may end in Ki, Mi, Gi."""
        return int(self.number(name, default))

    def text(self, name: str, default: str = "") -> str:
        """Return an argument as it was given."""
        return self.args.get(name, default)

    def fits(self, facts: Mapping[str, object]) -> bool:
        """Tell whether every wanted fact is there and matches (as in file names: * and ?)."""
        return all(name in facts and fnmatchcase(str(facts[name]), pattern) for name, pattern in self.match.items())

    def as_dict(self) -> dict[str, Any]:
        """Return the order as JSON."""
        return {
            "id": self.id,
            "where": self.where,
            "action": self.action,
            "args": self.args,
            "match": self.match,
            "times": self.times,
            "used": self.used,
        }


def _number(word: str) -> float:
    suffix = word[-2:] if word[-2:] in SIZES else ""
    return float(word.removesuffix(suffix)) * SIZES[suffix]


def parse(where: str, action: str, words: Mapping[str, str]) -> Order:
    """Build an order from words; raise BadOrder when no part of the lab knows them."""
    if where not in ACTIONS:
        raise BadOrder(f"no trouble is known at {where!r}; known places: {', '.join(sorted(ACTIONS))}")
    if action not in ACTIONS[where]:
        raise BadOrder(f"{where} cannot {action!r}; it can: {', '.join(sorted(ACTIONS[where]))}")
    order = Order(where, action)
    for name, value in words.items():
        if name == "times":
            if not value.isdecimal() or int(value) < 1:
                raise BadOrder(f"times={value!r} is not a whole number above zero")
            order.times = int(value)
        elif name in ACTIONS[where][action]:
            _check(name, value)
            order.args[name] = value
        elif name in FACTS[where]:
            order.match[name] = value
        else:
            known = [*ACTIONS[where][action], *FACTS[where], "times"]
            raise BadOrder(f"{where} {action} does not know {name!r}; it knows: {', '.join(known)}")
    return order


def _check(name: str, value: str) -> None:
    if name == "message":
        return
    try:
        _number(value)
    except ValueError:
        raise BadOrder(f"{name}={value!r} is not a number") from None


class Trouble:
    """All orders of one cluster. Empty unless somebody asked.

    `without`: places that this cluster has not, each with the reason; orders for them are refused, since nothing would come of them.
    """

    def __init__(self, without: Mapping[str, str] | None = None) -> None:
        self._without = dict(without or {})
        self._lock = threading.Lock()
        self._orders: list[Order] = []
        self._ids = itertools.count(1)
        self._listeners: list[Callable[[Order], None]] = []
        self.doom: Doom | None = None
        """A client that is to die at one of its requests; tests alone choose which (lab/doom.py)."""

    def find(self, where: str, *actions: str, **facts: object) -> Order | None:
        """Return the first order for this point, and count it as used.

        With `actions`, only orders of these: give those that the point can follow, so that none is used up in vain.
        """
        if not self._orders:
            return None
        with self._lock:
            for order in self._orders:
                if order.where == where and (not actions or order.action in actions) and order.fits(facts):
                    order.used += 1
                    if order.times is not None:
                        order.times -= 1
                        if order.times == 0:
                            self._orders.remove(order)
                    return order
        return None

    def set(self, where: str, action: str, /, **words: object) -> Order:
        """Add an order: arguments, matches and `times` by name. Raise BadOrder as `parse` and `add` do."""
        return self.add(parse(where, action, {name: str(value) for name, value in words.items()}))

    def add(self, order: Order) -> Order:
        """Add a parsed order and tell the listeners. Raise BadOrder for a place that this cluster has not."""
        if order.where in self._without:
            raise BadOrder(f"no trouble can be made at {order.where!r} here: {self._without[order.where]}")
        with self._lock:
            order.id = next(self._ids)
            self._orders.append(order)
        for listener in list(self._listeners):
            listener(order)
        return order

    def clear(self, order: Order | None = None) -> None:
        """Remove one order, or all."""
        with self._lock:
            self._orders = [kept for kept in self._orders if order is not None and kept is not order]

    def forget(self, number: int) -> None:
        """Remove the order with this id, if it is still there."""
        with self._lock:
            self._orders = [kept for kept in self._orders if kept.id != number]

    def listen(self, listener: Callable[[Order], None]) -> None:
        """Call the listener with every new order: for parts that act at once (evict, rotate) instead of asking."""
        self._listeners.append(listener)

    def orders(self) -> list[dict[str, Any]]:
        """Return all orders as JSON."""
        with self._lock:
            return [order.as_dict() for order in self._orders]
