"""`migrate rbac --for`: said once or several times, with commas or without; the account that may delete has a name of its own."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.model.errors import UsageError


def printed(*words: str) -> list[dict[str, object]]:
    """Return the manifests of a command."""
    result = CliRunner().invoke(app, ["rbac", *words])
    if isinstance(result.exception, Exception):
        raise result.exception
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def account(*words: str) -> object:
    (first, *_rest) = printed(*words)
    assert first["kind"] == "ServiceAccount"
    return first["metadata"]


@pytest.mark.parametrize("words", [["--for", "move,retire"], ["--for", "retire", "--for", "move"], ["--for", "retire"]])
def test_purposes_add_up(words: list[str]) -> None:
    """However they are said, they name one account."""
    assert account("source", "--namespace", "shop", *words) == {"name": "kubevirt-migrate-retire-source", "namespace": "shop"}


@pytest.mark.parametrize(
    ("words", "name"),
    [("copy", "copy-"), ("copy,move", "move-copy-"), ("copy,retire", "retire-copy-"), ("copy,move,retire", "retire-copy-")],
)
def test_each_sum_of_rights_has_a_name(words: str, name: str) -> None:
    """Whoever applies the roles for copies does not change those for moves."""
    assert account("source", "--for", words) == {"name": f"kubevirt-migrate-{name}source", "namespace": "default"}


def test_moves_alone_are_the_default() -> None:
    """Without a word the account is for moves, in the namespace default."""
    assert account("target") == {"name": "kubevirt-migrate-target", "namespace": "default"}
    assert printed("target") == printed("target", "--for", "move")


def test_an_unknown_purpose_is_refused() -> None:
    """With the words that there are."""
    with pytest.raises(UsageError) as refused:
        printed("source", "--for", "move,sell")
    assert '"sell"' in refused.value.what
    assert "move or retire or copy or export" in refused.value.now


def test_names_hold_for_every_namespace() -> None:
    """Roles outside of the namespace carry its name, so that those of two namespaces do not meet."""
    outside = [
        str(one["metadata"]) for one in printed("source", "--namespace", "shop") if "kubevirt-migrate-source-shop" in str(one["metadata"])
    ]
    assert len(outside) == 4


def test_exports_by_hand_have_an_account_of_their_own() -> None:
    """All of its rights are in one namespace, and it is mixed with no other."""
    made = printed("source", "--namespace", "shop", "--for", "export")
    assert account("source", "--namespace", "shop", "--for", "export") == {"name": "kubevirt-migrate-export-source", "namespace": "shop"}
    assert {(one["kind"], one["metadata"]["namespace"]) for one in made} == {  # type: ignore[index]
        ("ServiceAccount", "shop"),
        ("Role", "shop"),
        ("RoleBinding", "shop"),
    }
    for words in (["source", "--for", "export,move"], ["target", "--for", "export"]):
        with pytest.raises(UsageError, match="stands alone"):
            printed(*words)
