"""Bundles that are damaged, hostile or too new: each ends in one sentence of ours, by the library and by the command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime import Recommender
from edge_runtime.contract import errors
from edge_runtime.contract.bundle import MAX_MANIFEST_BYTES, decode_manifest
from edge_runtime.contract.errors import BundleFormatError, BundleVersionError, DigestMismatchError
from pocketrec import verbs

DATA = Path(__file__).parents[3] / "data"
GOLDEN_BUNDLE, ATTACKS = DATA / "golden_bundle", DATA / "attacks"
EXPECTED: dict[str, str] = json.loads((ATTACKS / "expected.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN_BUNDLE, tmp_path / "bundle"))


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _flip_byte(folder: Path) -> None:
    path = folder / "encoder.tflite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _link(folder: Path) -> None:
    path = folder / "item_vectors.npy"
    other = path.rename(folder.parent / "elsewhere.npy")
    path.symlink_to(other)


def _cut(folder: Path) -> None:
    path = folder / "catalogue.sqlite"
    path.write_bytes(path.read_bytes()[:-1])


def _folder_for_file(folder: Path) -> None:
    (folder / "golden.json").unlink()
    (folder / "golden.json").mkdir()


BREAKAGES: list[tuple[Callable[[Path], object], type[errors.BundleError], str]] = [
    (lambda f: (f / "golden.json").unlink(), BundleFormatError, "golden.json is missing"),
    (lambda f: (f / "manifest.json").unlink(), BundleFormatError, "is not a bundle"),
    (lambda f: shutil.rmtree(f), BundleFormatError, "is not a bundle"),
    (_flip_byte, DigestMismatchError, "its SHA-256 differs"),
    (_cut, DigestMismatchError, "cut or changed"),
    (_link, BundleFormatError, "not a regular file"),
    (_folder_for_file, BundleFormatError, "not a regular file"),
    (
        lambda f: _edit(f, '"format_version": "1.0"', '"format_version": "2.0"'),
        BundleVersionError,
        "update the runtime",
    ),
    (lambda f: _edit(f, '"path": "golden.json"', '"path": "../golden.json"'), BundleFormatError, "plain file name"),
    (lambda f: (f / "manifest.json").write_text("{no json"), BundleFormatError, "not a JSON object"),
    (
        lambda f: (f / "manifest.json").write_text("{" + " " * MAX_MANIFEST_BYTES + "}"),
        BundleFormatError,
        "1000000 at most",
    ),
]


@pytest.mark.parametrize(("breakage", "error", "text"), BREAKAGES)
def test_broken_bundle_is_refused(folder: Path, breakage, error, text: str) -> None:
    breakage(folder)
    with pytest.raises(error, match=text):
        Recommender.open(folder)


@pytest.mark.parametrize("breakage", [breakage for breakage, _, _ in BREAKAGES])
@pytest.mark.parametrize("command", ["search", "prove"])
def test_command_on_a_broken_bundle_says_one_sentence(
    folder: Path, breakage, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    breakage(folder)
    assert verbs.main([command, str(folder), *(["red lamp"] if command == "search" else [])]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.startswith(f"pocketrec {command}: ")
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_manifest_of_the_conformance_suite(name: str) -> None:
    data = (ATTACKS / name).read_bytes()
    if EXPECTED[name]:
        with pytest.raises(getattr(errors, EXPECTED[name]), match=name):
            decode_manifest(data, source=name)
    else:
        assert decode_manifest(data, source=name).name == "toy-1"


def test_every_file_of_the_conformance_suite_is_expected() -> None:
    assert {path.name for path in ATTACKS.iterdir()} - {"expected.json"} == set(EXPECTED)


def test_golden_bundle_of_format_one_proves_itself() -> None:
    with Recommender.open(GOLDEN_BUNDLE) as recommender:
        proof = recommender.prove()
    assert proof.answers == 6
    assert proof.overlap == 1.0


def test_flipped_byte_passes_only_where_checking_is_left_out(folder: Path) -> None:
    path = folder / "golden.json"
    path.write_bytes(path.read_bytes().replace(b"acme", b"casa"))
    with Recommender.open(folder, verify=False) as recommender:
        assert recommender.search("red lamp").product_ids
    with pytest.raises(DigestMismatchError):
        Recommender.open(folder)
