"""Writes tests/data/golden_bundle and tests/data/attacks: the conformance suite of every reader of the format.

The golden bundle is what a reader of format 1.x must open and prove for as long as the major version is 1: run this
only when the major version changes. Needs no TensorFlow. From the repository's root: python tests/data/make_golden_bundle.py
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.toy_bundle import make_toy_bundle

DATA = Path(__file__).parent
Manifest = dict[str, Any]


def _first(manifest: Manifest, **fields: Any) -> Manifest:
    return {**manifest, "artifacts": [{**manifest["artifacts"][0], **fields}, *manifest["artifacts"][1:]]}


def _without(manifest: Manifest, field: str) -> Manifest:
    return {key: value for key, value in manifest.items() if key != field}


ATTACKS: dict[str, tuple[str, Callable[[Manifest], Manifest]]] = {
    "path_leaves_folder": ("BundleFormatError", lambda m: _first(m, path="../encoder.tflite")),
    "path_is_absolute": ("BundleFormatError", lambda m: _first(m, path="/etc/passwd")),
    "path_has_folder": ("BundleFormatError", lambda m: _first(m, path="models/encoder.tflite")),
    "path_has_backslash": ("BundleFormatError", lambda m: _first(m, path="..\\encoder.tflite")),
    "path_has_null": ("BundleFormatError", lambda m: _first(m, path="encoder.tflite\u0000.txt")),
    "path_is_hidden": ("BundleFormatError", lambda m: _first(m, path=".encoder.tflite")),
    "path_is_empty": ("BundleFormatError", lambda m: _first(m, path="")),
    "path_is_the_manifest": ("BundleFormatError", lambda m: _first(m, path="manifest.json")),
    "path_twice": ("BundleFormatError", lambda m: {**m, "artifacts": [*m["artifacts"], m["artifacts"][0]]}),
    "length_negative": ("BundleFormatError", lambda m: _first(m, length_bytes=-1)),
    "length_as_text": ("BundleFormatError", lambda m: _first(m, length_bytes="12")),
    "digest_upper_case": ("BundleFormatError", lambda m: _first(m, sha256=m["artifacts"][0]["sha256"].upper())),
    "digest_short": ("BundleFormatError", lambda m: _first(m, sha256="abc")),
    "no_artifacts": ("BundleFormatError", lambda m: {**m, "artifacts": []}),
    "no_encoder": ("BundleFormatError", lambda m: _without(m, "encoder")),
    "other_format": ("BundleFormatError", lambda m: {**m, "format": "zip"}),
    "version_is_a_word": ("BundleFormatError", lambda m: {**m, "format_version": "one"}),
    "newer_major_version": ("BundleVersionError", lambda m: {**m, "format_version": "2.0"}),
    "newer_major_version_of_another_shape": (
        "BundleVersionError",
        lambda m: {"format": m["format"], "format_version": "9.9", "files": {}},
    ),
}
ALLOWED: dict[str, Callable[[Manifest], Manifest]] = {
    "newer_minor_version": lambda m: {**m, "format_version": "1.7", "added_later": {"a": [1]}},
}


def main() -> None:
    """Write everything anew."""
    bundle = make_toy_bundle(DATA / "golden_bundle")
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    folder = DATA / "attacks"
    folder.mkdir(exist_ok=True)
    expected = {}
    for name, (error, change) in ATTACKS.items():
        (folder / f"{name}.json").write_text(json.dumps(change(manifest), indent=1))
        expected[f"{name}.json"] = error
    for name, change in ALLOWED.items():
        (folder / f"{name}.json").write_text(json.dumps(change(manifest), indent=1))
        expected[f"{name}.json"] = ""
    whole = json.dumps(manifest)
    (folder / "cut.json").write_text(whole[: len(whole) // 2])
    (folder / "list.json").write_text("[]")
    (folder / "nested.json").write_text('{"a": ' + "[" * 20_000)
    (folder / "not_utf8.bin").write_bytes(b'{"format": "\xff"}')
    (folder / "empty.json").write_bytes(b"")
    for name in ("cut.json", "list.json", "nested.json", "not_utf8.bin", "empty.json"):
        expected[name] = "BundleFormatError"
    (folder / "expected.json").write_text(json.dumps(dict(sorted(expected.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
