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
    """UID of the instance that ran; "" = none did."""
    guest_agent: bool = False
    macs: Mapping[str, str] = field(default_factory=dict)
    """MAC by interface name, as the guest saw them."""
    uuid: str = ""
    serial: str = ""
    grace_s: int | None = None
    """terminationGracePeriodSeconds of the template, verbatim."""

    @property
    def strategy(self) -> str:
        """The run strategy, whichever way it was spelled."""
        if self.run_strategy is not None:
            return self.run_strategy
        return "Always" if self.running else "Halted"

    @property
    def ran(self) -> bool:
        """Whether an instance was there."""
        return bool(self.instance)

    def to_json(self) -> str:
        """Return the text of the WAS annotation; fields that say nothing are left out."""
        fields: dict[str, Any] = {
            "runStrategy": self.run_strategy,
            "running": self.running,
            "instance": self.instance or None,
            "guestAgent": self.guest_agent or None,
            "macs": dict(self.macs) or None,
            "uuid": self.uuid or None,
            "serial": self.serial or None,
            "gracePeriodSeconds": self.grace_s,
        }
        return json.dumps({key: value for key, value in fields.items() if value is not None}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> Was:
        """Read the text of the WAS annotation, tolerant of newer fields. Raises ValueError."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("not an object")  # noqa: TRY004 - one kind of error for everything that is no such text
        macs = fields.get("macs") or {}
        if not isinstance(macs, dict):
            raise ValueError("macs is not an object")  # noqa: TRY004
        return cls(
            run_strategy=_text(fields, "runStrategy") or None,
            running=None if fields.get("running") is None else bool(fields["running"]),
            instance=_text(fields, "instance"),
            guest_agent=bool(fields.get("guestAgent")),
            macs={str(name): str(mac) for name, mac in macs.items()},
            uuid=_text(fields, "uuid"),
            serial=_text(fields, "serial"),
            grace_s=None if fields.get("gracePeriodSeconds") is None else int(fields["gracePeriodSeconds"]),
        )


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return "" if value is None else str(value)
