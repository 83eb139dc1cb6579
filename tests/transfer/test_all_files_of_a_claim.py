"""The dir format brings every file that there is, whatever its name; links that lead to no file are left out, and said."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from migrate.model.clock import Clock
from migrate.model.errors import Blocked, MigrateError, UsageError
from migrate.transfer import folder
from migrate.transfer.answers import Changed, Denied
from migrate.transfer.export_client import ExportClient
from migrate.transfer.proof import Cancelled
from migrate.transfer.straight import Straight
from tests.lab.exporter import NAME, TOKEN, Exporter, volumes

ROOT = f"https://{NAME}/volumes/files/dir/"
STRANGE = (b"latin-\xe9.txt", b"R&D&lt;1>.txt", b"100%20.txt", b"a?b#c.txt", b"a:b", b'quo"te', b"cbt/bitmap", b"sub/lost+found/kept")


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    volumes(tmp_path)
    files = tmp_path / "files"
    for name in STRANGE:
        place = files / os.fsdecode(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"in " + name)
    (files / "lost+found").mkdir(exist_ok=True)
    (files / "lost+found" / "x").write_bytes(b"x")
    running = Exporter(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def client(exporter: Exporter, clock: Clock) -> Iterator[ExportClient]:
    one = ExportClient(ca_pem=exporter.authority.ca_pem, token=TOKEN, clock=clock, forward=Straight(f"127.0.0.1:{exporter.port}"))
    yield one
    one.close()


def brought(output: Path) -> dict[bytes, bytes]:
    return {os.fsencode(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_every_name_comes_through(client: ExportClient, tmp_path: Path) -> None:
    """Bytes that are no UTF-8, what HTML or URLs escape, and what our own moves leave out; but for lost+found of the root."""
    got = folder.fetch_all(client, ROOT, tmp_path / "all", identity="a")
    found = brought(tmp_path / "all")
    assert {name: found.get(name) for name in STRANGE} == {name: b"in " + name for name in STRANGE}
    assert not (tmp_path / "all" / "lost+found").exists()
    assert (got.files, got.bytes) == (len(found), sum(map(len, found.values())))


def test_links_that_lead_to_no_file_are_said_and_left_out(exporter: Exporter, client: ExportClient, tmp_path: Path) -> None:
    """Into nothing, and to a directory, where it could go round for ever: the rest comes all the same."""
    files, said = exporter.root / "files", list[str]()
    (files / "cbt" / "nowhere").symlink_to("gone")
    (files / "cbt" / "round").symlink_to("..")
    got = folder.fetch_all(client, ROOT, tmp_path / "all", identity="a", tell=said.append)
    assert got.left_out >= 2
    assert {name: brought(tmp_path / "all").get(name) for name in STRANGE} == {name: b"in " + name for name in STRANGE}
    assert "cbt/nowhere is left out: it is a link that leads nowhere" in said
    assert "cbt/round is left out: it is a link to a directory" in said


def test_a_file_that_cannot_be_read_is_an_error_in_the_end(exporter: Exporter, client: ExportClient, tmp_path: Path) -> None:
    """All others come first; then it is named, since it is no link that could be done without."""
    exporter.trouble.set("export", "refuse", path="*bitmap", status="403")
    with pytest.raises(Blocked, match="cbt/bitmap"):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a")
    assert len(brought(tmp_path / "all.part" / "tree")) >= len(STRANGE) - 1
    assert not (tmp_path / "all").exists()


def test_many_files_are_asked_for_once_in_a_while_and_in_the_end(client: ExportClient, tmp_path: Path) -> None:
    """A thousand files do not cost a thousand looks; but what changed after the last look is noticed."""
    answers, asked = iter([True, False]), list[int]()

    def same() -> bool:
        asked.append(1)
        return next(answers)

    with pytest.raises(Changed):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a", same=same)
    assert len(asked) == 2


@pytest.mark.parametrize("index", ["page", "page without links", "directory", "empty directory"])
@pytest.mark.parametrize("inside", ["", "sub/deep/"])
def test_a_page_is_never_taken_for_a_listing(exporter: Exporter, client: ExportClient, tmp_path: Path, index: str, inside: str) -> None:
    """Go serves index.html for its directory, or lists that: the directory is named and the way out, and nothing gets its name."""
    place = exporter.root / "files" / inside / "index.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    if "directory" in index:
        place.mkdir()
        if index == "directory":
            (place / "a.txt").write_text("x")
    else:
        place.write_text('<a href="https://example.org/">a</a><a href="a.txt">b</a>' if index == "page" else "hello")
    with pytest.raises(Blocked, match="cannot be listed") as blocked:
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a")
    assert inside in blocked.value.what
    assert "tar.gz" in blocked.value.now
    assert not brought(tmp_path / "all")
    with pytest.raises(Blocked, match="cannot be listed"):
        folder.entries(client, ROOT, inside)


def test_an_index_that_cannot_be_opened_is_lost(exporter: Exporter, client: ExportClient, tmp_path: Path) -> None:
    """Then its directory is listed; the server redirects whoever asks for it by name, so nobody knows what it was."""
    (exporter.root / "files" / "sub" / "index.html").symlink_to("/etc/hostname")
    with pytest.raises(Blocked, match=r"sub/index\.html"):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a")


def test_trees_of_two_states_are_not_mixed(exporter: Exporter, client: ExportClient, tmp_path: Path) -> None:
    """A try that broke leaves no name; in the next one what is gone from the claim is gone, and a file may have become a directory."""
    files, answers, said = exporter.root / "files", iter([True, False]), list[str]()
    (files / "gone.txt").write_text("old")
    with pytest.raises(Changed):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a", same=lambda: next(answers))
    assert not (tmp_path / "all").exists()
    (files / "gone.txt").unlink()
    (files / "a:b").unlink()
    (files / "a:b").mkdir()
    (files / "a:b" / "c").write_text("c")
    (files / "sub" / "lost+found" / "kept").unlink()
    (files / "sub" / "lost+found").rmdir()
    (files / "sub" / "lost+found").write_text("now a file")
    got = folder.fetch_all(client, ROOT, tmp_path / "all", identity="b", tell=said.append)
    found = brought(tmp_path / "all")
    assert (found[b"a:b/c"], found[b"sub/lost+found"], found.get(b"gone.txt"), len(found)) == (b"c", b"now a file", None, got.files)
    assert "thrown away" in said[0]
    assert not (tmp_path / "all.part").exists()


def test_a_file_that_was_under_way_is_gone_on_with(exporter: Exporter, client: ExportClient, tmp_path: Path) -> None:
    """Names that end as our own unfinished files do are names like any other."""
    for name in ("big", "big.part", "big.part.json"):
        (exporter.root / "files" / name).write_bytes(os.urandom(5 << 20))
    stop = threading.Event()

    def moved(done: int, _: int) -> None:
        if done > (3 << 20):
            stop.set()

    with pytest.raises(Cancelled):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a", moved=moved, cancelled=stop)
    before, seen = exporter.root / "files", list[int]()
    folder.fetch_all(client, ROOT, tmp_path / "all", identity="a", moved=lambda done, _: seen.append(done))
    assert all((tmp_path / "all" / f"big{end}").read_bytes() == (before / f"big{end}").read_bytes() for end in ("", ".part", ".part.json"))
    assert any(two - one >= (1 << 20) for one, two in pairwise(seen))


def test_a_place_that_is_not_ours_is_left_alone(client: ExportClient, tmp_path: Path) -> None:
    """Somebody's own DIR.part, a file of that name, another download that runs, and a DIR that was filled meanwhile: each is named."""
    part = tmp_path / "all.part"
    part.mkdir()
    (part / "mine").write_text("x")
    with pytest.raises(Blocked, match="mine"):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a")
    (tmp_path / "file.part").write_text("x")
    with pytest.raises(UsageError, match=r"file\.part"):
        folder.fetch_all(client, ROOT, tmp_path / "file", identity="a")

    def again(_words: str) -> None:
        with pytest.raises(Blocked, match="another process"):
            folder.fetch_all(client, ROOT, tmp_path / "two", identity="a")
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / "mine").write_text("x")

    with pytest.raises(Blocked, match="not empty"):
        folder.fetch_all(client, ROOT, tmp_path / "two", identity="a", tell=again)
    assert (part / "mine").read_text() == (tmp_path / "file.part").read_text() == (tmp_path / "two" / "mine").read_text() == "x"


def test_only_a_mark_of_ours_makes_a_place_ours(client: ExportClient, tmp_path: Path) -> None:
    """Somebody's DIR.part may have names like ours in it, or be a link: nothing of it is removed."""
    thesis = tmp_path / "all.part" / "tree" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("x")
    with pytest.raises(Blocked, match="tree"):
        folder.fetch_all(client, ROOT, tmp_path / "all", identity="a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "two.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Blocked, match="is a link"):
        folder.fetch_all(client, ROOT, tmp_path / "two", identity="a")
    assert thesis.read_text() == "x"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_name_that_is_not_there_is_said_so(exporter: Exporter, client: ExportClient, tmp_path: Path) -> None:
    """Not that the export is gone, where its root answers; a directory is no file, and an index is never given by its name."""
    (exporter.root / "files" / "sub" / "index.html").write_text("page")

    def trouble(path: str, *, file: bool, root: str = ROOT) -> MigrateError:
        def take() -> object:
            return folder.fetch(client, root, path, tmp_path / "z", identity="a") if file else folder.entries(client, root, path)

        with pytest.raises(MigrateError) as raised, folder.in_words(client, root, path, file=file):
            take()
        return raised.value

    assert [trouble(path, file=True).what for path in ("nosuch", "sub/no", "cbt")] == [
        "there is no file nosuch on the volume",
        "there is no file sub/no on the volume",
        "cbt is no file, but a directory",
    ]
    assert [trouble(path, file=False).what for path in ("nosuch", "cbt/bitmap")] == [
        "there is no directory nosuch on the volume",
        "cbt/bitmap is no directory, but a file",
    ]
    assert "cannot be listed" in trouble("sub/index.html", file=True).what
    assert isinstance(trouble("a.txt", file=True, root=ROOT.replace("files", "gone")), Denied)
