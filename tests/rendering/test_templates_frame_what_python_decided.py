"""Our templates, and what a user's own templates may and may not do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrate.model.errors import UsageError
from migrate.model.record import Record
from migrate.model.was import Was
from migrate.rendering import frames
from migrate.rendering.assets import find_data
from migrate.rendering.mapping import Placement
from migrate.rendering.render import KINDS, Renderer
from tests.rendering.asked import disk, migration

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DB = disk("db", "db-new")
M = migration(DB, namespace="mall", name="db-new")
VM = {
    "metadata": {"name": "db", "labels": {"app": "db"}, "annotations": {"note": "n"}},
    "spec": {"running": True, "template": {"spec": {"domain": {}, "volumes": [{"name": "root", "dataVolume": {"name": "db"}}]}}},
}
RECORD = Record(M, "0.1.0", "me@here", NOON)
FRAMES: dict[str, dict[str, Any]] = {
    "source/export-token.yaml.j2": frames.export_token(M, token="tok3n"),
    "source/export.yaml.j2": frames.export(M, version="v1beta1", ttl=timedelta(hours=36, minutes=5)),
    "source/snapshot.yaml.j2": frames.snapshot(M, version="v1beta1", deadline=timedelta(minutes=5)),
    "target/namespace.yaml.j2": frames.namespace(M),
    "target/ca.yaml.j2": frames.ca(M, pem="PEM\n\n"),
    "target/header.yaml.j2": frames.header(M, token="tok3n"),
    "target/datavolume.yaml.j2": frames.datavolume(
        M, DB, url="https://h/v/db?a=b", size_bytes=2**30, placement=Placement("ceph"), generation=7
    ),
    "target/state.yaml.j2": frames.state(
        M, disk("persistent-state-for-db-x1", archive=True), placement=Placement("nfs", "Filesystem"), generation=7
    ),
    "target/secret.yaml.j2": frames.reference(
        M,
        {"metadata": {"name": "init", "labels": {"app": "db", "kubevirt-migrate.io/id": "old"}, "annotations": {"note": "n"}}},
        content={"data": {"userdata": "eA=="}, "type": "Opaque", "immutable": True},
        stamp={"kubevirt-migrate.io/claim": "1"},
    ),
    "target/configmap.yaml.j2": frames.before(M, kind="ConfigMap", name="conf", content={"data": {"a": "{{ b }}\n---"}}),
    "target/vm.yaml.j2": frames.vm(M, VM, was=Was(running=True)),
    "target/record.yaml.j2": frames.record(M, RECORD),
    "target/claim.yaml.j2": frames.claim(M, name="claim", namespace="shop", holder="me", seconds=60, acquired=NOON, renewed=NOON),
}


def ours() -> Renderer:
    return Renderer([find_data("templates")])


@pytest.mark.parametrize("template", sorted(FRAMES))
def test_every_template_renders_with_our_mark(template: str) -> None:
    """Each template makes the kind it is for, under its name, with the id and owner labels."""
    (made,) = ours().render(template, **FRAMES[template])
    assert made["kind"] == KINDS[template]
    assert made["metadata"]["name"] == FRAMES[template]["name"]
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kubevirt-migrate"
    assert made["metadata"]["labels"]["kubevirt-migrate.io/id"] == "m1"
    assert made["metadata"]["labels"]["kubevirt-migrate.io/role"]
    json.dumps(made)


def test_every_template_has_a_frame_and_a_kind() -> None:
    """No template lies about unused, and none is missing. Those in `rbac` are for people to apply, not for us to send."""
    folder = find_data("templates")
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.j2") if path.parent.name != "rbac"}
    assert there == set(KINDS) == set(FRAMES)


def test_state_waits_for_its_files_under_the_label_of_its_vm() -> None:
    """The claim for TPM and EFI state is an upload target of files, on a file system, labelled with the VM's name there."""
    (made,) = ours().render("target/state.yaml.j2", **FRAMES["target/state.yaml.j2"])
    assert made["metadata"]["labels"]["persistent-state-for"] == "db-new"
    assert (made["spec"]["source"], made["spec"]["contentType"], made["spec"]["storage"]["volumeMode"]) == (
        {"upload": {}},
        "archive",
        "Filesystem",
    )


def test_the_export_names_its_vm_token_and_life() -> None:
    """The export has the served version, the VM, the token's Secret and a Go duration."""
    (made,) = ours().render("source/export.yaml.j2", **FRAMES["source/export.yaml.j2"])
    assert made["apiVersion"] == "export.kubevirt.io/v1beta1"
    assert made["metadata"]["namespace"] == "shop"
    assert made["spec"] == {
        "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "db"},
        "tokenSecretRef": "migrate-m1-token",
        "ttlDuration": "36h5m0s",
    }


def test_the_proof_exports_the_target() -> None:
    """The export for the proof is of the target VM, in its namespace, under names of its own."""
    (made,) = ours().render("source/export.yaml.j2", **frames.export(M, version="v1", ttl=timedelta(hours=2), proof=True))
    (token,) = ours().render("source/export-token.yaml.j2", **frames.export_token(M, token="t", proof=True))
    assert (made["metadata"]["name"], made["metadata"]["namespace"], made["spec"]["source"]["name"]) == (
        "migrate-m1-proof",
        "mall",
        "db-new",
    )
    assert made["spec"]["tokenSecretRef"] == token["metadata"]["name"] == "migrate-m1-proof-token"
    assert token["metadata"]["namespace"] == "mall"


def test_the_ca_lies_under_both_keys() -> None:
    """CDI's Go client reads every key, its early probe tls.crt only."""
    (made,) = ours().render("target/ca.yaml.j2", **FRAMES["target/ca.yaml.j2"])
    assert made["data"] == {"ca.pem": "PEM\n", "tls.crt": "PEM\n"}


def test_the_header_is_one_line_without_an_end() -> None:
    """A newline in a header line would make the importer refuse every request."""
    (made,) = ours().render("target/header.yaml.j2", **FRAMES["target/header.yaml.j2"])
    assert made["stringData"] == {"header": "x-kubevirt-export-token: tok3n"}


@pytest.mark.parametrize("token", ["", "s3cr3t\n", " s3cr3t", "s3cr3t\r\nb: c", "s3cr3tä", "s3cr3t\tb"])
def test_a_token_that_breaks_the_header_is_refused(token: str) -> None:
    """Such a token is an error here, not a crash loop of the importer; the error does not repeat it."""
    with pytest.raises(ValueError, match="printable") as caught:
        frames.header(M, token=token)
    assert "s3cr3t" not in str(caught.value)


def test_a_disk_asks_for_its_virtual_size() -> None:
    """The DataVolume has the link, the CA, the header, the size in bytes and immediate binding; modes are left to CDI."""
    (made,) = ours().render("target/datavolume.yaml.j2", **FRAMES["target/datavolume.yaml.j2"])
    assert made["metadata"]["annotations"] == {
        "cdi.kubevirt.io/storage.bind.immediate.requested": "",
        "cdi.kubevirt.io/allowClaimAdoption": "false",
        "kubevirt-migrate.io/source-pvc": "db",
        "kubevirt-migrate.io/source-generation": "7",
    }
    assert made["metadata"]["name"] == "db-new"
    assert made["spec"] == {
        "source": {"http": {"url": "https://h/v/db?a=b", "certConfigMap": "migrate-m1-ca", "secretExtraHeaders": ["migrate-m1-header"]}},
        "storage": {"resources": {"requests": {"storage": "1073741824"}}, "storageClassName": "ceph"},
    }


def test_modes_are_written_where_cdi_does_not_know_them() -> None:
    """A placement with modes puts them into the DataVolume."""
    placement = Placement("odd", "Block", ("ReadWriteMany",))
    (made,) = ours().render(
        "target/datavolume.yaml.j2", **frames.datavolume(M, DB, url="https://h", size_bytes=5, placement=placement, generation=7)
    )
    assert made["spec"]["storage"]["volumeMode"] == "Block"
    assert made["spec"]["storage"]["accessModes"] == ["ReadWriteMany"]


def test_the_vm_is_halted_and_keeps_its_labels() -> None:
    """The VM is halted, names the renamed disk, and has the user's labels beside our mark."""
    (made,) = ours().render("target/vm.yaml.j2", **FRAMES["target/vm.yaml.j2"])
    assert made["spec"]["runStrategy"] == "Halted"
    assert "running" not in made["spec"]
    assert made["spec"]["template"]["spec"]["volumes"] == [{"name": "root", "dataVolume": {"name": "db-new"}}]
    assert made["metadata"]["labels"]["app"] == "db"
    assert made["metadata"]["annotations"] == {"note": "n"}


def test_the_record_reads_back() -> None:
    """What the record template holds is the record."""
    (made,) = ours().render("target/record.yaml.j2", **FRAMES["target/record.yaml.j2"])
    assert Record.of_data(made["data"]) == RECORD


def own(folder: Path, name: str, change: str) -> Renderer:
    """Put a user's own template in front of ours: ours with one more word."""
    text = (find_data("templates") / name).read_text()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text + change)
    return Renderer([folder, find_data("templates")])


def test_a_users_template_goes_first_and_may_add(tmp_path: Path) -> None:
    """A user's template of the same name is used, the others stay ours."""
    renderer = own(tmp_path, "target/vm.yaml.j2", "")
    path = tmp_path / "target/vm.yaml.j2"
    path.write_text(path.read_text().replace("spec: {{", "  finalizers: [mine/x]\nspec: {{"))
    (made,) = renderer.render("target/vm.yaml.j2", **FRAMES["target/vm.yaml.j2"])
    assert made["metadata"]["finalizers"] == ["mine/x"]
    assert renderer.render("target/ca.yaml.j2", **FRAMES["target/ca.yaml.j2"])[0]["kind"] == "ConfigMap"


@pytest.mark.parametrize(
    ("template", "old", "new", "word"),
    [
        ("target/vm.yaml.j2", "spec: {{ spec | tojson }}", "spec: {runStrategy: Always}", "spec.runStrategy"),
        ("target/vm.yaml.j2", "{{ labels | tojson }}", "{mine: x}", "label"),
        ("target/vm.yaml.j2", "{{ namespace | tojson }}", "elsewhere", "metadata.namespace"),
        ("target/vm.yaml.j2", "{{ name | tojson }}", "other", "metadata.name"),
        ("target/vm.yaml.j2", "kind: VirtualMachine", "kind: VirtualMachineInstance", "kind"),
        ("target/datavolume.yaml.j2", "http: {{ http | tojson }}", "http: {url: https://evil}", "spec.source"),
        ("target/datavolume.yaml.j2", "spec:", "spec:\n  contentType: archive", "spec.contentType"),
        ("target/header.yaml.j2", "stringData:", "stringData:\n  more: x", "stringData"),
    ],
)
def test_a_users_template_cannot_break_what_was_decided(tmp_path: Path, template: str, old: str, new: str, word: str) -> None:
    """What must stay is compared, named in the error, and the token is not in it."""
    renderer = own(tmp_path, template, "")
    path = tmp_path / template
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError) as caught:
        renderer.render(template, **FRAMES[template])
    assert word in caught.value.why
    assert str(path) in caught.value.where
    assert "tok3n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: {{ nothing }}", "nothing"),
        ("a: {{ nothing", "expected"),
        ("a: [", "node content"),
        ("a: 1\na: 2\n", "twice"),
        ("a: 1\n---\nb: 2\n", "2 documents"),
        ("- a\n", "one object"),
        ("", "0 documents"),
        ("a: 2001-01-01\n", "date"),
        ("a: \x07\n", "forbids"),
        ("{% include 'gone.j2' %}", ""),
        ("a: {{ token.__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_a_broken_template_is_a_usage_error_without_its_values(tmp_path: Path, text: str, why: str) -> None:
    """Every way to be broken ends in the four words, and never quotes what was rendered."""
    (tmp_path / "x.j2").write_text(f"token: {{{{ token | tojson }}}}\n{text}" if text.startswith("a") else text)
    with pytest.raises(UsageError) as caught:
        Renderer([tmp_path]).render("x.j2", name="n", namespace="s", labels={}, pins={}, token="tok3n")
    assert why in caught.value.why
    assert caught.value.now
    assert "tok3n" not in f"{caught.value} {caught.value.problems}"


def test_a_template_of_ours_is_plain_yaml_around_its_holes() -> None:
    """Each template of one manifest reads as that: its holes replaced by a word, it is YAML. Roles have a test of their own."""
    for path in (path for folder in ("source", "target") for path in (find_data("templates") / folder).glob("*.j2")):
        text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("{%"))
        while "{{" in text:
            text = text[: text.index("{{")] + "hole" + text[text.index("}}") + 2 :]
        assert yaml.safe_load(text)["apiVersion"], path
