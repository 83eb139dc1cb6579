"""The program in the upload pod: takes one disk over mutual TLS and writes it straight to the claim, without a scratch copy.

Source: reference/cdi-import.md section 5.2 and real-stack.md section 5. Not modelled: the form paths, image formats but raw.
"""

from __future__ import annotations

import json
import ssl
import threading
from typing import TYPE_CHECKING, Final

from migrate.lab import cdi_archive, cdi_image, upload_certs
from migrate.lab.bytesd import ByteServer, Dropped, Reply, Request, text
from migrate.lab.cdi_formats import IMAGES, Broken, unpack
from migrate.lab.cdi_image import NoSpace, Room
from migrate.lab.cdi_importer import CLAIM
from migrate.lab.cdi_target import DATA, Failed, Target, opened
from migrate.lab.httpwire import BadHead

if TYPE_CHECKING:
    from migrate.lab.httpwire import Body
    from migrate.lab.pods import Container
    from migrate.lab.trouble import Order

PORT: Final = 8443
SYNC: Final = "/v1beta1/upload"
ASYNC: Final = "/v1beta1/upload-async"
PATHS: Final = frozenset({SYNC, ASYNC, "/v1alpha1/upload", "/v1alpha1/upload-async"})
ARCHIVE: Final = "/v1beta1/upload-archive"
"""Where the proxy sends an upload to a claim whose content is files."""
IDLE_S: Final = 12 * 3600.0
DEADLINE_PASSED: Final = "Deadline Passed"
_DRAIN: Final = 1 << 20


def upload_server(container: Container) -> int:
    """Serve until one upload is done (exit 0), the idle deadline has passed (exit 0), or the pod is stopped."""
    server = UploadServer(container)
    listening = ByteServer(container.listen(PORT), server.context(), server.answer, name="cdi-uploadserver", clock=container.clock)
    listening.start()
    threading.Thread(target=server.follow_stop, name="cdi-uploadserver-stop", daemon=True).start()
    ended = container.clock.wait(server.over, IDLE_S)
    if container.stop.is_set() or server.code:
        listening.abort()
        return server.code or 143
    listening.drain()
    container.clock.wait(listening.drained, 30)
    listening.abort()
    message = "Upload Complete" if ended else DEADLINE_PASSED
    container.terminate(json.dumps({"preallocationApplied": False, "message": message}, separators=(",", ":")))
    return 0


class _Refused(Exception):
    """The upload is not taken."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class _Stream:
    """The body of an upload, as a source of bytes. While the client is slow, lab time passes."""

    def __init__(self, container: Container, body: Body, order: Order | None, server: UploadServer) -> None:
        self._container = container
        self._body = body
        self._order = order
        self._server = server
        self._received = 0

    def readinto(self, buffer: memoryview) -> int:
        with self._container.clock.idle():
            size = self._body.read_into(buffer)
        self._received += size
        order = self._order
        if order is not None and self._received > order.count("after"):
            if order.action == "restart":
                self._server.die(order.count("code", 1))
            raise Dropped
        return size

    def drain(self) -> None:
        """Take the rest of the body, since CDI answers a bad upload only when it has all of it."""
        buffer = memoryview(bytearray(_DRAIN))
        while self.readinto(buffer):
            pass


class UploadServer:
    """The routes of one upload pod."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.target = Target.of(container, size=container.env["UPLOAD_IMAGE_SIZE"])
        self.over = threading.Event()
        """Set when the program has nothing more to do."""
        self.code = 0
        self._uploading = threading.Lock()

    def context(self) -> ssl.SSLContext:
        """Return the TLS context, from the mounted certificate."""
        env, path = self._container.env, self._container.path
        return upload_certs.server_context(
            chain_pem=path(env["TLS_CERT_FILE"]).read_text(),
            key_pem=path(env["TLS_KEY_FILE"]).read_text(),
            client_ca_pem=path(env["CLIENT_CERT_FILE"]).read_text(),
        )

    def follow_stop(self) -> None:
        """End the program when its pod is stopped."""
        self._container.clock.wait(self._container.stop, None)
        self.over.set()

    def die(self, code: int) -> None:
        """End the program as if it had crashed."""
        self.code = code
        self.over.set()

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        if request.path == "/healthz":
            return text(200, "OK")
        if request.path not in {*PATHS, ARCHIVE} or request.method not in {"POST", "HEAD"}:
            return Reply(404)
        if upload_certs.client_name(request.peer) != self._container.env.get("CLIENT_NAME", upload_certs.CLIENT_NAME):
            return Reply(401)
        if request.method == "HEAD":
            return Reply(200 if request.path.endswith("-async") else 404)
        if self.over.is_set():
            return Reply(409)
        if not self._uploading.acquire(blocking=False):
            return Reply(503)
        try:
            return self._take(request)
        finally:
            self._uploading.release()

    def _take(self, request: Request) -> Reply:
        stream = _Stream(self._container, request.body, self._order(request), self)
        try:
            (self._unpack if request.path == ARCHIVE else self._save)(stream)
        except _Refused as refusal:
            self._container.log(refusal.words)
            stream.drain()
            return text(refusal.code, refusal.words)
        except BadHead:
            self._container.log("Saving stream failed: unexpected EOF")
            self._discard()
            raise
        except Dropped:
            self._discard()
            raise
        self._container.log("Wrote data to " + self.target.inside)
        self.over.set()
        return Reply(200)

    def _order(self, request: Request) -> Order | None:
        annotations = self._container.pod["metadata"].get("annotations") or {}
        return self._container.trouble.find(
            "upload",
            "drop",
            "restart",
            namespace=self._container.namespace,
            name=annotations.get(CLAIM, ""),
            pod=self._container.pod_name,
            path=request.path,
            method=request.method,
        )

    def _unpack(self, stream: _Stream) -> None:
        root = self._container.path(DATA)
        room = Room(self._container.free_bytes(DATA), DATA)
        try:
            cdi_archive.extract(unpack(stream)[1], root, room=room, check=self._container.check)
        except (Broken, NoSpace, cdi_archive.NotUnpacked) as error:
            raise _Refused(500, f"Saving stream failed: {error}") from error
        stream.drain()

    def _save(self, stream: _Stream) -> None:
        try:
            found, source = unpack(stream)
        except Broken as error:
            raise _Refused(500, f"Saving stream failed: Unable to obtain information about data source: {error}") from error
        if found in IMAGES:
            raise _Refused(500, f"Saving stream failed: this lab does not convert {found}")
        try:
            with opened(self.target.path, fresh=not self.target.block) as fd:
                if self.target.block:
                    room = Room(self.target.available, self.target.inside)
                    size = cdi_image.overwrite(source, fd, room=room, check=self._container.check)
                else:
                    room = Room(self._container.free_bytes(DATA), self.target.inside)
                    size, _ = cdi_image.pour(source, fd, room=room, check=self._container.check)
                stream.drain()
                self.target.validate(size)
                self.target.settle(fd, size)
        except NoSpace as error:
            raise _Refused(
                400, f"Saving stream failed: effective image size is larger than the reported available storage: {error}"
            ) from error
        except Failed as error:
            raise _Refused(400, f"Saving stream failed: effective image size is larger than the PVC: {error}") from error
        except Broken as error:
            self._discard()
            raise _Refused(500, f"Saving stream failed: Unable to transfer source data to target file: {error}") from error

    def _discard(self) -> None:
        """Remove what a broken upload left on a file system."""
        if not self.target.block:
            self.target.path.unlink(missing_ok=True)
