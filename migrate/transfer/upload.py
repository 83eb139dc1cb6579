"""The client of CDI's upload proxy: sends files to a claim of the target (cdi-import section 5.2)."""

from __future__ import annotations

import threading
from typing import IO

from migrate.model.errors import Refused
from migrate.transfer.answers import host_of
from migrate.transfer.export_client import READ_S, USER_AGENT, ExportClient
from migrate.transfer.patience import AGAIN, Interrupted, Patience

PATH = "/v1beta1/upload"
"""The proxy itself sends an upload to a claim of files on to where archives are taken."""
_UNPACK_S = 10 * READ_S
"""An upload is answered when everything is unpacked and written out."""


class UploadClient(ExportClient):
    """One upload proxy and one CA."""

    def send(self, door: str, file: IO[bytes], *, length: int, bearer: str, cancelled: threading.Event) -> None:
        """Send a file (`length` bytes from its start) to the claim that the token `bearer` is for.

        `door` is the proxy's URL without a path. What a busy or young server refuses is sent again.
        Raises Refused, NotTrusted, Unreachable.
        """
        patience = Patience(self._clock, cancelled)
        while True:
            try:
                return self._send(f"{door}{PATH}", file, length, bearer)
            except Interrupted as trouble:
                now = "see the log of the pod cdi-upload-… on the target; then run the same again"
                patience.pause(trouble, what="the target's CDI does not take the files", where=host_of(door), now=now)

    def _send(self, url: str, file: IO[bytes], length: int, bearer: str) -> None:
        import urllib3
        from urllib3.exceptions import HTTPError

        file.seek(0)
        headers = {"user-agent": USER_AGENT, "authorization": f"Bearer {bearer}", "content-length": str(length)}
        headers["content-type"] = "application/octet-stream"
        try:
            answer = self._request("POST", url, headers, _UNPACK_S, body=file)
            words = answer.read(amt=2000, decode_content=False).decode(errors="replace").strip()
            answer.release_conn()
        except (HTTPError, OSError) as error:
            raise Interrupted(f"{type(error).__name__}: {error}") from None
        assert isinstance(answer, urllib3.BaseHTTPResponse)
        if answer.status in AGAIN:
            raise Interrupted(f"status {answer.status}{f': {words}' if words else ''}")
        if answer.status != 200:
            why = f"status {answer.status}{f': {words}' if words else ''}"
            now = "run the same again: it asks for a new token" if answer.status in (400, 401) else "ask the upload proxy's log"
            raise Refused("the target's CDI refuses the files", where=host_of(url), why=why, now=now, status=answer.status)
