"""A guest's life shows in the bytes of its disk: boots, steady writes, clean ends and lost writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.lab import kubevirt_guest
from migrate.lab.clock import SimClock
from migrate.lab.kubevirt_guest import GuestLog, read_guest_log
from migrate.lab.pods import Container, Killed, Mounted
from migrate.lab.trouble import Trouble

SIZE = 3 << 20


@pytest.fixture
def clock() -> Iterator[SimClock]:
    clock = SimClock()
    with clock.busy():
        yield clock
    clock.close()


class Machine:
    """A launcher container around one disk, started and ended by hand."""

    def __init__(self, clock: SimClock, root: Path, *, grace_s: float = 30, shutdown_s: float = 2, args: tuple[str, ...] = ()) -> None:
        self.clock = clock
        self.disk = root / "disk.img"
        self.trouble = Trouble()
        env = {
            "VM": "shop/db",
            "VMI_UID": "4a1f6f0e-0000-4000-8000-000000000001",
            "DISKS": json.dumps(["/disks/root"]),
            "GRACE_SECONDS": str(grace_s),
            "SHUTDOWN_SECONDS": str(shutdown_s),
        }
        self.container = Container(
            {"metadata": {"name": "virt-launcher-db", "namespace": "shop"}},
            {"name": "compute", "args": list(args)},
            clock=clock,
            trouble=self.trouble,
            env=env,
            volumes=Mounted({"/disks/root": root}, {}, {}),
            on_listen=lambda _inside, _outside: None,
        )
        self.code: int | None = None
        self._done = threading.Event()

    def start(self, run_s: float) -> None:
        threading.Thread(target=self._run, daemon=True).start()
        self.clock.sleep(run_s)

    def _run(self) -> None:
        with self.clock.busy():
            try:
                self.code = kubevirt_guest.run(self.container)
            except Killed:
                self.code = 137
            finally:
                self._done.set()

    def stop(self) -> Any:
        """Ask for a shutdown and return the exit code and the seconds it took."""
        begun = self.clock.monotonic()
        self.container.stop.set()
        self.clock.wait(self._done, 100)
        return self.code, round(self.clock.monotonic() - begun)

    def kill(self) -> Any:
        self.container.killed.set()
        return self.stop()[0]

    @property
    def log(self) -> GuestLog:
        return read_guest_log(self.disk)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "disk.img").write_bytes(bytes(range(256)) * (SIZE // 256))
    return tmp_path


def test_a_clean_shutdown_loses_nothing(clock: SimClock, root: Path) -> None:
    """After 22 seconds four records were made, and all four are on the disk, with the mark of a clean end."""
    machine = Machine(clock, root)
    machine.start(22)
    assert machine.stop() == (0, 2)
    log = machine.log
    assert (log.boots, log.clean, log.vm, [record.sequence for record in log.records]) == (1, True, "shop/db", [1, 2, 3, 4])
    assert {record.instance for record in log.records} == {"4a1f6f0e-0000-4000-8000-000000000001"}


@pytest.mark.parametrize(("grace_s", "shutdown_s", "took"), [(0, 2, 0), (3, 60, 3)])
def test_too_short_a_grace_loses_the_last_write(clock: SimClock, root: Path, grace_s: float, shutdown_s: float, took: int) -> None:
    """Without grace, or with less than the guest needs, it is cut off: what was in memory is lost, and the end is not clean."""
    machine = Machine(clock, root, grace_s=grace_s, shutdown_s=shutdown_s)
    machine.start(22)
    assert machine.stop() == (137, took)
    assert (machine.log.clean, machine.log.last) == (False, 3)


def test_a_killed_guest_writes_nothing_more(clock: SimClock, root: Path) -> None:
    """SIGKILL ends it at once."""
    machine = Machine(clock, root)
    machine.start(12)
    assert machine.kill() == 137
    assert (machine.log.clean, machine.log.last) == (False, 1)


def test_every_boot_is_counted(clock: SimClock, root: Path) -> None:
    """Boots and sequence numbers go on where the last guest stopped, so that a stale copy and a double start can be told."""
    for _ in range(3):
        machine = Machine(clock, root)
        machine.start(11)
        machine.stop()
    log = machine.log
    assert (log.boots, log.last) == (3, 6)
    assert [record.boot for record in log.records] == [1, 1, 2, 2, 3, 3]


def test_the_rest_of_the_disk_stays(clock: SimClock, root: Path) -> None:
    """Only bytes between 64 KiB and 1 MiB are ever written."""
    before = (root / "disk.img").read_bytes()
    machine = Machine(clock, root)
    machine.start(60)
    machine.stop()
    after = (root / "disk.img").read_bytes()
    assert after[: 64 << 10] == before[: 64 << 10]
    assert after[1 << 20 :] == before[1 << 20 :]
    assert after != before


def test_without_its_disk_it_does_not_boot(clock: SimClock, tmp_path: Path) -> None:
    """A missing disk file is an error at once, and no file is made."""
    machine = Machine(clock, tmp_path)
    machine.start(1)
    assert machine.code == 1
    assert not machine.disk.exists()
    assert "No such file" in machine.container.lines[-1][1]


def test_a_tiny_disk_is_booted_and_left_alone(clock: SimClock, tmp_path: Path) -> None:
    """Disks under one MiB have no room for the guest's notes."""
    (tmp_path / "disk.img").write_bytes(b"x" * 1000)
    machine = Machine(clock, tmp_path)
    machine.start(20)
    assert machine.stop()[0] == 0
    assert machine.disk.read_bytes() == b"x" * 1000


def test_a_freeze_writes_out_and_stops_writing(clock: SimClock, root: Path) -> None:
    """While frozen the disk does not change; the freeze ends by itself."""
    machine = Machine(clock, root)
    machine.start(12)
    guest = machine.container.shared[kubevirt_guest.GUEST]
    guest.freeze(60)
    frozen = machine.disk.read_bytes()
    assert machine.log.last == 2
    clock.sleep(50)
    assert machine.disk.read_bytes() == frozen
    clock.sleep(30)
    assert machine.log.last > 2
    machine.stop()


def test_a_guest_can_end_by_itself(clock: SimClock, root: Path) -> None:
    """A shutdown from inside is clean; a crash from inside is not."""
    machine = Machine(clock, root)
    machine.trouble.set("guest", "restart", name="db", code=0, times=1)
    machine.start(6)
    assert (machine.code, machine.log.clean) == (0, True)
    machine = Machine(clock, root)
    machine.trouble.set("guest", "restart", code=3)
    machine.start(6)
    assert (machine.code, machine.log.clean) == (3, False)


def test_a_guest_may_ignore_the_shutdown(clock: SimClock, root: Path) -> None:
    """A guest that does not listen is cut off at the end of its grace period."""
    machine = Machine(clock, root)
    machine.trouble.set("guest", "refuse", namespace="shop")
    machine.start(6)
    assert machine.stop() == (137, 30)


def test_a_pod_for_binding_ends_at_once(clock: SimClock, root: Path) -> None:
    """With the argument `provision` nothing boots."""
    machine = Machine(clock, root, args=("provision",))
    machine.start(1)
    assert (machine.code, machine.log) == (0, GuestLog())


def test_an_untouched_disk_has_an_empty_log() -> None:
    """Zeros, noise and short disks read as never booted."""
    assert read_guest_log(bytes(2 << 20)) == GuestLog()
    assert read_guest_log(b"\xff" * (2 << 20)) == GuestLog()
    assert read_guest_log(b"") == GuestLog()
