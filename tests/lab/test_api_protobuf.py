"""Request bodies in protobuf, which kubectl's typed commands send."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab.api_protobuf import MEDIA, Undecodable, decode
from tests.lab.api_client import CONFIGS, Api, serving

CAN_I = bytes.fromhex(
    "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a656374416363657373526576696577"
    "123c0a100a0012001a0022002a003200380042"
    "00121e0a1c0a0764656661756c7412036765741a0022002a04706f647332003a001a08080012001a0020001a002200"
)
"""What `kubectl auth can-i get pods` 1.32 sent."""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def part(number: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + part(1, part(1, api_version) + part(2, kind)) + part(2, raw)


def test_a_recorded_request_of_kubectl() -> None:
    """Empty strings and zeros, which Go writes out, are as good as absent."""
    assert decode(CAN_I) == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}},
    }


names = st.text("abc-", min_size=1, max_size=20)


@given(name=names, labels=st.dictionaries(names, names), data=st.dictionaries(names, st.binary(max_size=300)))
def test_secrets_come_through(name: str, labels: dict[str, str], data: dict[str, bytes]) -> None:
    """Any name, labels and bytes are read back as JSON would have said them."""
    meta = part(1, name) + part(3, "") + b"".join(part(11, part(1, k) + part(2, v)) for k, v in labels.items())
    raw = part(1, meta) + b"".join(part(2, part(1, k) + part(2, v)) for k, v in data.items()) + part(3, "Opaque")
    found = decode(envelope("v1", "Secret", raw))
    assert found["metadata"] == {"name": name, **({"labels": labels} if labels else {})}
    assert {k: base64.b64decode(v) for k, v in found.get("data", {}).items()} == data


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data: bytes) -> None:
    """Whatever follows the magic number, the answer is an object or Undecodable."""
    for body in (data, b"k8s\0" + data):
        with contextlib.suppress(Undecodable):
            assert isinstance(decode(body), dict)


def test_zero_grace_is_not_absent() -> None:
    """gracePeriodSeconds=0 and an absent one are told apart."""
    assert decode(envelope("v1", "DeleteOptions", b"\x08\x00"))["gracePeriodSeconds"] == 0
    assert "gracePeriodSeconds" not in decode(envelope("v1", "DeleteOptions", b""))


def test_the_server_takes_it(api: Api) -> None:
    """A ConfigMap sent as protobuf is created and answered as JSON; an unknown kind is a 400 that says what to do."""
    raw = part(1, part(1, "proto")) + part(2, part(1, "a") + part(2, "b"))
    made = api.admin.ask("POST", CONFIGS, envelope("v1", "ConfigMap", raw), kind=MEDIA)
    assert (made.code, made.body["data"]) == (201, {"a": "b"})
    refused = api.admin.ask("POST", CONFIGS, envelope("apps/v1", "Deployment", raw), kind=MEDIA)
    assert (refused.code, "send application/json" in refused.body["message"]) == (400, True)
