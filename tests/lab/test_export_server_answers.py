"""The export server answers as the real one was measured to (real-stack.md 3.2), over TLS, from real files."""

from __future__ import annotations

import gzip
import http.client
import io
import socket
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from migrate.lab.clock import RealClock
from migrate.lab.gotime import stamp
from tests.lab.exporter import TOKEN, Exporter, volumes

RAW = "/volumes/disk/disk.img"
GZIP = f"{RAW}.gz"
TAR = "/volumes/files/disk.tar.gz"
DIR = "/volumes/files/dir/"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exporter, bytes, bytes]]:
    root = tmp_path_factory.mktemp("exporter")
    disk, raw = volumes(root)
    server = Exporter(root)
    yield server, disk, raw
    server.stop()


@pytest.fixture
def server(shared: tuple[Exporter, bytes, bytes]) -> Iterator[Exporter]:
    yield shared[0]
    shared[0].trouble.clear()


@pytest.fixture
def disk(shared: tuple[Exporter, bytes, bytes]) -> bytes:
    return shared[1]


def test_raw_is_the_disk_with_its_length(server: Exporter, disk: bytes) -> None:
    """GET and HEAD tell length and that ranges are accepted, and no validator; GET sends every byte."""
    got = server.ask(RAW)
    assert (got.code, got.body) == (200, disk)
    head = server.ask(RAW, "HEAD")
    assert (head.code, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(disk))
    assert head.headers["accept-ranges"] == "bytes"
    assert not {"etag", "last-modified"} & head.headers.keys()


def test_a_device_is_served_like_a_file(shared: tuple[Exporter, bytes, bytes]) -> None:
    """A block volume is sent from its device, raw and gzip."""
    server, _, raw = shared
    assert server.ask("/volumes/raw/disk.img").body == raw
    assert gzip.decompress(server.ask("/volumes/raw/disk.img.gz").body) == raw


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-1023", 0, 1024), ("bytes=1000-4999", 1000, 5000), ("bytes=-1024", -1024, None), ("bytes=70-", 70, None)],
)
def test_one_range_is_206(server: Exporter, disk: bytes, wanted: str, start: int, end: int | None) -> None:
    """First, middle, suffix and open-ended ranges give exactly these bytes."""
    got = server.ask(RAW, Range=wanted)
    piece = disk[start:end]
    assert (got.code, got.body) == (206, piece)
    first = start if start >= 0 else len(disk) + start
    assert got.headers["content-range"] == f"bytes {first}-{first + len(piece) - 1}/{len(disk)}"
    assert got.headers["content-length"] == str(len(piece))


def test_two_ranges_are_multipart(server: Exporter, disk: bytes) -> None:
    """Several ranges come as parts, with a length that is right."""
    got = server.ask(RAW, Range="bytes=0-3,256-260")
    assert got.code == 206
    assert got.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert got.headers["content-length"] == str(len(got.body))
    boundary = got.headers["content-type"].partition("=")[2].encode()
    parts = [part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") for part in got.body.split(b"--" + boundary)[1:-1]]
    assert parts == [disk[0:4], disk[256:261]]


def test_bad_ranges_are_416(server: Exporter, disk: bytes) -> None:
    """Past the end tells the size in 33 bytes of text; malformed tells nothing in 14."""
    beyond = server.ask(RAW, Range=f"bytes={len(disk)}-")
    assert (beyond.code, len(beyond.body), beyond.headers["content-range"]) == (416, 33, f"bytes */{len(disk)}")
    malformed = server.ask(RAW, Range="bytes=abc")
    assert (malformed.code, len(malformed.body)) == (416, 14)
    assert "content-range" not in malformed.headers


def test_the_method_is_not_checked_on_raw(server: Exporter, disk: bytes) -> None:
    """POST of raw with a range is 206."""
    got = server.ask(RAW, "POST", Range="bytes=0-9")
    assert (got.code, got.body) == (206, disk[:10])


def test_a_made_up_tag_makes_the_range_void(server: Exporter, disk: bytes) -> None:
    """If-Range never matches, since there is no validator: the whole disk comes."""
    assert len(server.ask(RAW, Range="bytes=0-9", If_Range='"tag"').body) == len(disk)


def test_gzip_is_chunked_and_whole(server: Exporter, disk: bytes) -> None:
    """The stream has no length, ignores ranges, and unpacks to the disk."""
    for headers in ({}, {"Range": "bytes=100-200"}):
        got = server.ask(GZIP, **headers)
        assert got.code == 200
        assert got.headers["transfer-encoding"] == "chunked"
        assert got.headers["content-type"] == "application/x-gzip"
        assert not {"content-length", "accept-ranges", "content-encoding"} & got.headers.keys()
        assert gzip.decompress(got.body) == disk


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", GZIP), ("POST", GZIP), ("HEAD", TAR), ("HEAD", "/internal/manifests/all"), ("POST", "/external/manifests/secret")],
)
def test_everything_but_raw_and_dir_is_for_get(server: Exporter, method: str, path: str) -> None:
    """Other methods on gzip, archives and manifests are 400 without a body."""
    got = server.ask(path, method)
    assert (got.code, got.body) == (400, b"")


def test_an_archive_holds_the_files(server: Exporter) -> None:
    """The tar has ./ and everything below it but lost+found, with its content."""
    got = server.ask(TAR)
    assert (got.code, got.headers["transfer-encoding"]) == (200, "chunked")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(got.body))) as tar:
        names = tar.getnames()
        hello = tar.extractfile("./a.txt")
        assert hello is not None
        assert hello.read() == b"hello world"
    assert sorted(names) == [".", "./a.txt", "./inside", "./outside", "./sub", "./sub/b.bin"]


def test_a_directory_is_listed_and_its_files_served(server: Exporter) -> None:
    """The listing links the entries; files have dates and ranges."""
    listing = server.ask(DIR)
    assert (listing.code, listing.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<a href="a.txt">' in listing.body
    assert b'<a href="sub/">' in listing.body
    whole = server.ask(f"{DIR}a.txt")
    assert (whole.code, whole.body) == (200, b"hello world")
    part = server.ask(f"{DIR}a.txt", Range="bytes=0-4", If_Range=whole.headers["last-modified"])
    assert (part.code, part.body) == (206, b"hello")
    assert server.ask(f"{DIR}a.txt", If_Modified_Since=whole.headers["last-modified"]).code == 304
    assert len(server.ask(f"{DIR}a.txt", Range="bytes=0-4", If_Range='"x"').body) == 11


def test_links_inside_are_followed_and_links_out_are_not(server: Exporter) -> None:
    """A link within the volume is its target; one out of it, and a missing file, are 404."""
    assert server.ask(f"{DIR}inside").body == b"hello world"
    assert server.ask(f"{DIR}outside").code == 404
    assert server.ask(f"{DIR}../../../etc/hostname").code in {307, 404}
    assert server.ask(f"{DIR}nothing").code == 404


def test_unclean_paths_are_redirected(server: Exporter) -> None:
    """A directory without its slash and a doubled slash lead to the clean path."""
    got = server.ask("/volumes/files/dir")
    assert (got.code, got.headers["location"]) == (307, DIR)
    got = server.ask("/volumes//disk/disk.img?x=1")
    assert (got.code, got.headers["location"]) == (307, f"{RAW}?x=1")
    assert server.ask(f"{DIR}sub").headers["location"] == "sub/"


@pytest.mark.parametrize("token", [None, "wrong", f"{TOKEN}x", TOKEN.lower()])
def test_without_the_token_everything_is_401(server: Exporter, token: str | None) -> None:
    """No token or another one is 401 without a body."""
    got = server.ask(RAW, token=token)
    assert (got.code, got.body, got.headers["content-length"]) == (401, b"", "0")


def test_the_token_may_be_a_query_parameter(server: Exporter) -> None:
    """The parameter has the header's name, in exact lower case, and is compared byte for byte."""
    assert server.ask(f"{RAW}?x-kubevirt-export-token={TOKEN}", token=None).code == 200
    assert server.ask(f"{RAW}?x-kubevirt-export-token={TOKEN}%0A", token=None).code == 401
    assert server.ask(f"{RAW}?X-Kubevirt-Export-Token={TOKEN}", token=None).code == 401


def test_an_unknown_path_is_404_before_any_token(server: Exporter) -> None:
    """Unknown paths are 404 with 19 bytes of text, with and without a token."""
    for token in (None, TOKEN):
        got = server.ask("/nothing", token=token)
        assert (got.code, len(got.body)) == (404, 19)


def test_readiness_needs_no_token(server: Exporter) -> None:
    """/exportready says OK to everybody."""
    got = server.ask("/exportready", token=None)
    assert (got.code, got.body) == (200, b"OK")


def test_manifests_without_files_are_500(server: Exporter) -> None:
    """An export of a single claim advertises the header Secret and fails to serve it."""
    assert server.ask("/internal/manifests/secret").code == 500
    assert server.ask("/external/manifests/all").code == 500


def test_plain_http_is_told_so(server: Exporter) -> None:
    """HTTP on the TLS port is answered 400 in HTTP/1.0."""
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.0 400 Bad Request")


def test_one_connection_carries_many_requests(server: Exporter) -> None:
    """Connections are kept for the next request, also after an error."""
    connection = server.connection()
    for path, code in (("/exportready", 200), ("/nothing", 404), (RAW, 401), ("/exportready", 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == code
    connection.close()


def test_a_new_token_counts_at_once(server: Exporter) -> None:
    """The token file is read at every request."""
    path = server.root / "token" / "token"
    path.write_text("another")
    try:
        assert server.ask(RAW).code == 401
        assert server.ask(RAW, token="another").code == 200
    finally:
        path.write_text(TOKEN)


def test_faults_spoil_what_they_are_meant_for(server: Exporter, disk: bytes, shared: tuple[Exporter, bytes, bytes]) -> None:
    """Refuse, truncate, swap and drop act on the volume and format that they name, and on nothing else."""
    server.trouble.set("export", "refuse", format="raw", volume="disk", status=429, retry_after=7, times=1)
    refused = server.ask(RAW)
    assert (refused.code, refused.headers["retry-after"]) == (429, "7")
    server.trouble.set("export", "truncate", format="gzip", after=1000)
    assert gzip.decompress(server.ask(GZIP).body) == disk[:1000]
    assert server.ask(RAW).body == disk
    server.trouble.clear()
    server.trouble.set("export", "truncate", format="raw", after="1Ki")
    assert server.ask(RAW, "HEAD").headers["content-length"] == "1024"
    server.trouble.clear()
    server.trouble.set("export", "swap", volume="disk", export="ex")
    assert server.ask(RAW).body == shared[2]
    server.trouble.clear()
    server.trouble.set("export", "drop", format="raw", after=70_000, times=1)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as caught:
        server.ask(RAW)
    if isinstance(caught.value, http.client.IncompleteRead):
        assert len(caught.value.partial) <= 70_000


def test_an_unreadable_volume_ends_the_program(tmp_path: Path) -> None:
    """A broken link among the files is enough: the program exits at once, as a failed pod."""
    volumes(tmp_path)
    (tmp_path / "files" / "broken").symlink_to("nowhere")
    server = Exporter(tmp_path)
    server.thread.join(10)
    assert server.code == 1


def test_at_the_deadline_running_transfers_may_end(tmp_path: Path) -> None:
    """After the deadline nobody new is let in, the transfer under way is finished, and the program exits 0."""
    disk, _ = volumes(tmp_path)
    clock = RealClock(speed=10)
    server = Exporter(tmp_path, clock=clock, env={"DEADLINE": stamp(clock.now() + timedelta(seconds=5))})
    connection = server.connection()
    connection.request("GET", RAW, headers={"x-kubevirt-export-token": TOKEN})
    answer = connection.getresponse()
    first = answer.read(1000)
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
        except OSError:
            break
    assert server.thread.is_alive()
    assert first + answer.read() == disk
    server.thread.join(10)
    assert server.code == 0


def test_stopping_cuts_transfers(tmp_path: Path) -> None:
    """When the pod is deleted, running transfers break off."""
    volumes(tmp_path)
    with (tmp_path / "disk" / "disk.img").open("r+b") as file:
        file.truncate(64 << 20)
    server = Exporter(tmp_path)
    connection = server.connection()
    connection.request("GET", RAW, headers={"x-kubevirt-export-token": TOKEN})
    answer = connection.getresponse()
    answer.read(1000)
    assert server.stop() == 143
    with pytest.raises((http.client.IncompleteRead, OSError)):
        answer.read()


def test_an_index_is_given_for_its_directory(server: Exporter) -> None:
    """As Go's FileServer answered (asked with curl): the page with ranges in place of a listing, and by its own name only a redirect."""
    sub = server.root / "files" / "sub"
    (sub / "index.html").write_text("<p>hello")
    page = server.ask(f"{DIR}sub/")
    assert (page.code, page.body, page.headers["accept-ranges"]) == (200, b"<p>hello", "bytes")
    assert "accept-ranges" not in server.ask(DIR).headers
    for name, where in (("sub/index.html", "./"), ("index.html", "./"), ("sub/index.html/", "../index.html")):
        moved = server.ask(f"{DIR}{name}", "HEAD")
        assert (moved.code, moved.headers["location"]) == (301, where)
    assert server.ask(f"{DIR}index.html/", "HEAD").code == 404
    (sub / "index.html").unlink()
    (sub / "index.html").mkdir()
    assert b"b.bin" not in server.ask(f"{DIR}sub/").body
    assert server.ask(f"{DIR}sub/index.html/", "HEAD").code == 200
