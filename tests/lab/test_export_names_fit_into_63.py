"""Names of an export's children: short ones are joined, long ones are hashed as the real controller hashes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab import export_names

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=253)


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("a" * 50, "virt-export-" + "a" * 50),
        ("b" * 52, "v-efa2f187-" + "b" * 52),
        ("c" * 60, "virt-export-dd48dd22"),
    ],
)
def test_the_check_values_of_the_reference_come_out(suffix: str, expected: str) -> None:
    """The rule gives the three names that the reference computed."""
    assert export_names.short_name("virt-export", suffix) == expected


@given(_NAMES)
def test_no_name_is_longer_than_a_label(name: str) -> None:
    """Pod, Service, token and volume names never exceed 63 characters, whatever the export or claim is called."""
    names = [
        export_names.pod_name(name),
        export_names.service_name(name),
        export_names.token_name(name),
        export_names.volume_name(name),
        export_names.service_label(name),
    ]
    assert max(map(len, names)) <= 63


def test_a_service_name_has_no_dots() -> None:
    """Dots of the export's name become dashes in the Service's name from release 1.7, and stay in the pod's."""
    assert export_names.service_name("my.export") == "virt-export-my-export"
    assert export_names.service_name("my.export", sanitised=False) == "virt-export-my.export"
    assert export_names.pod_name("my.export") == "virt-export-my.export"


def test_different_long_names_stay_different() -> None:
    """Two long names that differ only at their ends get different Services."""
    assert export_names.service_name("x" * 60 + "1") != export_names.service_name("x" * 60 + "2")
