"""The product's source as syntax trees, for the tests of its structure."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("pocketrec", "train", "compress", "edge_runtime", "sync_server")


@dataclass(frozen=True)
class SourceFile:
    """A parsed file: path relative to the repository, dotted module name, text and tree."""

    path: str
    module: str
    text: str
    tree: ast.Module


@dataclass(frozen=True)
class Import:
    """One import: the file, the dotted name that it names, the line, and whether it stands inside a function."""

    file: SourceFile
    name: str
    line: int
    in_function: bool

    def __str__(self) -> str:
        return f"{self.file.path}:{self.line} imports {self.name}"


def parse(path: Path, root: Path = REPOSITORY) -> SourceFile:
    relative = path.relative_to(root)
    text = path.read_text(encoding="utf-8")
    parts = relative.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return SourceFile(relative.as_posix(), module, text, ast.parse(text, filename=str(relative)))


def product_files(root: Path = REPOSITORY) -> list[SourceFile]:
    """Every Python file that the wheel ships."""
    paths: list[Path] = []
    for room in ROOMS:
        paths += sorted((root / room).rglob("*.py"))
    return [parse(path, root) for path in paths]


def imports(file: SourceFile) -> list[Import]:
    """Every import of `file`; `from a import b` names `a.b`, so that submodules are seen."""
    return list(_imports(file, file.tree, in_function=False))


def _imports(file: SourceFile, node: ast.AST, *, in_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, alias.name, child.lineno, in_function)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            for alias in child.names:
                yield Import(file, f"{base}.{alias.name}", child.lineno, in_function)
        inside = in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _imports(file, child, in_function=inside)


def is_within(name: str, module: str) -> bool:
    """Whether the dotted `name` is `module` or something inside it."""
    return name == module or name.startswith(f"{module}.")
