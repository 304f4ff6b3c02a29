"""The web runtime keeps the rules of the house, and is the Python runtime's counterpart file by file."""

import json

from tests.support.source_tree import REPOSITORY

WEB = REPOSITORY / "web"
RUNTIME = WEB / "src" / "runtime"
MAX_FILE_LINES = 400

# Files of the web runtime without a counterpart of the same name in edge_runtime or its contract.
WEB_ONLY = {
    "bundle_store",
    "environment",
    "folder_source",
    "http_source",
    "index",
    "litert_in_node",
    "manifest",
    "remembered",
}


def sources() -> list[str]:
    return sorted(
        path.relative_to(WEB).as_posix() for path in (WEB / "src").rglob("*") if path.suffix in {".ts", ".css"}
    )


def test_files_of_the_web_runtime_are_short():
    assert len(sources()) > 30
    assert [name for name in sources() if (WEB / name).read_text().count("\n") > MAX_FILE_LINES] == []


def test_every_file_says_in_its_first_line_what_it_is_for():
    assert [name for name in sources() if not (WEB / name).read_text().startswith(("/**", "/*"))] == []


def test_every_file_of_the_runtime_has_a_python_counterpart_of_the_same_name():
    python = {path.stem for path in (REPOSITORY / "edge_runtime").rglob("*.py")}
    assert {path.stem for path in RUNTIME.glob("*.ts")} - python == WEB_ONLY


def test_the_lock_names_no_registry_and_every_package_has_a_digest():
    lock = json.loads((WEB / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert len(packages) > 50
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
