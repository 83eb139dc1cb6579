"""One export server as a pod would run it, without a cluster around it; and a client that shows tokens."""

from __future__ import annotations

import http.client
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrate.lab import certs, export_server
from migrate.lab.clock import LabClock, RealClock
from migrate.lab.pods import Container, Mounted
from migrate.lab.trouble import Trouble

TOKEN = "s3cret-Token-123456"
NAME = "virt-export-ex.shop.svc"


@dataclass(frozen=True, slots=True)
class Got:
    """An answer."""

    code: int
    headers: dict[str, str]
    body: bytes


class Exporter:
    """Serves `disk` (a file system with disk.img), `raw` (a device) and `files` (an archive) from a directory."""

    def __init__(
        self, root: Path, *, clock: LabClock | None = None, env: dict[str, str] | None = None, manifest: dict[str, str] | None = None
    ):
        self.root = root
        self.clock = clock or RealClock()
        self.trouble = Trouble()
        self.authority = certs.Authority("export")
        pair = self.authority.server(NAME)
        for name, text in (("cert/tls.crt", pair.chain_pem), ("cert/tls.key", pair.key_pem), ("token/token", TOKEN)):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        mounts = {f"/{name}": root / name for name in ("cert", "token")}
        mounts |= {"/export-volumes/disk": root / "disk", "/export-volumes/files": root / "files"}
        if manifest is not None:
            (root / "manifest").mkdir()
            for name, text in manifest.items():
                (root / "manifest" / name).write_text(text)
            mounts["/manifest_data"] = root / "manifest"
        self.container = Container(
            {"metadata": {"name": "virt-export-ex", "namespace": "shop", "labels": {export_server.SERVICE_LABEL: "ex"}}},
            {"name": "exporter"},
            clock=self.clock,
            trouble=self.trouble,
            env=ENV | (env or {}),
            volumes=Mounted(mounts, {"/dev/export-volumes/raw": root / "block"}, {}),
            on_listen=self._listening,
        )
        self.port = 0
        self.code: int | None = None
        self._up = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._up.wait(10)

    def _listening(self, _container_port: int, port: int) -> None:
        self.port = port
        self._up.set()

    def _run(self) -> None:
        self.code = export_server.run(self.container)
        self._up.set()

    def connection(self) -> http.client.HTTPSConnection:
        """Return a connection that checks the certificate for the Service's name."""
        context = ssl.create_default_context(cadata=self.authority.ca_pem)
        context.check_hostname = False
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)

    def ask(self, path: str, method: str = "GET", *, token: str | None = TOKEN, **headers: str) -> Got:
        """Send one request."""
        connection = self.connection()
        shown = {export_server.TOKEN: token} if token is not None else {}
        try:
            connection.request(method, path, headers=shown | {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def stop(self) -> Any:
        """Stop it, and return its exit code."""
        self.container.stop.set()
        self.thread.join(10)
        return self.code


ENV = {
    "CERT_FILE": "/cert/tls.crt",
    "KEY_FILE": "/cert/tls.key",
    "TOKEN_FILE": "/token/token",
    "EXPORT_VM_DEF_URI": "/manifests/all",
    "EXPORT_SECRET_DEF_URI": "/manifests/secret",
    "VOLUME0_EXPORT_PATH": "/export-volumes/disk",
    "VOLUME0_EXPORT_RAW_URI": "/volumes/disk/disk.img",
    "VOLUME0_EXPORT_RAW_GZIP_URI": "/volumes/disk/disk.img.gz",
    "VOLUME1_EXPORT_PATH": "/dev/export-volumes/raw",
    "VOLUME1_EXPORT_RAW_URI": "/volumes/raw/disk.img",
    "VOLUME1_EXPORT_RAW_GZIP_URI": "/volumes/raw/disk.img.gz",
    "VOLUME2_EXPORT_PATH": "/export-volumes/files",
    "VOLUME2_EXPORT_ARCHIVE_URI": "/volumes/files/disk.tar.gz",
    "VOLUME2_EXPORT_DIR_URI": "/volumes/files/dir/",
}


def volumes(root: Path) -> tuple[bytes, bytes]:
    """Lay down the three volumes; return the bytes of `disk` and of `raw`."""
    disk = bytes(range(256)) * 12_000 + bytes(1 << 20)
    raw = b"device" * 700_000
    (root / "disk").mkdir()
    (root / "disk" / "disk.img").write_bytes(disk)
    (root / "block").write_bytes(raw)
    (root / "files" / "lost+found").mkdir(parents=True)
    (root / "files" / "sub").mkdir()
    (root / "files" / "a.txt").write_text("hello world")
    (root / "files" / "sub" / "b.bin").write_bytes(bytes(5000))
    (root / "files" / "inside").symlink_to("a.txt")
    (root / "files" / "outside").symlink_to("/etc/hostname")
    return disk, raw
