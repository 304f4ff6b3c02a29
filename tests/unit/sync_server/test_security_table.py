"""docs/security.md names tests: each of them must exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_named_test_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE))
    assert len(named) > 40
    assert named - defined == set()
