"""What the source was before we halted it: the memory that makes a way back possible even if the target is lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Was:
    """What the source was before we halted it; kept in the WAS annotation, written in the very write that halts.

    At most one of `run_strategy` and `running` is set, as the user's spec spells it; both None = the spec had neither (= Halted).
    """

    run_strategy: str | None = None
    running: bool | None = None
    instance: str = ""
    """UID of the instance that was there; "" = none was."""
    leaving: bool = False
    """That instance was on its way down already: somebody had stopped it."""
    guest_agent: bool = False
    macs: Mapping[str, str] = field(default_factory=dict)
    """MAC by interface name, as the guest saw them."""
    uuid: str = ""
    serial: str = ""
    grace_s: int | None = None
    """terminationGracePeriodSeconds of the template, verbatim."""
    node_selector: Mapping[str, str] | None = None
    """nodeSelector of the template, verbatim but for a fence of ours; None = it had none."""

    @property
    def strategy(self) -> str:
        """The run strategy, whichever way it was spelled."""
        if self.run_strategy is not None:
            return self.run_strategy
        return "Always" if self.running else "Halted"

    @property
    def ran(self) -> bool:
        """Whether the VM ran: an instance was there, and nobody had stopped it before us."""
        return bool(self.instance) and not self.leaving and self.strategy != "Halted"

    def to_json(self) -> str:
        """Return the text of the WAS annotation; fields that say nothing are left out."""
        fields: dict[str, Any] = {
            "runStrategy": self.run_strategy,
            "running": self.running,
            "instance": self.instance or None,
            "leaving": self.leaving or None,
            "guestAgent": self.guest_agent or None,
            "macs": dict(self.macs) or None,
            "uuid": self.uuid or None,
            "serial": self.serial or None,
            "gracePeriodSeconds": self.grace_s,
            "nodeSelector": None if self.node_selector is None else dict(self.node_selector),
        }
        return json.dumps({key: value for key, value in fields.items() if value is not None}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> Was:
        """Read the text of the WAS annotation, tolerant of newer fields. Raises ValueError."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("not an object")  # noqa: TRY004 - one kind of error for everything that is no such text
        macs, selector = fields.get("macs") or {}, fields.get("nodeSelector")
        if not isinstance(macs, dict) or not isinstance(selector, dict | None):
            raise ValueError("macs or nodeSelector is not an object")  # noqa: TRY004
        return cls(
            run_strategy=_text(fields, "runStrategy") or None,
            running=None if fields.get("running") is None else bool(fields["running"]),
            instance=_text(fields, "instance"),
            leaving=bool(fields.get("leaving")),
            guest_agent=bool(fields.get("guestAgent")),
            macs={str(name): str(mac) for name, mac in macs.items()},
            uuid=_text(fields, "uuid"),
            serial=_text(fields, "serial"),
            grace_s=None if fields.get("gracePeriodSeconds") is None else int(fields["gracePeriodSeconds"]),
            node_selector=None if selector is None else {str(key): str(value) for key, value in selector.items()},
        )


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return "" if value is None else str(value)
