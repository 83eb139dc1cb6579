"""What carries the bytes of one forwarded connection, between a websocket and a socket of ours, with bounded memory."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsproto import WSConnection
    from wsproto.events import Event

MOST_WAITING_BYTES = 1 << 18
"""So much may wait to be taken in one direction before its source is read no further."""
READ_BYTES = 1 << 16
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_DATA, _ERROR = 0, 1


class Pump:
    """One thread for one connection; ends when either side has had enough."""

    def __init__(
        self, wire: socket.socket, websocket: WSConnection, ours: socket.socket, ahead: Sequence[Event], *, on_end: Callable[[Pump], None]
    ) -> None:
        """`wire` leads to the API server, `ours` to whoever asked for the forward; `ahead` are events that came with the handshake."""
        self.trouble = ""
        """What the error channel said, or how the wire broke; "" after a plain end."""
        self._wire, self._websocket, self._ours = wire, websocket, ours
        self._on_end = on_end
        self._up, self._down = bytearray(), bytearray()
        self._channel: int | None = None
        self._greeting = {_DATA: 2, _ERROR: 2}
        """The first two bytes of each channel name the port."""
        self._error = bytearray()
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._body, name="port-forward", daemon=True)
        for event in ahead:
            self._take(event)

    def start(self) -> None:
        """Begin."""
        for sock in (self._wire, self._ours):
            sock.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """End it from outside."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)

    def _body(self) -> None:
        try:
            while self._turn():
                pass
        except OSError as error:
            self.trouble = self.trouble or str(error)
        finally:
            if self._error:
                self.trouble = self._error.decode(errors="replace").strip()
            self._on_end(self)
            self._selector.close()
            self._ours.close()
            self._wire.close()

    def _turn(self) -> bool:
        """Move what can be moved, then wait. Return False at the end."""
        self._give(self._wire, self._up)
        self._give(self._ours, self._down)
        if self._over and not self._down:
            return False
        hungry = len(self._down) < MOST_WAITING_BYTES and not self._over
        self._watch(self._wire, hungry, bool(self._up))
        self._watch(self._ours, len(self._up) < MOST_WAITING_BYTES and not self._over, bool(self._down))
        if hungry and isinstance(self._wire, ssl.SSLSocket) and self._wire.pending():
            return self._read_wire()
        for key, mask in self._selector.select():
            if mask & selectors.EVENT_READ:
                # What is over takes no more: the far end has said goodbye, perhaps in this very turn.
                if key.fileobj is self._ours and not self._over and not self._read_ours():
                    return self._farewell()
                if key.fileobj is self._wire:
                    self._read_wire()
        return True

    def _watch(self, sock: socket.socket, read: bool, write: bool) -> None:
        mask = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = self._selector.get_map().get(sock)
        if known is None:
            if mask:
                self._selector.register(sock, mask)
        elif not mask:
            self._selector.unregister(sock)
        elif known.events != mask:
            self._selector.modify(sock, mask)

    def _give(self, sock: socket.socket, waiting: bytearray) -> None:
        while waiting:
            try:
                sent = sock.send(memoryview(waiting)[:READ_BYTES])
            except _AGAIN:
                return
            del waiting[:sent]

    def _read_ours(self) -> bool:
        """Read what goes to the pod; False = nobody wants the connection any more."""
        from wsproto.events import BytesMessage

        try:
            data = self._ours.recv(READ_BYTES)
        except _AGAIN:
            return True
        if data:
            self._up += self._websocket.send(BytesMessage(data=bytes([_DATA]) + data))
        return bool(data)

    def _read_wire(self) -> bool:
        from wsproto.utilities import ProtocolError

        try:
            data = self._wire.recv(READ_BYTES)
        except _AGAIN:
            return True
        if not data:
            self._over = True
            return True
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                self._take(event)
        except ProtocolError as error:
            raise OSError(f"the API server speaks nonsense: {error}") from error
        return True

    def _take(self, event: Event) -> None:
        from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

        match event:
            case BytesMessage() | TextMessage():
                data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                if self._channel is None and data:
                    self._channel, data = data[0], data[1:]
                self._heard(data)
                if event.message_finished:
                    self._channel = None
            case Ping() if not self._over:
                self._up += self._websocket.send(event.response())
            case CloseConnection():
                self._over = True
                if event.code not in (1000, 1001, 1005) and event.reason:
                    self.trouble = event.reason
            case _:
                pass

    def _heard(self, data: bytes) -> None:
        """Put bytes of the present channel where they belong."""
        if self._channel not in (_DATA, _ERROR):
            return
        skipped = min(self._greeting[self._channel], len(data))
        self._greeting[self._channel] -= skipped
        (self._down if self._channel == _DATA else self._error).extend(data[skipped:])

    def _farewell(self) -> bool:
        """Say goodbye if the wire takes it at once; whoever asked is gone. Always False: the end."""
        from wsproto.events import CloseConnection
        from wsproto.utilities import LocalProtocolError

        with contextlib.suppress(LocalProtocolError, OSError):
            self._up += self._websocket.send(CloseConnection(code=1000))
            self._give(self._wire, self._up)
        return False
