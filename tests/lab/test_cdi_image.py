"""Bytes on disks: what is written is what came, holes stay holes, old bytes do not shine through, and a full volume says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrate.lab.cdi_image import PAGE, NoSpace, Room, convert, overwrite, pour
from migrate.lab.cdi_target import opened
from tests.lab.test_cdi_formats import Pieces

MANY = 1 << 40
STRETCHES = st.lists(st.tuples(st.booleans(), st.integers(1, 3 * PAGE)), min_size=1, max_size=8)
RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def made(stretches: list[tuple[bool, int]]) -> bytes:
    return b"".join(os.urandom(size) if filled else bytes(size) for filled, size in stretches)


def room(left: int = MANY) -> Room:
    return Room(left, "/data/disk.img")


def nothing() -> None:
    pass


@RELAXED
@given(STRETCHES, st.integers(1, 3 * PAGE))
def test_poured_and_converted_disks_are_equal(tmp_path: Path, stretches: list[tuple[bool, int]], size: int) -> None:
    """A stream poured to scratch and converted to a fresh file gives the same bytes, in the same length after truncation."""
    data = made(stretches)
    scratch, target = tmp_path / "tmpimage", tmp_path / "disk.img"
    with opened(scratch) as fd:
        read, written = pour(Pieces(data, size), fd, room=room(), check=nothing)
    assert read == len(data)
    assert written <= len(data)
    assert scratch.read_bytes() == data
    with opened(target) as fd:
        assert convert(scratch, fd, room=room(), check=nothing, on_progress=lambda _: None) == len(data)
        os.ftruncate(fd, len(data))
    assert target.read_bytes() == data


@RELAXED
@given(STRETCHES, STRETCHES)
def test_old_bytes_of_a_device_do_not_shine_through(tmp_path: Path, old: list[tuple[bool, int]], new: list[tuple[bool, int]]) -> None:
    """On a used device, the image is exact wherever it reaches, and nothing behind it is touched."""
    before, data = made(old), made(new)
    size = max(len(before), len(data)) + PAGE
    scratch, devices = tmp_path / "tmpimage", [tmp_path / "converted", tmp_path / "overwritten"]
    scratch.write_bytes(data)
    for device in devices:
        device.write_bytes(before.ljust(size, b"\x00"))
    with opened(devices[0], fresh=False) as fd:
        convert(scratch, fd, room=room(), check=nothing, on_progress=lambda _: None)
    with opened(devices[1], fresh=False) as fd:
        assert overwrite(Pieces(data, 7000), fd, room=room(), check=nothing) == len(data)
    for device in devices:
        assert device.read_bytes() == data + before.ljust(size, b"\x00")[len(data) :]


def test_zeroes_take_no_room(tmp_path: Path) -> None:
    """A disk of zeroes is a hole from end to end."""
    with opened(tmp_path / "tmpimage") as fd:
        assert pour(Pieces(bytes(64 * PAGE), 1 << 20), fd, room=room(0), check=nothing) == (64 * PAGE, 0)
        assert os.fstat(fd).st_blocks == 0


def test_a_full_volume_says_so(tmp_path: Path) -> None:
    """Writing more than is left fails with the words of the kernel."""
    with opened(tmp_path / "tmpimage") as fd, pytest.raises(NoSpace, match=r"^write /data/disk.img: no space left on device$"):
        pour(Pieces(os.urandom(4 * PAGE), 1 << 20), fd, room=room(3 * PAGE), check=nothing)
    with opened(tmp_path / "device") as fd, pytest.raises(NoSpace):
        overwrite(Pieces(os.urandom(4 * PAGE), 1 << 20), fd, room=room(3 * PAGE), check=nothing)


def test_nothing_is_written_after_a_kill(tmp_path: Path) -> None:
    """The check comes before every write."""

    class Stop(Exception):
        pass

    def killed() -> None:
        raise Stop

    with opened(tmp_path / "tmpimage") as fd:
        with pytest.raises(Stop):
            pour(Pieces(os.urandom(PAGE)), fd, room=room(), check=killed)
        assert os.fstat(fd).st_size == 0
