"""The archive of a claim is read whole or not at all, packed without its root, and compared by paths and contents."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from migrate.transfer.archive import Entry, compare_files, contents, pack
from migrate.transfer.patience import Interrupted

T = TypeVar("T")
NEVER = threading.Event()


class Served:
    """In place of an export client: a body in pieces of seven bytes and more."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def whole(self, url: str, read: Callable[[Iterator[bytes]], T], cancelled: threading.Event) -> T:
        return read(self.body[at : at + 977] for at in range(0, len(self.body), 977))


def tree(root: Path) -> Path:
    """Make a tree as KubeVirt keeps it: TPM state, and EFI variables that are mostly holes."""
    (root / "swtpm/u-1/tpm2").mkdir(parents=True)
    (root / "swtpm/u-1/tpm2/tpm2-00.permall").write_bytes(bytes(range(256)) * 24)
    (root / "nvram").mkdir()
    with (root / "nvram/db_VARS.fd").open("wb") as file:
        file.write(b"VARS")
        file.seek(540_671)
        file.write(b"\1")
    (root / "swtpm/current").symlink_to("u-1")
    for left_out in ("lost+found", "cbt"):
        (root / left_out).mkdir()
        (root / left_out / "x").write_text("x")
    return root


def packed(root: Path) -> bytes:
    """Pack it as KubeVirt's export server does: GNU tar, sparse, with the root, gzipped."""
    made = subprocess.run(["tar", "Sc", "."], cwd=root, capture_output=True, check=True).stdout
    return gzip.compress(made, 1)


def read(body: bytes) -> dict[str, Entry]:
    client: Any = Served(body)
    return contents(client, "https://h/x", cancelled=NEVER, moved=lambda _: None)


def test_what_is_packed_is_what_was_there(tmp_path: Path) -> None:
    """Paths, holes and links come through; the root, lost+found and the overlays of block tracking do not."""
    root, out, client = tree(tmp_path / "a"), io.BytesIO(), Served(b"")
    client.body = packed(root)
    found = pack(client, "https://h/x", out, cancelled=NEVER)  # type: ignore[arg-type]
    assert found == read(client.body)
    assert {path for path, entry in found.items() if entry.kind == "file"} == {"swtpm/u-1/tpm2/tpm2-00.permall", "nvram/db_VARS.fd"}
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert not {"", ".", "./"} & set(archive.getnames())
        assert all(member.mode & 0o060 == 0o060 for member in archive if not member.issym())
        (tmp_path / "b").mkdir()
        archive.extractall(tmp_path / "b", filter="tar")
    assert (tmp_path / "b/nvram/db_VARS.fd").read_bytes() == (root / "nvram/db_VARS.fd").read_bytes()
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"swtpm", "nvram"}
    assert compare_files(found, read(packed(tmp_path / "b"))).differences == ()


@pytest.mark.parametrize("lost", [1, 9, 600, 5000])
def test_an_archive_that_was_cut_is_no_archive(tmp_path: Path, lost: int) -> None:
    """A stream that ends early is noticed, also when its server closed the gzip in good order."""
    body = packed(tree(tmp_path / "a"))
    with pytest.raises(Interrupted):
        read(body[:-lost])
    plain = gzip.decompress(body)
    with pytest.raises(Interrupted):
        read(gzip.compress(plain.rstrip(b"\0")[:-lost]))


def test_an_archive_without_its_end_is_no_archive(tmp_path: Path) -> None:
    """One that stops right behind a member, where tar itself would see nothing wrong, is noticed too."""
    (tmp_path / "a").write_bytes(bytes(range(256)) * 4)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / "a", "a")
    assert list(read(gzip.compress(out.getvalue()))) == ["a"]
    with pytest.raises(Interrupted, match="ends early"):
        read(gzip.compress(out.getvalue()[:1536]))


def test_each_difference_is_named() -> None:
    """Content, size, kind, what is missing and what is too much: each by its path; an equal pair has a digest."""
    one = {"a": Entry("file", 1, "x"), "b": Entry("directory"), "c": Entry("file", 2, "y")}
    two = {"a": Entry("file", 1, "z"), "b": Entry("file", 0, "w"), "d": Entry("link", 0, "a")}
    outcome = compare_files(one, two)
    assert [words.split()[0] for words in outcome.differences] == ["a", "b", "c", "d"]
    assert outcome.digest == ""
    equal = compare_files(one, dict(reversed(one.items())))
    assert (equal.differences, equal.bytes, equal.coverage) == ((), 3, "full")
    assert equal.digest.startswith("sha256:")
