"""The rows that the parts of the benchmark give, and their table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "not measured"


@dataclass(frozen=True)
class Row:
    """What was required and what was measured, and whether that is enough."""

    name: str
    required: str
    measured: str
    met: bool


def fault_table(result: Mapping[str, Any], parts: Iterable[str]) -> str:
    """Return the rows of the result file as Markdown; a part that has not run says so."""
    lines = ["| | required | measured |", "|---|--:|--:|"]
    for part in parts:
        rows = [Row(**row) for row in result.get(part, {}).get("rows", [])] or [Row(part, "", MISSING, met=False)]
        for row in rows:
            mark = "" if row.met or row.measured == MISSING else " (**not met**)"
            lines.append(f"| {row.name} | {row.required} | {row.measured}{mark} |")
    return "\n".join(lines)
