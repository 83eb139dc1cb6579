"""Credential commands, token files and static credentials: renewed once, in time, and never replaced by nothing."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import POD
from migrate.model.errors import Refused, UsageError
from tests.kube.conftest import Opener
from tests.kube.small_server import JumpingClock, Reply, Request, SmallServer, refusal

V1 = "client.authentication.k8s.io/v1"


class Plugin:
    """A credential command that counts its runs and prints what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "plugin.sh"
        self.log = folder / "runs"
        self.info = folder / "info.json"
        self.script('cat "$(dirname "$0")/answer.json"')

    def script(self, last: str) -> None:
        self.file.write_text(f'#!/bin/sh\necho run >> {self.log}\nprintf "%s" "$KUBERNETES_EXEC_INFO" > {self.info}\n{last}\n')
        self.file.chmod(0o755)

    def prints(self, **status: Any) -> None:
        credential = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        (self.folder / "answer.json").write_text(json.dumps(credential))

    @property
    def runs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def stanza(self, **more: Any) -> dict[str, Any]:
        return {"exec": {"apiVersion": V1, "command": str(self.file), "interactiveMode": "Never", **more}}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def _tokens(server: SmallServer) -> list[str]:
    return [request.headers["Authorization"] for request in server.requests]


def _only(token: str) -> Any:
    def script(request: Request) -> Reply:
        if request.headers["Authorization"] != f"Bearer {token}":
            return refusal(401, "Unauthorized", "Unauthorized")
        return Reply(200, {"metadata": {"name": "a"}})

    return script


def test_ten_threads_run_the_command_once(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """Requests that start together share one run of the credential command."""
    plugin.script('sleep 0.2; cat "$(dirname "$0")/answer.json"')
    plugin.prints(token="t1")
    east = opened(plugin.stanza())
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda number: east.get(POD, f"p{number}"), range(10)))
    assert plugin.runs == 1
    assert set(_tokens(server)) == {"Bearer t1"}


def test_a_token_is_renewed_before_it_expires(server: SmallServer, opened: Opener, plugin: Plugin, clock: JumpingClock) -> None:
    """A minute before the expiry that the command named, the command runs again; not earlier."""
    plugin.prints(token="t1", expirationTimestamp=(clock.now() + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    east = opened(plugin.stanza())
    east.get(POD, "a")
    clock.passed_s = 8 * 60
    east.get(POD, "a")
    assert plugin.runs == 1
    plugin.prints(token="t2")
    clock.passed_s = 9 * 60 + 1
    east.get(POD, "a")
    assert (plugin.runs, _tokens(server)) == (2, ["Bearer t1", "Bearer t1", "Bearer t2"])


def test_a_token_that_lives_shortly_is_not_renewed_at_every_request(opened: Opener, plugin: Plugin, clock: JumpingClock) -> None:
    """The margin shrinks with the life of the token: forty seconds of life mean ten of margin, not sixty."""
    plugin.prints(token="t1", expirationTimestamp=(clock.now() + timedelta(seconds=40)).isoformat())
    east = opened(plugin.stanza())
    for _ in range(3):
        east.get(POD, "a")
    assert plugin.runs == 1


def test_a_401_makes_the_command_run_again_once(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """A token withdrawn early is renewed at the first 401 and the request is sent again."""
    plugin.prints(token="t1")
    east = opened(plugin.stanza())
    east.get(POD, "a")
    plugin.prints(token="t2")
    server.script = _only("t2")
    assert east.get(POD, "a") is not None
    assert plugin.runs == 2


def test_a_second_401_is_an_error(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """If the renewed token is refused as well, the user must log in again; there is no third try."""
    plugin.prints(token="t1")
    east = opened(plugin.stanza())
    server.script = _only("none")
    with pytest.raises(Refused) as caught:
        east.get(POD, "a")
    assert (caught.value.status, caught.value.where) == (401, "context east")
    assert "Log in again" in caught.value.now
    assert plugin.runs == 2
    assert "t1" not in str(caught.value) + caught.value.now


def test_threads_with_the_same_refused_token_renew_it_once(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """Eight requests get 401 for one token; the command runs once more, not eight times."""
    plugin.prints(token="t1")
    east = opened(plugin.stanza())
    east.get(POD, "a")
    plugin.prints(token="t2")
    together = threading.Barrier(8, timeout=10)

    def script(request: Request) -> Reply:
        if request.headers["Authorization"] == "Bearer t1":
            together.wait()
            return refusal(401, "Unauthorized", "Unauthorized")
        return Reply(200, {})

    server.script = script
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: east.get(POD, f"p{number}"), range(8)))
    assert plugin.runs == 2


def test_a_failing_command_is_named_with_its_words_and_nothing_is_sent(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """No anonymous request goes out; the error names the command and holds its stderr, without its arguments and without secrets."""
    plugin.script("echo 'SSO session expired, token=abcdefgh1234 for you' >&2; exit 3")
    east = opened(plugin.stanza(args=["--client-secret", "hunter2hunter2"]))
    with pytest.raises(Refused) as caught:
        east.get(POD, "a")
    told = f"{caught.value.what} {caught.value.why} {caught.value.now}"
    assert str(plugin.file) in caught.value.what
    assert "exit code 3: SSO session expired, token=[removed] for you" in caught.value.why
    assert "hunter2" not in told
    assert server.requests == []


def test_an_old_token_outlives_a_failing_renewal(server: SmallServer, opened: Opener, plugin: Plugin, clock: JumpingClock) -> None:
    """While the old token is valid, a command that fails early costs nothing; after its expiry it is an error."""
    plugin.prints(token="t1", expirationTimestamp=(clock.now() + timedelta(minutes=10)).isoformat())
    east = opened(plugin.stanza())
    east.get(POD, "a")
    plugin.script("exit 1")
    clock.passed_s = 9 * 60 + 30
    east.get(POD, "a")
    assert _tokens(server)[-1] == "Bearer t1"
    clock.passed_s = 10 * 60
    with pytest.raises(Refused, match="failed"):
        east.get(POD, "a")


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("hello", "did not print JSON"),
        ("[]", "ExecCredential"),
        (json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": {}}), "neither a token nor a client certificate"),
        (json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": {"clientCertificateData": "x"}}), "without its key"),
        (json.dumps({"kind": "ExecCredential", "apiVersion": V1 + "beta1", "status": {"token": "x"}}), "asked for"),
        (json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": {"token": "x", "expirationTimestamp": "soon"}}), "not a time"),
    ],
)
def test_nonsense_from_a_command_is_an_error(server: SmallServer, opened: Opener, plugin: Plugin, output: str, why: str) -> None:
    """Whatever the command prints instead of a credential, nothing is sent without one."""
    (plugin.folder / "answer.json").write_text(output)
    with pytest.raises(Refused) as caught:
        opened(plugin.stanza()).get(POD, "a")
    assert why in caught.value.why
    assert server.requests == []


def test_a_missing_command_shows_the_hint_of_the_kubeconfig(opened: Opener, tmp_path: Path) -> None:
    """installHint is there for this moment."""
    stanza = {"exec": {"apiVersion": V1, "command": str(tmp_path / "none"), "installHint": "Get it from the shop."}}
    with pytest.raises(Refused) as caught:
        opened(stanza).get(POD, "a")
    assert "No such file" in caught.value.why
    assert caught.value.now == "Get it from the shop."


def test_a_command_with_a_relative_path_lies_beside_the_kubeconfig(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """`./plugin.sh` is looked for in the folder of the kubeconfig, wherever we stand."""
    plugin.prints(token="t1")
    opened({"exec": {"apiVersion": V1, "command": "./plugin.sh"}}).get(POD, "a")
    assert _tokens(server) == ["Bearer t1"]


def test_a_command_gets_the_cluster_if_it_asks(server: SmallServer, opened: Opener, plugin: Plugin) -> None:
    """provideClusterInfo hands over server and authority, and `config` from the extension of the protocol's name; env is set."""
    plugin.prints(token="t1")
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "me"}}]
    east = opened(plugin.stanza(provideClusterInfo=True), {"extensions": extension})
    east.get(POD, "a")
    spec = json.loads(plugin.info.read_text())["spec"]
    assert spec["interactive"] is False
    assert (spec["cluster"]["server"], spec["cluster"]["config"]) == (server.url, {"audience": "me"})
    assert spec["cluster"]["certificate-authority-data"]


def test_an_old_protocol_is_refused_with_a_hint(opened: Opener, plugin: Plugin) -> None:
    """v1alpha1 commands are long out of support; saying so beats misreading them."""
    with pytest.raises(UsageError, match="v1alpha1"):
        opened(plugin.stanza(apiVersion="client.authentication.k8s.io/v1alpha1")).get(POD, "a")


def test_a_token_file_is_read_again_each_minute(server: SmallServer, opened: Opener, tmp_path: Path, clock: JumpingClock) -> None:
    """Projected tokens are rewritten on disk; the old one is used for a minute at most."""
    (tmp_path / "token").write_text("t1\n")
    east = opened({"tokenFile": "token"})
    east.get(POD, "a")
    (tmp_path / "token").write_text("t2\n")
    east.get(POD, "a")
    clock.passed_s = 61
    east.get(POD, "a")
    assert _tokens(server) == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_token_file_is_read_again_on_401(server: SmallServer, opened: Opener, tmp_path: Path) -> None:
    """A rotated token shows as 401; the new one is in the file already."""
    (tmp_path / "token").write_text("t1")
    east = opened({"tokenFile": "token"})
    east.get(POD, "a")
    (tmp_path / "token").write_text("t2")
    server.script = _only("t2")
    assert east.get(POD, "a") is not None


def test_a_token_file_that_vanishes_leaves_the_last_token(server: SmallServer, opened: Opener, tmp_path: Path, clock: JumpingClock) -> None:
    """Between two projections the file may be away for a moment; at the very start it must be there."""
    (tmp_path / "token").write_text("t1")
    east = opened({"tokenFile": "token"})
    east.get(POD, "a")
    (tmp_path / "token").unlink()
    clock.passed_s = 61
    east.get(POD, "a")
    assert _tokens(server) == ["Bearer t1", "Bearer t1"]
    with pytest.raises(UsageError, match="cannot use tokenFile"):
        opened({"tokenFile": "token"}).get(POD, "a")


def test_a_static_token_gets_one_401(server: SmallServer, opened: Opener) -> None:
    """There is nothing to renew: one request, one error, and the token is not in it."""
    server.script = _only("none")
    with pytest.raises(Refused) as caught:
        opened().get(POD, "a")
    assert len(server.requests) == 1
    assert "sesame" not in f"{caught.value} {caught.value.now}"


def test_user_and_password_are_sent_as_basic(server: SmallServer, opened: Opener) -> None:
    """Old, but still in kubeconfigs of test clusters."""
    opened({"username": "me", "password": "pw"}).get(POD, "a")
    assert _tokens(server) == ["Basic bWU6cHc="]


def test_auth_providers_are_refused_with_what_replaces_them(opened: Opener) -> None:
    """auth-provider is gone from every client; the error says which plugin to use."""
    with pytest.raises(UsageError) as caught:
        opened({"auth-provider": {"name": "gcp", "config": {"access-token": "secret-thing"}}})
    assert "gke-gcloud-auth-plugin" in caught.value.now
    assert "secret-thing" not in str(caught.value)


def test_a_token_with_a_line_break_is_not_quoted(server: SmallServer, opened: Opener) -> None:
    """Surrounding white space is dropped; a break inside is refused without showing the token."""
    opened({"token": " t1\n"}).get(POD, "a")
    assert _tokens(server) == ["Bearer t1"]
    with pytest.raises(UsageError) as caught:
        opened({"token": "hush\nhush"}).get(POD, "a")
    assert "hush" not in str(caught.value)
