"""KubeVirt's manifests name wrong links for a disk; our move never reads them, so every byte goes where it belongs."""

from __future__ import annotations

import re

import pytest
import yaml

from migrate.kube.kinds import EXPORT
from migrate.lab.up import Lab
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow
from tests.lab.exports import Export
from tests.machines import disk, machine


def lies(flow: Flow) -> dict[str, str]:
    """Read the manifests of the flow's export, as the user guide's manual way would, and return the wrong claims by disk."""
    found = next(export for export in flow.east.list(EXPORT) if export["spec"]["source"]["name"] == flow.name)
    export = Export(flow.lab, flow.east, found["metadata"]["name"])
    documents = yaml.safe_load_all(export.fetch(export.manifest(), accept="application/yaml").body)
    items = [item for document in documents if document for item in document.get("items", [document])]
    templates = [template for item in items for template in item.get("spec", {}).get("dataVolumeTemplates", ())]
    said = {
        item["metadata"]["name"]: re.search(r"/volumes/([^/]+)/", item["spec"]["source"]["http"]["url"])
        for item in (*templates, *items)
        if "http" in item.get("spec", {}).get("source", {})
    }
    return {name: match[1] for name, match in said.items() if match is not None and match[1] != name}


def moved_while_it_lies(flow: Flow) -> dict[str, str]:
    """Move, read the lies in the middle of it, and check that no disk followed them."""
    told: dict[str, str] = {}
    flow.when("import-disks", "", lambda: told.update(lies(flow)))
    assert flow.move(start=Start.NEVER).report.outcome is Outcome.MOVED
    assert flow.unequal() == []
    return told


def test_swapped_manifests(lab: Lab, begin: Begin) -> None:
    """The lab crosses the links of two disks in its manifests; both disks arrive as they were."""
    flow = begin(disks=("root", "logs"))
    lab.east.trouble.set("manifest", "swap")
    assert moved_while_it_lies(flow) == {f"{flow.name}-root": f"{flow.name}-logs", f"{flow.name}-logs": f"{flow.name}-root"}


@pytest.mark.slow
def test_names_that_hold_one_another(lab: Lab) -> None:
    """Disks named data, data-2 and disk are mixed up by the manifests alone."""
    lab.plant([*(disk(name) for name in ("data", "data-2", "disk")), machine("substrings", ("data", "data-2", "disk"), strategy="Always")])
    flow = Flow(lab, "substrings")
    assert moved_while_it_lies(flow) == {"data": "data-2"}
    flow.close()


@pytest.mark.slow
def test_templates_in_another_order_than_the_volumes(lab: Lab) -> None:
    """DataVolume templates are joined to their disks by name, not by place."""
    names = ("tpl-root", "tpl-logs")
    vm = machine("templates", names, strategy="Always")
    blank = {"source": {"blank": {}}, "storage": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Mi"}}}}
    vm["spec"]["dataVolumeTemplates"] = [{"metadata": {"name": name}, "spec": blank} for name in reversed(names)]
    lab.plant([vm])
    flow = Flow(lab, "templates")
    assert moved_while_it_lies(flow) == {"tpl-root": "tpl-logs", "tpl-logs": "tpl-root"}
    flow.close()


@pytest.mark.slow
def test_more_than_ten_disks(begin: Begin) -> None:
    """Twelve disks from templates, which KubeVirt's manifests cannot count."""
    flow = begin(disks=[str(number) for number in range(12)], mib=1)
    moved_while_it_lies(flow)
