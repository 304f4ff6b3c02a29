"""Counts lines, functions, types and docstrings of the source, and prints them as a table.

python scripts/measure_house.py
"""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("pocketrec", "train", "compress", "edge_runtime", "sync_server")
REPEATED_LINES = 6

Functions = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path relative to the root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module


def read_sources(root: Path, rooms: Sequence[str] = ROOMS) -> list[Source]:
    """Return the Python files of `rooms` below `root`, in order of their paths."""
    paths = sorted(path for room in rooms for path in (root / room).rglob("*.py"))
    return [_source(path, root) for path in paths]


def _source(path: Path, root: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(path.relative_to(root).as_posix(), text, ast.parse(text))


def largest_folder(sources: Sequence[Source]) -> tuple[str, int]:
    """Return the folder with the most modules, and how many; `__init__.py` is none."""
    counted = Counter(source.path.rpartition("/")[0] for source in sources if not source.path.endswith("/__init__.py"))
    return max(counted.items(), key=lambda item: item[1], default=("", 0))


def repeated_pairs(sources: Sequence[Source], lines: int = REPEATED_LINES) -> int:
    """Return how many pairs of places have `lines` equal lines in a row.

    Indentation, blank lines, comments and imports do not count. A longer repetition is one pair: windows that go on
    the pair before them by one line are not counted again.
    """
    places: defaultdict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, source in enumerate(sources):
        kept = _normalized(source.text)
        for start in range(len(kept) - lines + 1):
            places[tuple(kept[start : start + lines])].append((number, start))
    pairs = {
        (found[first], found[second])
        for found in places.values()
        for first in range(len(found))
        for second in range(first + 1, len(found))
        if found[first][0] != found[second][0] or found[second][1] - found[first][1] >= lines
    }
    return sum(((a, i - 1), (b, j - 1)) not in pairs for (a, i), (b, j) in pairs)


def _normalized(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "import ", "from "))]


def code_lines(sources: Sequence[Source]) -> int:
    """Return the lines of code in all files: without blank lines, comments and docstrings."""
    return sum(len(_code(source)) for source in sources)


def function_lengths(sources: Sequence[Source]) -> list[int]:
    """Return the lines of code of every function, its signature included, shortest first."""
    lengths = []
    for source in sources:
        code = _code(source)
        nodes = (node for node in ast.walk(source.tree) if isinstance(node, Functions))
        lengths += [
            sum(line in code for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)) for node in nodes
        ]
    return sorted(lengths)


def _code(source: Source) -> set[int]:
    """Return the numbers of the lines of code, from 1."""
    lines = {
        number
        for number, line in enumerate(source.text.splitlines(), start=1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(source.tree):
        # A string that stands alone documents a name, wherever it stands.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def comments_per_hundred_lines(sources: Sequence[Source]) -> float:
    """Return how many comments stand in a hundred lines of any kind; a `#` within a string does not count."""
    comments = sum(
        token.type == tokenize.COMMENT
        for source in sources
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline)
    )
    return 100 * comments / max(1, sum(source.text.count("\n") for source in sources))


def docstring_coverage(sources: Sequence[Source]) -> float:
    """Return the share of modules, and of public classes and functions outside functions, that have a docstring."""
    nodes = [node for source in sources for node in _documentable(source.tree)]
    return sum(ast.get_docstring(node) is not None for node in nodes) / max(1, len(nodes))


def _documentable(
    node: ast.Module | ast.ClassDef | Functions,
) -> list[ast.Module | ast.ClassDef | Functions]:
    found: list[ast.Module | ast.ClassDef | Functions] = [node]
    if not isinstance(node, Functions):
        for child in node.body:
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith(
                "_"
            ):
                found += _documentable(child)
    return found


def walks(page: str) -> dict[str, list[str]]:
    """Return the walks of `docs/architecture.md`: title -> the files that a reader opens, in their order."""
    _, _, section = page.partition("## Files walked\n")
    parts = section.partition("\n## ")[0].split("\n### ")[1:]
    return {part.partition("\n")[0]: re.findall(r"^\d+\. `([^`]+)`", part, re.MULTILINE) for part in parts}


def rows_of(sources: Sequence[Source]) -> list[tuple[str, str]]:
    """Return the table of what is counted in the source: what, and how much."""
    folder, modules = largest_folder(sources)
    lengths = function_lengths(sources)
    ninth = lengths[int(0.9 * (len(lengths) - 1))]
    return [
        (f"modules in the largest folder, {folder}", str(modules)),
        (f"pairs of repeated places ({REPEATED_LINES} lines)", str(repeated_pairs(sources))),
        ("product code, lines (Python)", f"{code_lines(sources):,}"),
        ("function median / 90% / longest", f"{statistics.median(lengths):g} / {ninth} / {lengths[-1]}"),
        ("comments in a hundred lines", f"{comments_per_hundred_lines(sources):.1f}"),
        ("docstrings of public names", f"{docstring_coverage(sources):.1%}"),
    ]


def main() -> None:
    """Print the table."""
    root = Path(__file__).resolve().parents[1]
    found = walks((root / "docs" / "architecture.md").read_text(encoding="utf-8"))
    walked = [(f"files walked: {title}", str(len(files))) for title, files in found.items()]
    for what, figure in [*rows_of(read_sources(root)), *walked]:
        sys.stdout.write(f"| {what} | {figure} |\n")


if __name__ == "__main__":
    main()
