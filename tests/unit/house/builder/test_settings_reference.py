"""docs/build.md shows every setting of a build with its default."""

import dataclasses
import re
import tomllib
from pathlib import Path

from edge_runtime.settings import from_mapping
from pocketrec.pipeline.settings import BuildSettings

DOCUMENT = Path(__file__).parents[4] / "docs" / "build.md"


def documented() -> dict[str, object]:
    block = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block is not None
    return tomllib.loads(block.group(1))


def test_every_setting_is_documented():
    shown = documented()
    settings = dataclasses.asdict(BuildSettings())
    assert set(shown) == set(settings)
    for name, value in settings.items():
        if isinstance(value, dict):
            assert set(shown[name]) == set(value), name


def test_documented_values_are_the_defaults():
    values = documented()
    # The settings without a number of their own by default.
    del values["teacher"]["steps"]
    for limit in ("max_bytes", "max_latency_ms", "min_retention"):
        del values["budget"][limit]
    assert from_mapping(values, BuildSettings, source="docs/build.md") == BuildSettings()
