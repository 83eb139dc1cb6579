"""The built wheel, installed into a clean environment, finds its templates and playbooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOK = """
import migrate, pathlib
from migrate.rendering.assets import find_data
assert "site-packages" in migrate.__file__, migrate.__file__
print(sorted(p.name for p in find_data("playbooks").glob("*.yaml")), sorted(p.name for p in find_data("templates").rglob("*.j2")))
from migrate.workflow.playbook import load
print([step.name for step in load("cold-move").steps])
"""


@pytest.mark.slow
def test_wheel_in_a_clean_environment(tmp_path: Path) -> None:
    """A wheel built from the checkout brings templates, playbooks and the lab's seeds along, and `migrate --version` runs."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    lock = ["--require-hashes", "-r", str(ROOT / "requirements.lock")]
    for words in (lock, ["--no-deps", str(wheel)]):
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *words], check=True, timeout=600)
    seen = subprocess.run([str(python), "-c", LOOK], check=True, capture_output=True, text=True, cwd=tmp_path, timeout=60).stdout
    assert "cold-move.yaml" in seen
    assert "datavolume.yaml.j2" in seen
    assert "clean-up" in seen
    said = subprocess.run(
        [str(python.parent / "migrate"), "--version"], check=True, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert said.stdout.startswith("migrate ")
