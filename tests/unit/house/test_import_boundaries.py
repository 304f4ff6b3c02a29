"""Who may import whom: the table of the rooms, and the heavy packages that one file alone may name."""

import subprocess
import sys
import textwrap

import pytest

from tests.support.source_tree import REPOSITORY, ROOMS, Import, SourceFile, imports, is_within, parse, product_files

# The longest prefix of a module's name decides.
MAY_IMPORT = {
    "pocketrec": ("pocketrec", "compress", "train", "edge_runtime", "sync_server"),
    "pocketrec.verbs": ("edge_runtime.contract", "pocketrec"),
    "pocketrec.publishing": ("pocketrec.publishing", "edge_runtime.contract", "edge_runtime.settings", "sync_server"),
    "edge_runtime": ("edge_runtime",),
    "edge_runtime.contract": ("edge_runtime.contract",),
    "edge_runtime.settings": ("edge_runtime.contract",),
    "train": ("train", "edge_runtime.contract", "edge_runtime.settings"),
    "compress": ("compress", "train", "edge_runtime"),
    "sync_server.ranking": ("sync_server", "edge_runtime"),
    "sync_server": ("sync_server", "edge_runtime.contract", "edge_runtime.settings"),
}
ONLY_IN = {
    "tensorflow": ("train/backend.py",),
    "tf_keras": ("train/backend.py",),
    "keras": (),
    "tensorflow_hub": ("train/backend.py", "train/models/pretrained.py"),
    "tensorflow_model_optimization": ("compress/pruning.py", "compress/quantization.py"),
    "ai_edge_litert": ("edge_runtime/inference/interpreter.py",),
    "tflite_runtime": ("edge_runtime/inference/interpreter.py",),
    "torch": (),
}
# A verb's file is loaded for its `--help`: what run() needs beyond that is imported by run().
FUNCTION_LEVEL_ALLOWED = ("pocketrec/cli/", "pocketrec/verbs.py", "edge_runtime/inference/interpreter.py")
NOT_ON_A_DEVICE = (
    "tensorflow",
    "tf_keras",
    "pocketrec",
    "train",
    "compress",
    "sync_server",
    "flask",
    "sqlalchemy",
    "pyarrow",
    "rich",
)


def forbidden_imports(file: SourceFile) -> list[Import]:
    room = max((prefix for prefix in MAY_IMPORT if is_within(file.module, prefix)), key=len)
    ours = [found for found in imports(file) if found.name.split(".")[0] in (*ROOMS, "tests", "benchmarks")]
    return [found for found in ours if not any(is_within(found.name, allowed) for allowed in MAY_IMPORT[room])]


def misplaced_packages(file: SourceFile) -> list[Import]:
    return [
        found
        for found in imports(file)
        for package, homes in ONLY_IN.items()
        if is_within(found.name, package) and file.path not in homes
    ]


def test_every_import_follows_the_table_of_rooms():
    assert [str(found) for file in product_files() for found in forbidden_imports(file)] == []


def test_heavy_packages_are_imported_in_their_one_place():
    assert [str(found) for file in product_files() for found in misplaced_packages(file)] == []


def test_imports_stand_at_the_top_of_a_file():
    inside = [found for file in product_files() for found in imports(file) if found.in_function]
    assert [str(found) for found in inside if not found.file.path.startswith(FUNCTION_LEVEL_ALLOWED)] == []


def test_imports_name_full_modules():
    assert [str(found) for file in product_files() for found in imports(file) if found.name.startswith(".")] == []


def test_no_two_modules_import_each_other():
    files = {file.module: file for file in product_files()}
    edges = {
        module: {other for found in imports(file) if (other := _module_of(found.name, files)) not in (None, module)}
        for module, file in files.items()
    }
    remaining = dict(edges)
    while free := [module for module, others in remaining.items() if not others & remaining.keys()]:
        for module in free:
            del remaining[module]
    assert sorted(remaining) == [], "these modules import one another in a circle"


def _module_of(name, files):
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("edge_runtime/search.py", "import train.evaluation.metrics"),
        ("edge_runtime/contract/more.py", "from edge_runtime.settings import load_toml"),
        ("sync_server/api/rank.py", "from edge_runtime import node"),
        ("train/more.py", "from edge_runtime.inference.encoder import Encoder"),
        ("sync_server/rank.py", "from pocketrec.publishing import signing"),
    ],
)
def test_the_guard_sees_a_forbidden_import(tmp_path, path, line):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line)
    assert len(forbidden_imports(parse(file, tmp_path))) == 1


def test_the_guard_sees_tensorflow_hidden_in_a_function(tmp_path):
    file = tmp_path / "compress" / "sly.py"
    file.parent.mkdir()
    file.write_text("def load():\n    from tensorflow import keras\n    return keras\n")
    found = misplaced_packages(parse(file, tmp_path))
    assert [item.name for item in found] == ["tensorflow.keras"]
    assert found[0].in_function


def test_a_device_loads_none_of_the_builder_or_server():
    modules = [file.module for file in product_files() if is_within(file.module, "edge_runtime")]
    code = f"""
        import importlib, sys
        for module in {modules!r}:
            importlib.import_module(module)
        print(*sorted({{name.split(".")[0] for name in sys.modules}} & set({NOT_ON_A_DEVICE!r})))
    """
    assert _child(code) == ""


def test_importing_the_device_package_loads_few_modules_besides_numpys():
    code = """
        import sys
        import numpy
        before = set(sys.modules)
        import edge_runtime
        print(len(set(sys.modules) - before))
    """
    # 116 with Python 3.11; an interpreter of models, pyarrow or a web framework brings hundreds more.
    assert int(_child(code)) < 180


def test_the_network_is_loaded_when_a_node_is_named_and_not_before():
    code = """
        import sys
        import edge_runtime
        network = {"edge_runtime.node", "tuf", "urllib3"}
        print(sorted(network & set(sys.modules)))
        from edge_runtime import EdgeNode, Recommender
        print(EdgeNode.__module__, Recommender.__module__, sorted(network - set(sys.modules)))
    """
    assert _child(code) == "[]\nedge_runtime.node edge_runtime.recommender []"


def _child(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
