"""The program in the importer pod: fetch a disk over HTTP(S), put it on the claim, say how it went in the termination message.

Source: reference/cdi-import.md sections 2.2 to 2.5 and real-stack.md section 4. Not modelled: the size probe through nbdkit (its failures
are ignored by CDI, and its success changes nothing), conversion of qcow2 and other image formats.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from migrate.lab import cdi_archive, cdi_golden, cdi_http, cdi_image, cdi_sizes
from migrate.lab.cdi_checksum import Mismatch, checked
from migrate.lab.cdi_formats import IMAGES, Broken, Source, unpack
from migrate.lab.cdi_image import NoSpace, Room
from migrate.lab.cdi_progress import PROGRESS
from migrate.lab.cdi_target import DATA, SCRATCH, Failed, Target, opened, report
from migrate.lab.cdi_wire import Endpoint, HttpFailed
from migrate.lab.pods import Container, Killed

if TYPE_CHECKING:
    from migrate.lab.trouble import Order

CLAIM: Final = "lab.kubevirt-migrate.io/claim"
"""Pod annotation of the lab: name of the claim that the user asked for, by which troubles find the pod."""


class _Died(Exception):
    """The process ends here and now, as ordered."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def importer(container: Container) -> int:
    """Run one attempt; return the exit code. 0 with a JSON message means done, or asks for scratch space, or a wrong checksum."""
    try:
        return Attempt(container).run()
    except Failed as failure:
        container.log(str(failure))
        container.terminate(str(failure))
        return 1
    except _Died as death:
        return death.code


class Attempt:
    """One run of the program."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.env = container.env
        self.owner = self.env.get("OWNER_UID", "")
        self.target = Target.of(container, size=self.env["IMPORTER_IMAGE_SIZE"])
        self.has_scratch = SCRATCH in container.mounts
        self._shown_at = container.clock.monotonic()
        self._order = self._ordered()

    def run(self) -> int:
        """Do what the source asks for."""
        PROGRESS.restart(self.owner)
        if self._order is not None and self._order.action == "refuse":
            raise Failed(self._order.text("message") or "Unable to connect to http data source: HTTP request errored: connection refused")
        if self._order is not None and self._order.action == "delay":
            self.container.clock.sleep(self._order.number("seconds", 60))
        match self.env.get("IMPORTER_SOURCE", "http"):
            case "none":
                return self._blank()
            case "registry":
                self._require(self.has_scratch)
                return self._land(cdi_golden.Golden(self.env["IMPORTER_ENDPOINT"]), cdi_golden.SIZE)
            case _:
                return self._http()

    def _ordered(self) -> Order | None:
        meta = self.container.pod["metadata"]
        actions = ("refuse", "delay", "drop", "restart", "oom") if self.has_scratch else ("refuse", "delay")
        return self.container.trouble.find(
            "importer",
            *actions,
            namespace=self.container.namespace,
            name=(meta.get("annotations") or {}).get(CLAIM, ""),
            pod=self.container.pod_name,
            attempt=PROGRESS.attempt(self.owner, counts=self.has_scratch),
            url=self.env.get("IMPORTER_ENDPOINT", ""),
        )

    def _blank(self) -> int:
        if not self.target.block:
            size = min(cdi_sizes.usable(self.target.overhead, self.target.available), self.target.request)
            self.target.path.unlink(missing_ok=True)
            with opened(self.target.path) as fd:
                self.target.settle(fd, size)
        return self._complete()

    def _http(self) -> int:
        endpoint = self._endpoint()
        answer = self._connect(endpoint)
        try:
            return self._fetch(answer)
        finally:
            answer.close()

    def _endpoint(self) -> Endpoint:
        container, env = self.container, self.env
        extra = [env[key] for key in sorted(env) if key.startswith("IMPORTER_EXTRA_HEADER_")]
        headers = container.mounts.get("/extraheaders")
        mounted = sorted(mount for mount in container.mounts if mount.startswith("/extraheaders/"))
        secret = [line for mount in mounted for line in cdi_http.secret_headers(container.mounts[mount])]
        secret += cdi_http.secret_headers(headers) if headers is not None else []
        certs = env.get("IMPORTER_CERT_DIR", "")
        return Endpoint(
            url=env["IMPORTER_ENDPOINT"],
            headers=(
                *cdi_http.basic_auth(env.get("IMPORTER_ACCESS_KEY_ID", ""), env.get("IMPORTER_SECRET_KEY", "")),
                *cdi_http.header_lines([*extra, *secret]),
            ),
            trust=cdi_http.trust(container.path(certs) if certs else None, insecure=env.get("INSECURE_TLS") == "true", log=container.log),
            clock=container.clock,
            check=self._still_alive,
        )

    def _connect(self, endpoint: Endpoint) -> cdi_http.Answer:
        length = None
        with contextlib.suppress(HttpFailed):
            head = cdi_http.ask(endpoint, "HEAD")
            length = head.length if head.status == 200 else None
            head.close()
        try:
            answer = cdi_http.ask(endpoint, "GET")
        except HttpFailed as error:
            raise Failed(f"Unable to connect to http data source: HTTP request errored: {error}") from error
        if answer.status != 200:
            answer.close()
            status = f"{answer.status}. Status: {cdi_http.status_text(answer.status)}"
            raise Failed(f"Unable to connect to http data source: expected status code 200, got {status}")
        answer.length = answer.length if answer.length is not None else length
        return answer

    def _fetch(self, answer: cdi_http.Answer) -> int:
        wire: Source = _Metered(answer, self)
        wire, verify = checked(wire, self.env.get("IMPORTER_CHECKSUM", ""))
        try:
            found, source = unpack(wire)
        except Broken as error:
            raise Failed(f"Unable to process data: Unable to obtain information about data source: {error}") from error
        self._require(self.has_scratch)
        if self.env.get("IMPORTER_CONTENTTYPE") == "archive":
            return self._unpack(source)
        if found in IMAGES:
            raise Failed(f"Unable to process data: Unable to convert source data to target format: this lab does not convert {found}")
        self._say("New phase: TransferScratch")
        return self._land(source, answer.length, verify)

    def _unpack(self, source: Source) -> int:
        """Put the files of an archive straight onto the claim."""
        self._say("New phase: TransferDataDir")
        room = Room(self.container.free_bytes(DATA), DATA)
        try:
            cdi_archive.extract(source, self.container.path(DATA), room=room, check=self._still_alive)
        except (NoSpace, cdi_archive.NotUnpacked) as error:
            raise Failed(f"Unable to process data: {error}") from error
        return self._complete()

    def _require(self, scratch: bool) -> None:
        if not scratch:
            self.container.terminate(report(scratch_required=True))
            raise _Died(0)

    def _land(self, source: Source, length: int | None, verify: Callable[[], None] = lambda: None) -> int:
        """Carry a stream to scratch, and from there to the target."""
        image = self.container.path(SCRATCH) / "tmpimage"
        image.unlink(missing_ok=True)
        try:
            self._transfer(source, image)
            verify()
        except Mismatch as error:
            if not self.target.block:
                self.target.path.unlink(missing_ok=True)
            words = f"Unable to process data: Unable to transfer source data to scratch space: {error}"
            self.container.log(words)
            self.container.terminate(report(message=words))
            return 0
        if length is not None:
            PROGRESS.at_least(self.owner, 100.0)
        self._convert(image)
        return self._complete()

    def _transfer(self, source: Source, image: Path) -> None:
        room = Room(self.container.free_bytes(SCRATCH), f"{SCRATCH}/tmpimage")
        where = "Unable to process data: Unable to transfer source data to scratch space"
        try:
            with opened(image) as fd:
                read, written = cdi_image.pour(source, fd, room=room, check=self._still_alive)
        except NoSpace as error:
            image.unlink(missing_ok=True)
            raise Failed(f"{where}: unable to write to file: {error}") from error
        except Broken as error:
            image.unlink(missing_ok=True)
            raise Failed(f"{where}: failed to pull image: {error}") from error
        self._say(f"Read {read} bytes, wrote {written} bytes to {SCRATCH}/tmpimage")

    def _convert(self, image: Path) -> None:
        self._say("New phase: Convert")
        virtual = image.stat().st_size
        prefix = "Unable to process data: Unable to convert source data to target format"
        try:
            self.target.validate(virtual)
        except Failed as error:
            raise Failed(f"{prefix}: {error}") from None
        if not self.target.block:
            self.target.path.unlink(missing_ok=True)
        left = self.target.available if self.target.block else self.container.free_bytes(DATA)
        try:
            with opened(self.target.path, fresh=not self.target.block) as fd:
                room = Room(left, self.target.inside)
                cdi_image.convert(image, fd, room=room, check=lambda: self._may_convert(left - room.left), on_progress=self._converted)
                self._say("New phase: Resize")
                self.target.settle(fd, virtual)
        except NoSpace as error:
            raise Failed(f"{prefix}: could not convert image to raw: qemu-img: error while writing: {error}") from error

    def _complete(self) -> int:
        self._say("New phase: Complete")
        self.container.terminate(report())
        return 0

    def _converted(self, percent: float) -> None:
        PROGRESS.at_least(self.owner, percent)
        self._show(percent)

    def received(self, total: int, length: int | None) -> None:
        """Take note of bytes off the wire: the metric, a line in the log once a second, and troubles that wait for an amount."""
        if length and self.has_scratch:
            PROGRESS.at_least(self.owner, 100 * total / length)
            self._show(100 * total / length)
        self._obey(total)

    def _show(self, percent: float) -> None:
        moment = self.container.clock.monotonic()
        if moment - self._shown_at >= 1:
            self._shown_at = moment
            self.container.log(f"{percent:.2f}")

    def _obey(self, total: int) -> None:
        order = self._order
        if order is None or order.action not in {"drop", "restart"} or total < order.count("after"):
            return
        if order.action == "drop":
            raise Broken("unexpected EOF")
        raise _Died(order.count("code", 1))

    def _may_convert(self, written: int) -> None:
        self._still_alive()
        if self._order is not None and self._order.action == "oom" and written >= self._order.count("after"):
            self._starve()

    def _starve(self) -> NoReturn:
        """Ask the node for the end that the kernel gives to a process with too much memory, and wait for it."""
        self.container.trouble.set("node", "oom", namespace=self.container.namespace, name=self.container.pod_name, times=1)
        self.container.clock.wait(self.container.killed, None)
        raise Killed

    def _still_alive(self) -> None:
        self.container.check()
        if self.container.stop.is_set():
            raise _Died(143)

    def _say(self, line: str) -> None:
        self.container.log(line)


class _Metered:
    """Tells the attempt how many bytes came off the wire."""

    def __init__(self, answer: cdi_http.Answer, attempt: Attempt) -> None:
        self._answer = answer
        self._attempt = attempt

    def readinto(self, buffer: memoryview) -> int:
        size = self._answer.readinto(buffer)
        self._attempt.received(self._answer.received, self._answer.length)
        return size
