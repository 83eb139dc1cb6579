"""A download takes the place of a file, so it lands only where that harms nobody; anything else is said before anything is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrate.model.errors import UsageError
from migrate.transfer.landing import landing


def test_files_and_names_that_are_free(tmp_path: Path) -> None:
    """A file that is there, or none; for files of a claim a directory, which may be still to make."""
    (tmp_path / "there").write_text("x")
    for name in ("there", "new"):
        assert landing(tmp_path / name) == tmp_path / name
    (tmp_path / "empty").mkdir()
    assert landing(tmp_path / "empty", directory=True) == tmp_path / "empty"
    assert landing(tmp_path / "new" / "deep", directory=True) == tmp_path / "new" / "deep"


def test_a_link_is_followed(tmp_path: Path) -> None:
    """It stays a link, and what it leads to is written, also where that is not there yet."""
    (tmp_path / "big").mkdir()
    for name in ("old", "new"):
        (tmp_path / name).symlink_to(f"big/{name}")
        assert landing(tmp_path / name) == tmp_path / "big" / name
        (tmp_path / "big" / "old").write_text("x")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Devices, pipes, directories, links to such, a directory that is not there: each with the reason and the way out."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "lead").symlink_to("pipe")
    (tmp_path / "ring").symlink_to("ring")
    for place, words in (
        (Path("/dev/null"), "--output - > /dev/null"),
        (tmp_path / "pipe", "--output - >"),
        (tmp_path / "lead", "--output - >"),
        (tmp_path, "name a file in it"),
        (Path(), "name a file in it"),
        (Path("/"), "name a file in it"),
        (tmp_path / "nowhere" / "file", "make it"),
        (tmp_path / "ring", "name another file"),
    ):
        with pytest.raises(UsageError) as refused:
            landing(place)
        assert words in refused.value.now, place
    for taken in (tmp_path, Path(), Path("/proc")):
        with pytest.raises(UsageError) as refused:
            landing(taken, directory=True)
        assert "name a new directory" in refused.value.now, taken
    with pytest.raises(UsageError, match="is no directory"):
        landing(tmp_path / "file", directory=True)
