"""Finding, merging and checking kubeconfig files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate.kube.config import known_contexts, read_kubeconfig
from migrate.kube.session import open_cluster
from migrate.model.errors import UsageError


def _write(file: Path, *contexts: str, current: str = "", server: str = "https://one") -> Path:
    content: dict[str, Any] = {
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": f"token-of-{file.stem}"}}],
    }
    file.write_text(yaml.safe_dump(content | ({"current-context": current} if current else {})))
    return file


def test_files_of_the_environment_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several files joined by a colon the first to name a thing wins, current-context included; missing ones are passed over."""
    one = _write(tmp_path / "one", "east", current="east")
    two = _write(tmp_path / "two", "east", "west", current="west", server="https://two")
    monkeypatch.setenv("KUBECONFIG", f"{one}:{tmp_path / 'none'}:{two}")
    assert known_contexts() == (["east", "west"], "east")
    stanza = read_kubeconfig().stanza(None)
    assert (stanza.context, stanza.server, stanza.user["token"]) == ("east", "https://one", "token-of-one")


def test_a_path_given_by_hand_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--kubeconfig is the only source then."""
    monkeypatch.setenv("KUBECONFIG", str(_write(tmp_path / "one", "east")))
    assert known_contexts(str(_write(tmp_path / "two", "west", current="west"))) == (["west"], "west")


def test_files_named_in_a_stanza_lie_beside_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names count from the folder of the file that holds the stanza, not from the working directory."""
    (tmp_path / "sub").mkdir()
    _write(tmp_path / "sub" / "config", "east")
    monkeypatch.chdir(tmp_path)
    stanza = read_kubeconfig("sub/config").stanza("east")
    assert stanza.cluster_folder == stanza.user_folder == tmp_path / "sub"


def test_a_missing_file_says_who_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file and where its name came from, and how to name another."""
    with pytest.raises(UsageError) as caught:
        open_cluster("east", kubeconfig=str(tmp_path / "nowhere"))
    assert (caught.value.where, caught.value.why) == (str(tmp_path / "nowhere"), "named by --kubeconfig")
    assert "--kubeconfig FILE" in caught.value.now
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="named by \\$KUBECONFIG"):
        open_cluster("east")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("contexts: [\n  - name: a", "line 2"),
        ("- a\n- b\n", "not a mapping"),
        ("contexts: 7\n", "`contexts` is not a list"),
        ("users:\n- user: {}\n", "entry 1 of `users` has no name"),
        ("clusters:\n- name: a\n  cluster: 7\n", "`cluster` of `a` is not a mapping"),
        ("contexts:\n- name: east\n  context: {cluster: c}\n", 'the cluster "c", which is not defined'),
        ("contexts:\n- name: east\n  context: {cluster: c}\nclusters:\n- name: c\n  cluster: {}\n", "no server"),
        (
            "contexts:\n- name: east\n  context: {cluster: c, user: u}\nclusters:\n- name: c\n  cluster: {server: 'https://a'}\n",
            'the user "u", which is not defined',
        ),
    ],
)
def test_a_malformed_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    """Every shape of malformed file is a usage error with the file's name, never a traceback."""
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        open_cluster("east", kubeconfig=str(file))
    assert why in caught.value.why
    assert caught.value.where == str(file)


def test_a_binary_file_is_not_taken_for_a_kubeconfig(tmp_path: Path) -> None:
    """Bytes that are no text are said to be so."""
    file = tmp_path / "config"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a text file"):
        known_contexts(str(file))


def test_an_unknown_context_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """The nearest name is offered first, then all others."""
    file = _write(tmp_path / "config", "prod-west", "lab", "prod-east")
    with pytest.raises(UsageError) as caught:
        open_cluster("prod-eat", kubeconfig=str(file))
    assert caught.value.what == 'there is no context "prod-eat"'
    assert caught.value.now.startswith("Did you mean prod-east or prod-west?")
    assert caught.value.now.endswith("Known contexts: prod-east, prod-west, lab.")


def test_no_context_and_no_current_context_asks_for_one(tmp_path: Path) -> None:
    """Without a current-context a context must be named; the error lists them."""
    with pytest.raises(UsageError) as caught:
        open_cluster(None, kubeconfig=str(_write(tmp_path / "config", "b", "a")))
    assert caught.value.now == "Name one of: a, b."


def test_a_server_that_is_no_url_is_refused(tmp_path: Path) -> None:
    """A server without scheme cannot be spoken to, and is not guessed."""
    with pytest.raises(UsageError, match="not an http"):
        open_cluster("a", kubeconfig=str(_write(tmp_path / "config", "a", server="host:6443")))


_names = st.text("abc:/@.-", min_size=1, max_size=5)


@given(st.lists(st.lists(_names, max_size=4), min_size=1, max_size=4), st.data())
def test_merging_keeps_every_context_and_the_first_definition(
    tmp_path_factory: pytest.TempPathFactory, files: Any, data: st.DataObject
) -> None:
    """Whatever the files hold, each context is there once and comes from the first file that has it."""
    folder = tmp_path_factory.mktemp("merge")
    paths = [_write(folder / str(number), *names, server=f"https://{number}") for number, names in enumerate(files)]
    for number, path in enumerate(paths):
        content = yaml.safe_load(path.read_text())
        for entry in content["contexts"]:
            entry["context"]["namespace"] = f"from-{number}"
        path.write_text(yaml.safe_dump(content))
    config = read_kubeconfig(":".join(map(str, paths)))
    for name in {name for names in files for name in names}:
        first = next(number for number, names in enumerate(files) if name in names)
        assert config.stanza(name).namespace == f"from-{first}"
    assert set(config.contexts) == {name for names in files for name in names}
