"""The words of observations: each has a meaning and a remedy, none is made up in passing, and the page says the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import migrate
from migrate.model.reasons import REASONS, page

PACKAGE = Path(migrate.__file__).parent
ROOMS = ("model", "reading", "rendering", "steps", "workflow", "transfer", "kube")
WHERE_THE_WORD_STANDS = {
    "needed": 0,
    "waiting": 0,
    "done": 0,
    "blocked": 0,
    "failed": 0,
    "unknown": 0,
    "say": 1,
    "Observation": 1,
    "DiskProgress": 2,
}
"""Which argument of what call is a reason."""


def used() -> Iterator[tuple[str, str]]:
    """Yield (word, file) for every reason that stands in the code."""
    for room in ROOMS:
        for path in sorted((PACKAGE / room).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and "reason" in (ast.unparse(target) for target in node.targets):
                    yield from ((word, f"{room}/{path.name}") for word in _words(node.value))
                if not isinstance(node, ast.Call):
                    continue
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                place = WHERE_THE_WORD_STANDS.get(name)
                if place is None or len(node.args) <= place:
                    continue
                yield from ((word, f"{room}/{path.name}") for word in _words(node.args[place]))


def _words(expression: ast.expr) -> Iterator[str]:
    """Yield the literals in an expression that look like reasons."""
    for part in ast.walk(expression):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and re.fullmatch(r"[A-Z][A-Za-z]+", part.value):
            yield part.value


def test_every_reason_in_the_code_is_in_the_table() -> None:
    """A word that a step or reader answers with has a meaning and a remedy."""
    unknown = {f"{word} ({where})" for word, where in used() if word not in REASONS}
    assert not unknown


def test_every_reason_in_the_table_is_in_the_code() -> None:
    """A word that nobody says any more is taken out."""
    text = "\n".join(path.read_text() for room in ROOMS for path in (PACKAGE / room).glob("*.py") if path.name != "reasons.py")
    assert not [word for word in REASONS if f'"{word}"' not in text]


def test_words_are_words_and_say_something() -> None:
    """A reason is one CamelCase word with a meaning and a remedy in one line each."""
    for word, reason in REASONS.items():
        assert re.fullmatch(r"([A-Z][a-z]+)+", word), word
        assert reason.meaning
        assert reason.remedy
        assert "|" not in reason.meaning + reason.remedy


def test_the_page_says_the_same() -> None:
    """docs/reasons.md is what the table says; if not: python -m migrate.model.reasons > docs/reasons.md."""
    assert (PACKAGE.parent / "docs" / "reasons.md").read_text() == page()
