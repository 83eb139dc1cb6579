"""What `migrate rbac` prints is what our commands use, no more and no less: every deed succeeds under these accounts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from migrate.lab.up import Lab
from tests.accounts import OWN, granted, logged
from tests.flows.deeds import DEEDS, Stage

pytestmark = pytest.mark.slow
UNSEEN = {
    (OWN, "", "pods/portforward", "create"),
    ("kubevirt", "route.openshift.io", "routes", "list"),
    ("kubevirt", "", "configmaps", "get"),
}
"""The embedded server imitates 1.32, where a websocket is a GET alone, and has no Routes. tests/kubernetes has both."""


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Stage:
    return Stage(lab)


@pytest.fixture(autouse=True)
def cleared(stage: Stage) -> Iterator[None]:
    yield
    stage.clear()


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_the_accounts_suffice(stage: Stage, deed: Callable[[Stage], None]) -> None:
    """Each deed is done as it says, with the rights that are printed and no others."""
    deed(stage)


def test_granted_is_used_and_nothing_was_refused(lab: Lab) -> None:
    """Over all these deeds no right was granted in vain, and no request was forbidden; deleting is for those who retire."""
    seen = list(logged(lab))
    assert {use.right for use in seen if use.forbidden} == set()
    for side in ("source", "target"):
        used = {use.right for use in seen if (use.side, use.purpose) == (side, "move")}
        assert granted(side, "move") - used - UNSEEN == set(), f"granted on the {side} and never used"
    copying = {use.right for use in seen if (use.side, use.purpose) == ("source", "copy")}
    assert granted("source", "copy") - copying - UNSEEN == set(), "granted for copies and never used"
    exporting = {use.right for use in seen if (use.side, use.purpose) == ("source", "export")}
    assert granted("source", "export") - exporting - UNSEEN == set(), "granted for exports by hand and never used"
    deleting = granted("source", "retire") - granted("source", "move")
    assert deleting <= {use.right for use in seen if (use.side, use.purpose) == ("source", "retire")}
