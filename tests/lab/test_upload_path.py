"""Uploads through the proxy: tokens, status codes, and the bytes on the claim (reference/cdi-import.md section 5)."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import os
import ssl
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import CDICONFIG, UPLOADTOKENREQUEST
from migrate.lab import upload_certs
from migrate.lab.clock import RealClock
from migrate.lab.pods import Container, Mounted
from migrate.lab.trouble import Trouble
from migrate.lab.upload_server import upload_server
from tests.lab.cdi_lab import DISK, MIB, CdiLab, lab_fixture, shared_cdi_fixture  # noqa: F401

SYNC, ASYNC = "/v1beta1/upload", "/v1beta1/upload-async"


def token(lab: CdiLab, claim: str) -> str:
    asked = {
        "apiVersion": UPLOADTOKENREQUEST.api_version(),
        "kind": "UploadTokenRequest",
        "metadata": {"generateName": "mig-", "namespace": "shop"},
        "spec": {"pvcName": claim},
    }
    answer = lab.api.create(asked)[0]
    assert answer["metadata"]["name"].startswith("mig-")
    return str(answer["status"]["token"])


def connection(lab: CdiLab) -> http.client.HTTPSConnection:
    status = lab.until(lambda: (lab.api.get(CDICONFIG, "config") or {}).get("status"))
    host, _, port = status["uploadProxyURL"].partition(":")
    return http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cadata=status["uploadProxyCA"]), timeout=30)


def send(lab: CdiLab, word: str | None, body: Any = b"", *, path: str = SYNC, method: str = "POST") -> tuple[int, str]:
    """Send one request and return its answer; lab time passes meanwhile."""
    headers = {} if word is None else {"Authorization": word}
    found = connection(lab)
    with lab.clock.idle():
        found.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes))
        answer = found.getresponse()
        text = answer.read().decode()
    found.close()
    return answer.status, text


def ready(lab: CdiLab, name: str, **storage: Any) -> None:
    lab.api.create(lab.dv(name, {"upload": {}}, **storage))
    lab.until(lambda: lab.phase(name) == "UploadReady")


@pytest.mark.parametrize(
    ("name", "storage", "path", "packed"),
    [
        ("up-fs", {"storageClassName": "fast"}, SYNC, False),
        ("up-block", {"storageClassName": "ceph"}, ASYNC, False),
        ("up-gzip", {"storageClassName": "slow-legacy"}, SYNC, True),
    ],
)
def test_an_upload(lab: CdiLab, name: str, storage: dict[str, str], path: str, packed: bool) -> None:
    """The bytes go straight to the claim; the DataVolume has no progress, and nothing of the server is left."""
    ready(lab, name, **storage)
    word = f"Bearer {token(lab, name)}"
    assert send(lab, word, path=ASYNC, method="HEAD")[0] == 200
    assert send(lab, word, gzip.compress(DISK, 1) if packed else DISK, path=path)[0] == 200
    lab.until(lab.done(name))
    assert lab.status(name)["progress"] == "N/A"
    assert lab.content(name)[: len(DISK)] == DISK
    lab.until(lambda: lab.claims() == {name} and not lab.pods())
    assert lab.condition(name, "Running") == ("False", "Completed", "Upload Complete")
    assert send(lab, word)[0] == 503
    lab.remove(name)


def test_tokens(lab: CdiLab) -> None:
    """A token is a JWT for one claim, there or not; it is refused when it is missing, changed, or older than five minutes."""
    good = token(lab, "tok")
    claims = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    assert (claims["iss"], claims["operation"], claims["name"], claims["namespace"]) == ("cdi-apiserver", "Upload", "tok", "shop")
    assert claims["exp"] - claims["iat"] == 300
    assert send(lab, None)[0] == 400
    assert send(lab, f"Basic {good}")[0] == 400
    assert send(lab, "Bearer rubbish")[0] == 401
    head, _, signature = good.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"name": "other"}).encode()).rstrip(b"=").decode()
    assert send(lab, f"Bearer {head}.{forged}.{signature}")[0] == 401
    lab.clock.sleep(311)
    assert send(lab, f"Bearer {good}")[0] == 401
    assert send(lab, f"Bearer {token(lab, 'tok')}") == (503, "PVC shop/tok not found")


def test_not_now(lab: CdiLab) -> None:
    """Without a claim, on a claim that is no upload target, or before the server is ready, the proxy says 503 and why."""
    code, text = send(lab, f"Bearer {token(lab, 'nowhere')}")
    assert (code, text) == (503, "PVC shop/nowhere not found")
    lab.api.create(lab.dv("blank", {"blank": {}}, storageClassName="fast"))
    lab.until(lab.done("blank"))
    assert send(lab, f"Bearer {token(lab, 'blank')}")[0] == 503
    lab.trouble.set("node", "refuse", name="cdi-upload-*")
    lab.api.create(lab.dv("early", {"upload": {}}, storageClassName="fast"))
    lab.until(lambda: lab.phase("early") == "UploadScheduled")
    before = lab.clock.monotonic()
    assert send(lab, f"Bearer {token(lab, 'early')}")[0] == 503
    assert lab.clock.monotonic() - before >= 10
    lab.remove("blank")
    lab.remove("early")


def test_too_large(lab: CdiLab) -> None:
    """A disk that does not fit is refused with 400 after all of it was taken; the server then takes another one."""
    ready(lab, "big", storageClassName="fast")
    word = f"Bearer {token(lab, 'big')}"
    code, text = send(lab, word, os.urandom(5 * MIB))
    assert code == 400
    assert text.startswith("Saving stream failed: effective image size is larger")
    assert send(lab, word, b"x")[0] == 500
    assert lab.phase("big") == "UploadReady"
    assert send(lab, word, DISK)[0] == 200
    lab.until(lab.done("big"))
    assert lab.content("big") == DISK
    lab.remove("big")


def test_one_at_a_time_and_from_the_start(lab: CdiLab) -> None:
    """While one upload runs, another gets 503; one that breaks off leaves the server ready for a new one."""
    ready(lab, "once", storageClassName="fast")
    word = f"Bearer {token(lab, 'once')}"
    begun, go_on = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield DISK[: 2 * MIB]
        begun.set()
        assert go_on.wait(30)

    first = connection(lab)

    def upload() -> None:
        first.request("POST", SYNC, body(), {"Authorization": word, "Content-Length": str(len(DISK))})
        first.close()

    thread = threading.Thread(target=upload)
    thread.start()
    with lab.clock.idle():
        assert begun.wait(30)
    lab.until(lambda: send(lab, word, b"")[0] == 503)
    go_on.set()
    with lab.clock.idle():
        thread.join(30)
    lab.until(lambda: send(lab, word, DISK)[0] == 200)
    lab.until(lab.done("once"))
    assert lab.content("once") == DISK
    lab.remove("once")


def test_troubles(lab: CdiLab) -> None:
    """A refusal, an expired token, a connection cut in the middle, a server that dies: then it works."""
    ready(lab, "rough", storageClassName="ceph")
    word = f"Bearer {token(lab, 'rough')}"
    for action, words in (("refuse", {"status": 502}), ("expire", {}), ("drop", {"after": MIB}), ("restart", {"after": MIB, "code": 2})):
        lab.trouble.set("upload", action, name="rough", times=1, **words)
    assert send(lab, word)[0] == 502
    assert send(lab, word)[0] == 401
    for _ in range(2):
        try:
            assert send(lab, word, DISK)[0] == 502
        except (ConnectionError, http.client.RemoteDisconnected, ssl.SSLError):
            continue
    lab.until(lambda: lab.status("rough").get("restartCount") == 1)
    lab.until(lambda: lab.phase("rough") == "UploadReady")
    lab.until(lambda: send(lab, f"Bearer {token(lab, 'rough')}", DISK)[0] == 200)
    lab.until(lab.done("rough"))
    assert lab.content("rough")[: len(DISK)] == DISK
    lab.remove("rough")


def test_the_idle_deadline(tmp_path: Path) -> None:
    """After twelve hours without an upload the server ends and says why; its pod is then made anew."""
    data, certs = tmp_path / "data", tmp_path / "certs"
    data.mkdir()
    certs.mkdir()
    for secret in upload_certs.manifests():
        if secret["metadata"]["name"] == upload_certs.SERVER_SECRET:
            for key, text in secret["data"].items():
                (certs / key).write_bytes(base64.b64decode(text))
    env = {
        "UPLOAD_IMAGE_SIZE": "1Mi",
        "TLS_CERT_FILE": "/certs/tls.crt",
        "TLS_KEY_FILE": "/certs/tls.key",
        "CLIENT_CERT_FILE": "/certs/ca.crt",
    }
    container = Container(
        {"metadata": {"namespace": "shop", "name": "cdi-upload-x"}},
        {"name": "cdi-upload-server"},
        clock=RealClock(speed=1_000_000),
        trouble=Trouble(),
        env=env,
        volumes=Mounted({"/data": data, "/certs": certs}, {}, {data: MIB}),
        on_listen=lambda *_: None,
    )
    assert upload_server(container) == 0
    assert json.loads(container.message)["message"] == "Deadline Passed"
    container.stop.set()
    container.close()


def packed(*names: str) -> bytes:
    """Return a tar with these files (a name that ends with / is a directory), each with its name as content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (tarfile.REGTYPE, len(name))
            info.mode = 0o700
            archive.addfile(info, io.BytesIO(name.encode()))
    return out.getvalue()


def test_an_archive_is_unpacked_onto_the_claim(lab: CdiLab) -> None:
    """Files go to their paths; an archive that names the root of the volume is refused, since that belongs to root."""
    wanted = lab.dv("files", {"upload": {}}, storageClassName="fast")
    wanted["spec"]["contentType"] = "archive"
    lab.api.create(wanted)
    lab.until(lambda: lab.phase("files") == "UploadReady")
    word = f"Bearer {token(lab, 'files')}"
    code, said = send(lab, word, packed("./", "./a/", "./a/b"))
    assert (code, said.endswith("unable to untar files from endpoint: exit status 2")) == (500, True)
    assert send(lab, word, packed("a/", "a/b", "c"))[0] == 200
    lab.until(lab.done("files"))
    root = lab.volume("files")
    assert {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()} == {"a/b": "a/b", "c": "c"}
    assert (root / "a/b").stat().st_mode & 0o777 == 0o700
    lab.remove("files")
