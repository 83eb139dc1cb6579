"""Before a VM is deleted its name is said: by --yes, or typed at a terminal; ages are read strictly."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrate.cli.afterwards import _confirm
from migrate.cli.cleanup import age_of
from migrate.model.errors import UsageError


def test_off_a_terminal_the_name_must_be_given() -> None:
    """Without --yes nothing is deleted, and what would be is said."""
    with pytest.raises(UsageError) as caught:
        _confirm("db-1", "", "to be deleted: VM db-1, disk db-1-root")
    assert "db-1-root" in caught.value.why
    assert caught.value.now == "say --yes db-1"


@pytest.mark.parametrize("said", ["yes", "y", "db-2", "DB-1"])
def test_another_word_is_no_consent(said: str) -> None:
    """Only the very name is."""
    with pytest.raises(UsageError, match="not the name"):
        _confirm("db-1", said, "")


def test_the_name_is_consent() -> None:
    """--yes NAME asks nothing further."""
    _confirm("db-1", "db-1", "")


@pytest.mark.parametrize(
    ("text", "age"), [("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("7d", timedelta(7)), ("2w", timedelta(14))]
)
def test_ages(text: str, age: timedelta) -> None:
    """A number and a unit."""
    assert age_of(text) == age


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5d", "7 d", "1y"])
def test_what_is_no_age(text: str) -> None:
    """Anything else is refused with the form that is known."""
    with pytest.raises(UsageError):
        age_of(text)
