"""Notice clients that hang up while the server has nothing to say to them: one thread looks after all open watches."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator

_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Hangups:
    """Calls a function, once, when a connection was closed by its other end."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._stopped = False

    @contextlib.contextmanager
    def watching(self, sock: socket.socket, callback: Callable[[], None]) -> Iterator[None]:
        """Watch a connection as long as the block runs. `callback` must only set a flag."""
        number = sock.fileno()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lab-hangups", daemon=True)
                self._thread.start()
            self._callbacks[number] = callback
            self._poll.register(number, select.EPOLLRDHUP)
        try:
            yield
        finally:
            with self._lock:
                if self._callbacks.pop(number, None) is not None:
                    with contextlib.suppress(OSError, ValueError):  # ValueError: the lab has ended meanwhile
                        self._poll.unregister(number)

    def stop(self) -> None:
        """End the thread within a second."""
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            for number, events in self._poll.poll(1.0):
                if not events & _GONE:
                    continue
                with self._lock:
                    callback = self._callbacks.pop(number, None)
                    with contextlib.suppress(OSError):
                        self._poll.unregister(number)
                if callback is not None:
                    callback()
        self._poll.close()
