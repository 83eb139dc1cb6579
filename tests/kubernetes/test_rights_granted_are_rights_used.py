"""Least privilege, by the audit log of a real API server: what the roles grant is what our commands use, no more and no less.

Runs last. The deeds use every right once; and all flows of the session ran under these accounts, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from migrate.lab.up import Lab
from tests.accounts import OWN, audited, granted
from tests.flows.deeds import DEEDS, Stage

WITHIN_A_GET = {(OWN, "", "pods/portforward", "create")}
"""The API server asks its authorizer for it within the GET of a websocket (1.35 and newer), and the log shows the GET."""


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


def test_granted_is_used_and_nothing_was_refused(stage: Stage) -> None:
    """Over all flows no right was granted in vain, and no request was forbidden; deleting is for those who retire."""
    seen = set(audited())
    assert {use for use in seen if use.forbidden} == set()
    for side in ("source", "target"):
        used = {use.right for use in seen if (use.side, use.purpose) == (side, "move")}
        assert granted(side, "move") - used - WITHIN_A_GET == set(), f"granted on the {side} and never used"
    deleting = granted("source", "retire") - granted("source", "move")
    assert deleting <= {use.right for use in seen if (use.side, use.purpose) == ("source", "retire")}
