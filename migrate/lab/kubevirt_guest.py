"""The guest in a virt-launcher pod: it boots, writes to its first disk, and shuts down when asked, so that its life shows in the bytes.

What a guest leaves on its disk, all of it between 64 KiB and 1 MiB, so that the rest of a disk's content stays as it was:

- at 64 KiB a header of 4096 bytes: the magic line `LABGUEST1`, then one line of JSON, padded with zeros: `boots` (how often the
  disk was booted), `clean` (whether the last guest ended by a clean shutdown), `vm` (namespace/name of the last one), `sealed` (the
  seeds of the persistent TPM and EFI that the first guest had), `locked` (the last one had others, so it asks for its recovery key);
- from 68 KiB to 1020 KiB a ring of records of 64 bytes (little endian): sequence number (u64, counted over the disk's whole life), boot
  number (u64), lab time in Unix seconds (f64), UID of the instance (16 bytes), zeros, CRC-32 of the 60 bytes before it. The record with
  sequence number n stands at place (n - 1) modulo the number of places;
- in the 4 KiB after it, and in the same place of every other disk, the journal of a guest that is asked to keep one (see `guest_journal`).

A record is made every five seconds and kept in the guest's memory, as a page cache would, until the next one; a clean shutdown or
a freeze writes it out, pulling the plug loses it. Disks under 1 MiB are booted from but not written to.
"""

from __future__ import annotations

import fcntl
import json
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from migrate.lab import kubevirt_state
from migrate.lab.guest_journal import JOURNAL_AT, Consistency, Journal

if TYPE_CHECKING:
    from migrate.lab.pods import Container

WINDOW_START = 64 << 10
WINDOW_END = 1 << 20
TICK_S = 5.0
_LOOK_S = 1.0
GUEST = "guest"
"""Key under which the program shares its `Guest` with the node."""

_MAGIC = b"LABGUEST1\n"
_HEADER_BYTES = 4096
_RECORD = struct.Struct("<QQd16s20x")
_RECORD_BYTES = 64
_PLACES = (JOURNAL_AT - WINDOW_START - _HEADER_BYTES) // _RECORD_BYTES
_CLEAN, _CRASHED, _KILLED = 0, 1, 137


@dataclass(frozen=True, slots=True)
class Record:
    """One write of a guest."""

    sequence: int
    boot: int
    at: float
    instance: str


@dataclass(frozen=True, slots=True)
class GuestLog:
    """What guests left on a disk: number of boots, whether the last end was clean, which VM it was, the records in order."""

    boots: int = 0
    clean: bool = False
    vm: str = ""
    sealed: tuple[str, str] = ("", "")
    locked: bool = False
    records: tuple[Record, ...] = ()

    @property
    def last(self) -> int:
        """Return the highest sequence number, 0 without any record."""
        return self.records[-1].sequence if self.records else 0


def read_guest_log(disk: Path | bytes) -> GuestLog:
    """Read what guests left on a disk, given as a file or as its first MiB. An untouched disk gives an empty log."""
    if isinstance(disk, Path):
        with disk.open("rb") as file:
            disk = file.read(WINDOW_END)
    header = disk[WINDOW_START : WINDOW_START + _HEADER_BYTES]
    if not header.startswith(_MAGIC):
        return GuestLog()
    facts = json.loads(header[len(_MAGIC) :].partition(b"\n")[0])
    records = []
    for place in range(_PLACES):
        start = WINDOW_START + _HEADER_BYTES + place * _RECORD_BYTES
        record = _unpacked(disk[start : start + _RECORD_BYTES])
        if record is not None:
            records.append(record)
    records.sort(key=lambda record: record.sequence)
    return GuestLog(facts["boots"], facts["clean"], facts["vm"], (*facts["sealed"],), facts["locked"], tuple(records))


def _packed(record: Record) -> bytes:
    body = _RECORD.pack(record.sequence, record.boot, record.at, UUID(record.instance).bytes)
    return body + struct.pack("<I", zlib.crc32(body))


def _unpacked(data: bytes) -> Record | None:
    if len(data) < _RECORD_BYTES or not any(data) or struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
        return None
    sequence, boot, at, instance = _RECORD.unpack(data[:-4])
    return Record(sequence, boot, at, str(UUID(bytes=instance)))


def run(container: Container) -> int:
    """Boot the guest of a virt-launcher pod and stay until it ends: 0 after a clean shutdown, 137 when it was cut off, 1 when it broke.

    With the argument `provision` the pod only exists to bind its claims, and ends at once.
    """
    if "provision" in container.args:
        container.log("bound PVCs")
        return _CLEAN
    try:
        disks = [_disk(container.path(place)) for place in json.loads(container.env["DISKS"])]
    except FileNotFoundError as missing:
        container.log(f"Failed to start the domain: cannot access storage file {missing.filename or missing}: No such file or directory")
        container.terminate("no disk")
        return _CRASHED
    guest = Guest(container, disks)
    guest.boot()
    container.shared[GUEST] = guest
    code = guest.live()
    return guest.end() if code is None else code


def _disk(path: Path) -> Path:
    """Return the file of a disk. Raises FileNotFoundError when there is none."""
    disk = path / "disk.img" if path.is_dir() else path
    disk.stat()
    return disk


class Guest:
    """One boot of a guest. `grace_s` is how long it may take to shut down; the node sets it before it stops the container."""

    def __init__(self, container: Container, disks: list[Path]) -> None:
        self._container = container
        self._clock = container.clock
        large = [disk for disk in disks if disk.stat().st_size >= WINDOW_END]
        self._disk = disks[0] if large and disks[0] == large[0] else None
        self._vm = container.env["VM"]
        self._instance = container.env["VMI_UID"]
        self._log = read_guest_log(self._disk) if self._disk is not None else GuestLog()
        self._sequence = self._log.last
        self._pending: Record | None = None
        self._lock = threading.Lock()
        self._frozen_until: float | None = None
        self._lost = False
        self._journal: Journal | None = None
        self._step_s = float("inf")
        if (period := container.env.get("JOURNAL_SECONDS")) and large:
            self._journal = Journal(large, self._write_to)
            self._step_s = float(period) / (len(large) + 1)
        self.grace_s = float(container.env["GRACE_SECONDS"])
        self.boots = self._log.boots + 1
        self._state = self._states()

    @property
    def frozen(self) -> bool:
        """Tell whether the file systems are frozen; a freeze ends by itself when its time is over."""
        return self._frozen_until is not None and self._clock.monotonic() < self._frozen_until

    def _states(self) -> tuple[str, str]:
        """Open the persistent TPM and EFI of the machine, made anew by swtpm and the firmware where they are not found."""
        said = self._container.env.get(kubevirt_state.ENV, "")
        if not said:
            return "", ""
        return kubevirt_state.boot(self._container.path(kubevirt_state.PLACE), said, vm=self._vm, instance=self._instance)

    @property
    def _sealed(self) -> tuple[str, str]:
        """The states that the disk is sealed to: those of its first boot."""
        return self._log.sealed if self._log.boots else self._state

    def boot(self) -> None:
        """Count the boot on the disk, before anything else."""
        self._container.log(f"Domain {self._vm} started, boot {self.boots}")
        if self._sealed != self._state:
            self._container.log("The TPM or the EFI variables are not those that the disk is sealed to: asking for the recovery key")
        self._write_header(clean=False)
        if self._journal is not None and self._journal.recover() is Consistency.TORN:
            self._container.log("The journal is torn: the disks are not of one moment")

    def live(self) -> int | None:
        """Write until asked to stop (None), or until the guest ends by itself (its exit code)."""
        now = self._clock.monotonic()
        tick_at, step_at = now + TICK_S, now + self._step_s
        while not self._clock.wait(self._container.stop, min(tick_at, step_at) - now):
            self._container.check()
            now = self._clock.monotonic()
            if step_at <= now:
                step_at = now + self._step_s
                self._step()
            if tick_at > now:
                continue
            tick_at = now + TICK_S
            order = self._trouble("restart")
            if order is not None:
                code = order.count("code")
                self._container.log(f"The guest ended by itself, code {code}")
                return self.shut_down() if code == _CLEAN else code
            self._tick()
        return None

    def end(self) -> int:
        """Shut down within the grace period: cleanly if it suffices, cut off at its end if not, at once without one."""
        needed = float(self._container.env["SHUTDOWN_SECONDS"])
        order = self._trouble("refuse", "delay")
        if order is not None:
            needed = float("inf") if order.action == "refuse" else needed + order.number("seconds", 1)
        asked = self._clock.monotonic()
        while (left := min(needed, self.grace_s) - (self._clock.monotonic() - asked)) > 0:
            self._clock.wait(self._container.killed, min(left, _LOOK_S))
            self._container.check()
        if self.grace_s <= 0 or needed > self.grace_s:
            self._container.log("Grace period expired, killing the domain")
            return _KILLED
        return self.shut_down()

    def shut_down(self) -> int:
        """Write out what is in memory and mark the end as clean."""
        with self._lock:
            self._settle()
        self._write_header(clean=True)
        self._container.log("Domain is shut off: shutdown")
        return _CLEAN

    def hurry(self, grace_s: float) -> None:
        """Change the grace period, also of a shutdown that is under way."""
        self.grace_s = grace_s

    def freeze(self, seconds: float) -> None:
        """Write out what is in memory, finish what is under way, and write nothing more for a while."""
        with self._lock:
            self._settle()
            self._frozen_until = self._clock.monotonic() + seconds

    def lose_freeze(self) -> None:
        """Go on writing at once, and own up to it only when thawed: Windows holds a freeze for ten seconds at most."""
        with self._lock:
            self._frozen_until, self._lost = None, True

    def thaw(self) -> bool:
        """End a freeze; tell whether it held until now."""
        with self._lock:
            held, self._frozen_until, self._lost = not self._lost, None, False
        return held

    def _tick(self) -> None:
        with self._lock:
            if self.frozen:
                return
            self._flush()
            self._sequence += 1
            self._pending = Record(self._sequence, self.boots, self._clock.now().timestamp(), self._instance)

    def _step(self) -> None:
        with self._lock:
            if self._journal is not None and not self.frozen:
                self._journal.step()

    def _settle(self) -> None:
        self._flush()
        if self._journal is not None and not self.frozen:
            self._journal.settle()

    def _flush(self) -> None:
        if self._pending is not None:
            place = (self._pending.sequence - 1) % _PLACES
            self._write(WINDOW_START + _HEADER_BYTES + place * _RECORD_BYTES, _packed(self._pending))
            self._pending = None

    def _write_header(self, *, clean: bool) -> None:
        sealed = self._sealed
        facts = {"boots": self.boots, "clean": clean, "vm": self._vm, "sealed": sealed, "locked": sealed != self._state}
        self._write(WINDOW_START, (_MAGIC + json.dumps(facts).encode() + b"\n").ljust(_HEADER_BYTES, b"\0"))

    def _write(self, offset: int, data: bytes) -> None:
        self._container.check()
        if self._disk is not None:
            self._write_to(self._disk, offset, data)

    def _write_to(self, disk: Path, offset: int, data: bytes) -> None:
        self._container.check()
        with disk.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a snapshot of the volume is of one moment
            file.seek(offset)
            file.write(data)

    def _trouble(self, *actions: str) -> Any:
        namespace, _, name = self._vm.partition("/")
        return self._container.trouble.find("guest", *actions, namespace=namespace, name=name)
