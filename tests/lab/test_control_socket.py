"""The control socket of a lab process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from migrate.lab.control import Control, ControlFailed, call


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    running = Control(tmp_path / "east.sock")
    running.start()
    yield running
    running.stop()


def test_handlers_get_query_and_body(control: Control) -> None:
    """What the handler returns comes back as JSON."""

    def answer(query: Mapping[str, str], body: Any) -> Any:
        return {"query": dict(query), "body": body}

    control.register("POST", "/trouble", answer)
    assert call(control.path, "POST", "/trouble?a=1", {"x": [1]}) == {"query": {"a": "1"}, "body": {"x": [1]}}


def test_refusals_keep_their_words(control: Control) -> None:
    """ValueError is 400, an unknown path 404 that lists the known ones, anything else 500."""

    def refuse(query: Mapping[str, str], body: Any) -> Any:
        raise ValueError("times='x' is not a number")

    control.register("POST", "/trouble", refuse)
    with pytest.raises(ControlFailed, match="is not a number") as refused:
        call(control.path, "POST", "/trouble")
    assert refused.value.code == 400
    with pytest.raises(ControlFailed, match="known: POST /trouble"):
        call(control.path, "GET", "/nothing")


def test_only_the_owner_can_open_it(control: Control) -> None:
    """The socket has mode 0600 and goes when the server stops."""
    assert control.path.stat().st_mode & 0o777 == 0o600


def test_a_dead_socket_says_so(tmp_path: Path) -> None:
    """Calling where nobody listens is an OSError."""
    with pytest.raises(OSError, match=r"No such file|refused"):
        call(tmp_path / "none.sock", "GET", "/status")
