"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge_runtime.contract import errors
from tests.support.source_tree import REPOSITORY, SourceFile, is_within, parse, product_files

MAX_FOLDER_MODULES = 15
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
TEXT_SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".sh",
    ".lock",
    ".json",
    ".html",
    ".css",
    ".js",
    ".mjs",
    ".ts",
    ".svg",
    ".yml",
    ".txt",
    "",
}
# Written in pieces, so that this file does not hold what it looks for.
BANNED_TEXT = re.compile(
    r"/"
    + r"(?:root|opt)/[\w.]|/home/\w+/|/"
    + r"work/(?:main|shared|venv)|pypi"
    + r"\.org|registry\.np"
    + r"mjs\.org|python"
    + r"hosted\.org|"
    r"TO" + r"DO\b|FIX" + r"ME\b",
)


def functions(file: SourceFile) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(file.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def printing(file: SourceFile) -> list[str]:
    return [
        f"{file.path}:{node.lineno}"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def may_print(path: str) -> bool:
    return path == "pocketrec/verbs.py" or "/cli/" in path


def catching_everything(file: SourceFile) -> list[str]:
    return [
        f"{file.path}:{node.lineno}"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]


def undocumented(file: SourceFile) -> list[str]:
    missing = [] if ast.get_docstring(file.tree) else [file.path]
    for node in file.tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if public and not ast.get_docstring(node):
            missing.append(f"{file.path}:{node.lineno} {node.name}")
    return missing


def tracked_files() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


def crowded(paths: Iterable[str]) -> dict[str, int]:
    modules = Counter(str(Path(path).parent) for path in paths if not path.endswith("__init__.py"))
    return {folder: count for folder, count in sorted(modules.items()) if count > MAX_FOLDER_MODULES}


def test_a_folder_has_few_modules():
    assert crowded(file.path for file in product_files()) == {}


def test_the_guard_sees_a_crowded_folder():
    paths = [f"room/m{number}.py" for number in range(MAX_FOLDER_MODULES)] + ["room/__init__.py"]
    assert crowded(paths) == {}
    assert crowded([*paths, "room/one_more.py"]) == {"room": MAX_FOLDER_MODULES + 1}


def test_every_folder_says_what_belongs_in_it():
    files = {file.path: file for file in product_files()}
    packages = {f"{Path(path).parent}/__init__.py" for path in files}
    assert [path for path in sorted(packages) if path not in files or not ast.get_docstring(files[path].tree)] == []


def test_functions_are_short():
    long = [
        f"{file.path}:{node.lineno} {node.name}"
        for file in product_files()
        for node in functions(file)
        if node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_most_functions_are_at_most_thirty_lines():
    lengths = [node.end_lineno - node.lineno + 1 for file in product_files() for node in functions(file)]
    assert sum(length <= 30 for length in lengths) >= 0.9 * len(lengths)


def test_input_is_not_checked_by_assert():
    found = [f"{f.path}:{n.lineno}" for f in product_files() for n in ast.walk(f.tree) if isinstance(n, ast.Assert)]
    assert found == []


def test_only_command_files_print():
    assert [place for file in product_files() if not may_print(file.path) for place in printing(file)] == []


def test_no_file_catches_every_exception_but_the_outer_walls():
    walls = {"sync_server/app.py"}
    # A thread that others wait for: it must not end, and one failure must not stop the work for the others.
    walls |= {f"sync_server/{name}.py" for name in ("events/event_writer", "rollouts/scheduler", "rollouts/service")}
    # The tokenizers library raises plain Exception for a malformed file.
    walls |= {"edge_runtime/inference/encoder.py", "train/models/pretrained.py"}
    assert [place for f in product_files() if f.path not in walls for place in catching_everything(f)] == []


def test_names_say_what_a_file_is_for():
    parts = {part for file in product_files() for part in file.module.replace(".", "_").split("_")}
    assert parts & BANNED_NAMES == set()


def test_every_public_name_is_documented():
    assert [name for file in product_files() for name in undocumented(file)] == []


def test_package_files_do_no_work():
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    working = [
        f"{file.path}:{node.lineno}"
        for file in product_files()
        if file.path.endswith("__init__.py")
        for node in file.tree.body
        if not isinstance(node, allowed) and not imports_when_named(node)
    ]
    assert working == []


def imports_when_named(node):
    """Whether `node` is what a package needs to import a heavy name when it is first used (PEP 562), and its type."""
    if isinstance(node, ast.FunctionDef):
        return node.name == "__getattr__"
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_tracked_files_name_no_place_of_one_machine():
    found = []
    for name in tracked_files():
        path = REPOSITORY / name
        if path.suffix in TEXT_SUFFIXES and path.is_file():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if BANNED_TEXT.search(line):
                    found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert found == []


@pytest.mark.parametrize("line", ["cd /" + "root/x", "https://pypi" + ".org/simple", "# TO" + "DO: later"])
def test_the_guard_sees_banned_text(line):
    assert BANNED_TEXT.search(line)


def documented_error_tree() -> dict[str, str]:
    parents, path = {}, ["PocketrecError"]
    for branch in re.finditer(r"^(.*)[├└]─ (\w+)", errors.__doc__, re.MULTILINE):
        depth = len(branch[1]) // 4
        path = [*path[:depth], branch[2]]
        parents[branch[2]] = path[-2]
    return parents


def test_the_error_tree_in_the_docstring_is_the_tree_of_the_classes():
    elsewhere = {"TrainingError", "CompressionError"}
    classes = {
        node.name: node.bases[0].id
        for file in product_files()
        if file.path in {"edge_runtime/contract/errors.py", "train/errors.py", "compress/errors.py"}
        for node in file.tree.body
        if isinstance(node, ast.ClassDef) and (node.name in elsewhere or hasattr(errors, node.name))
    }
    assert classes.pop("PocketrecError") == "Exception"
    assert documented_error_tree() == classes


def test_every_error_class_of_ours_descends_from_the_root():
    roots = {"PocketrecError"} | {name for name in vars(errors) if name.endswith("Error")}
    strays = []
    for file in product_files():
        classes = [node for node in file.tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Error")]
        for node in classes:
            if node.name != "PocketrecError" and not any(getattr(base, "id", "") in roots for base in node.bases):
                strays.append(f"{file.path} {node.name}")
            roots.add(node.name)
    assert strays == []


def test_the_guards_see_what_they_look_for(tmp_path):
    path = tmp_path / "train" / "bad.py"
    path.parent.mkdir()
    path.write_text("def f():\n    try:\n        print(1)\n    except Exception:\n        pass\n")
    bad = parse(path, tmp_path)
    assert printing(bad) == ["train/bad.py:3"]
    assert catching_everything(bad) == ["train/bad.py:4"]
    assert undocumented(bad) == ["train/bad.py", "train/bad.py:1 f"]
    assert is_within(bad.module, "train")
