"""The control socket of a lab process: orders from the command line, as HTTP over a unix socket that only its owner can open."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import socketserver
import threading
import traceback
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Handler = Callable[[Mapping[str, str], Any], Any]
"""Takes the query and the parsed body, returns what is sent back as JSON. Raise ValueError or LookupError to refuse (400, 404)."""


class ControlFailed(Exception):
    """The other side refused or broke; the text says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Control:
    """A server on a unix socket. Paths are exact; each call has a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handlers: dict[tuple[str, str], Handler] = {}
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        control = self

        class Conversation(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                control._serve(self)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  names that the standard library looks for

            def address_string(self) -> str:
                return "control"

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = _Server(str(path), Conversation)
        path.chmod(0o600)

    def register(self, method: str, path: str, handler: Handler) -> None:
        """Answer a method and path with a function."""
        self._handlers[method, path] = handler

    def start(self) -> None:
        """Begin to serve."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="lab-control", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _unknown(self, _query: Mapping[str, str], _body: Any) -> Any:
        raise LookupError("no such path; known: " + ", ".join(sorted(f"{method} {path}" for method, path in self._handlers)))

    def _serve(self, conversation: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(conversation.path)
        text = conversation.rfile.read(int(conversation.headers.get("Content-Length", "0") or 0))
        handler = self._handlers.get((conversation.command, parts.path))
        code, answer = 200, None
        try:
            answer = (handler or self._unknown)(dict(parse_qsl(parts.query)), json.loads(text) if text else None)
        except LookupError as error:
            code, answer = 404, {"error": str(error.args[0] if error.args else error)}
        except ValueError as error:
            code, answer = 400, {"error": str(error)}
        except Exception as error:  # the caller must get an answer whatever broke
            traceback.print_exc()
            code, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        body = json.dumps(answer).encode()
        conversation.send_response(code)
        conversation.send_header("Content-Type", "application/json")
        conversation.send_header("Content-Length", str(len(body)))
        conversation.end_headers()
        conversation.wfile.write(body)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def call(socket_path: Path | str, method: str, path: str, body: Any = None, *, timeout_s: float = 60.0) -> Any:
    """Ask a control socket and return its JSON. Raises ControlFailed when it refuses, OSError when nobody listens."""
    connection = _Connection(Path(socket_path), timeout_s)
    try:
        text = None if body is None else json.dumps(body).encode()
        connection.request(method, path, body=text, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read() or b"null")
    finally:
        connection.close()
    if response.status >= 400:
        raise ControlFailed(response.status, str(answer.get("error", answer) if isinstance(answer, dict) else answer))
    return answer
