"""The web runtime keeps the rules of the house, and is the Python runtime's counterpart file by file."""

import json
import re
from collections import Counter
from pathlib import Path

from edge_runtime.contract.events import EVENT_KINDS
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from edge_runtime.search.pipeline import SORTS
from tests.support.source_tree import REPOSITORY

WEB = REPOSITORY / "web"
RUNTIME = WEB / "packages" / "runtime" / "src"
MAX_FILE_LINES = 400
MAX_MODULES = 15
WORKSPACES = {"pocketrec-web": "packages/runtime", "pocketrec-storefront": "apps/storefront"}
FROM = re.compile(r'from "([^"]+)"')

# Files of the web runtime without a counterpart of the same place and name in edge_runtime.
WEB_ONLY = {
    "contract/manifest",
    "environment",
    "feedback/impressions",
    "index",
    "inference/litert_in_node",
    "remembered",
    "updates/bundle_store",
    "updates/channel_source",
    "updates/folder_source",
    "updates/http_source",
    "updates/trusted_metadata",
}


def sources() -> list[str]:
    return sorted(
        path.relative_to(WEB).as_posix()
        for folder in ("packages", "apps")
        for path in (WEB / folder).glob("*/src/**/*")
        if path.suffix in {".ts", ".css"}
    )


def modules(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(pattern)}


def test_files_of_the_web_runtime_are_short():
    assert len(sources()) > 30
    assert [name for name in sources() if (WEB / name).read_text().count("\n") > MAX_FILE_LINES] == []


def test_every_file_says_in_its_first_line_what_it_is_for():
    assert [name for name in sources() if not (WEB / name).read_text().startswith(("/**", "/*"))] == []


def test_every_file_of_the_runtime_has_a_python_counterpart_of_the_same_place_and_name():
    python = modules(REPOSITORY / "edge_runtime", "*.py")
    assert modules(RUNTIME, "*.ts") - python == WEB_ONLY


def test_browser_knows_the_event_kinds_of_the_device():
    source = (RUNTIME / "contract" / "events.ts").read_text()
    lists = {name: json.loads(kinds) for name, kinds in re.findall(r"const (\w+)[^=]*= (\[[^]]+\])", source)}
    assert lists == {
        "EVENT_KINDS": list(EVENT_KINDS),
        "KINDS_WITH_QUERY": [kind for kind, traits in EVENT_KINDS.items() if traits.has_query],
    }


def test_browser_knows_the_columns_and_orders_of_the_device():
    source = (RUNTIME / "contract" / "product_columns.ts").read_text()
    (rows,) = re.findall(r"const ROWS = (\[.*?\]),\n\] as const", source, flags=re.DOTALL)
    uses = ("filters", "sorts", "facets")
    assert json.loads(f"{rows}]") == [
        [one.name, one.type, one.stored, " ".join(use for use in uses if getattr(one, use))] for one in PRODUCT_COLUMNS
    ]
    orders = re.findall(r"SORTS[^=]*= (\[[^]]+\])", (RUNTIME / "search" / "pipeline.ts").read_text())
    assert [json.loads(one) for one in orders] == [list(SORTS)]


def test_no_folder_has_more_than_fifteen_modules():
    folders = Counter(str(Path(name).parent) for name in sources() if name.endswith(".ts"))
    assert [folder for folder, count in folders.items() if count > MAX_MODULES] == []


def test_the_storefront_takes_the_runtime_by_its_name_and_knows_none_of_its_files():
    apps = [name for name in sources() if name.startswith("apps/")]
    imported = {target for name in apps for target in FROM.findall((WEB / name).read_text())}
    assert {target for target in imported if not target.startswith("./") and not target.startswith("../")} == {
        "pocketrec-web"
    }
    assert [target for target in imported if "packages/" in target] == []


def test_the_lock_names_no_registry_and_every_package_has_a_digest():
    lock = json.loads((WEB / "package-lock.json").read_text())
    ours = {
        name for name, entry in lock["packages"].items() if entry.get("link") or not name.startswith("node_modules/")
    }
    packages = {name: entry for name, entry in lock["packages"].items() if name not in ours}
    assert len(packages) > 50
    assert ours == {"", *(f"node_modules/{name}" for name in WORKSPACES), *WORKSPACES.values()}
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
