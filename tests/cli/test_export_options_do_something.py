"""Options of the export commands do what they say, or are not there; what an export that is there cannot be is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.kube.kinds import EXPORT
from migrate.model.quantity import to_duration
from migrate.reading.exports import differences
from tests.cli.conftest import Plant
from tests.cli.disks import PLACE
from tests.cli.shell import Shell

COMMANDS = ("create", "list", "show", "download", "files", "manifest", "delete")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_export_is_of_one_cluster(command: str) -> None:
    """There is no source and no target to name kubeconfigs of."""
    said = CliRunner().invoke(app, ["export", command, "--help"], terminal_width=200).output
    assert "--kubeconfig" in said
    assert "--source-kubeconfig" not in said
    assert "--target-kubeconfig" not in said


def test_a_manifest_has_no_address_of_a_service() -> None:
    """Its links are those of the export; nothing on another cluster would believe another host."""
    assert "--service-url" not in CliRunner().invoke(app, ["export", "manifest", "--help"], terminal_width=200).output


def test_where_an_export_differs_from_what_is_asked() -> None:
    """Time to live as Go writes it, the Secret, labels and annotations; what is not asked for does not differ."""
    export = {
        "metadata": {"name": "e", "labels": {"a": "b"}, "annotations": {}},
        "spec": {"ttlDuration": "1h30m0s", "tokenSecretRef": "mine"},
    }
    assert differences(export, ttl=None, token_secret="", labels={}, annotations={}) == ()
    assert differences(export, ttl=timedelta(minutes=90), token_secret="mine", labels={"a": "b"}, annotations={}) == ()
    told = differences(export, ttl=timedelta(hours=6), token_secret="other", labels={"a": "c"}, annotations={"n": "x"})
    assert told == (
        "its time to live is 1h30m0s",
        "its token is in Secret mine",
        "its label a is b",
        "its annotation n is not there",
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30m0s", 5400), ("1.5h", 5400), ("90s", 90), ("0s", 0), ("6", None), ("", None), ("1h x", None), ("-1h", None)],
)
def test_times_as_go_writes_them(text: str, seconds: int | None) -> None:
    """Whole and broken numbers with their units, and nothing else."""
    assert to_duration(text) == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.slow
def test_create_does_not_pass_over_what_was_asked(shell: Shell, plant: Plant) -> None:
    """An export that is there with another time to live is refused by `create`, and read by `download`, which says so."""
    flow = plant()
    shell("export", "create", "o", "--vm", flow.name, "--ttl", "1h", *PLACE)
    words = ("export", "create", "o", "--vm", flow.name, *PLACE)
    assert "its time to live is 3600s" in " ".join(shell(*words, "--ttl", "6h", code=6).stderr.split())
    assert "was there already" in shell(*words, "--ttl", "60m").stdout
    said = shell("export", "download", "o", "--vm", flow.name, "--ttl", "6h", "--output", "x", *PLACE).stderr
    assert "is read as it is, not as asked: its time to live is 3600s" in " ".join(said.split())
    shell("export", "delete", "o", *PLACE)


@pytest.mark.slow
def test_where_nothing_can_land_nothing_is_made(shell: Shell, plant: Plant) -> None:
    """A directory, a device: said before an export is made; a link is followed."""
    flow = plant()
    work = shell.directory / "work"
    for output in ("/dev/null", ".", "nowhere/x"):
        shell("export", "download", "l", "--vm", flow.name, "--output", output, *PLACE, code=2)
        shell("export", "manifest", "l", "--output", output, *PLACE, code=2)
    assert flow.east.get(EXPORT, "l") is None
    (work / "link").symlink_to("big.img")
    shell("export", "download", "l", "--vm", flow.name, "--format", "raw", "--output", "link", *PLACE)
    assert (work / "link").readlink() == Path("big.img")
    assert (work / "big.img").stat().st_size == 2 << 20
