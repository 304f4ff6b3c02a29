"""`report.html`: the report to read, one file without scripts and without external resources."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from compress.report.charts import pareto_picture, quality_scale, tenths

_TEMPLATE = "page.html"


def report_page(content: Mapping[str, Any]) -> str:
    """Return the page for what `report_content` gave; every text of the shop is escaped."""
    best = {
        name: max(
            (row[f"{name}_ndcg10"] for row in content["quality"] if row["stage"].startswith("int8")), default=None
        )
        for name in ("rerank", "retrieval")
    }
    shown, idle = quality_rows(content["quality"])
    scale = quality_scale(shown)
    return _template().render(
        report=content,
        best=best,
        quality=shown,
        idle=idle,
        total_bytes=sum(content["bytes"].values()),
        scale=scale,
        ticks=tenths(scale),
        picture=pareto_picture(content),
        parts=model_parts(content),
    )


def quality_rows(quality: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the stages that moved a figure, and the names of those that left all of them as they were.

    A build without pruning, or a shop without purchases, has such stages; a row of theirs would look like a finding.
    """
    shown: list[Mapping[str, Any]] = []
    idle: list[str] = []
    for row in quality:
        figures = [{key: value for key, value in one.items() if key != "stage"} for one in (row, *shown[-1:])]
        if len(figures) == 2 and figures[0] == figures[1]:
            idle.append(row["stage"])
        else:
            shown.append(row)
    return shown, idle


def model_parts(content: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what `encoder.tflite` is made of, largest first: word table, kernels, history head, graph and the rest."""
    inside = content["stages"].get("convert", {}).get("inside", ())
    if not inside:
        return []
    sums = {"word table": 0, "student's other weights": 0, "history head": 0}
    for weights in inside:
        part = "word table" if weights["name"] == "student/word" else "student's other weights"
        sums["history head" if weights["name"].startswith("history/") else part] += weights["bytes"]
    sums["graph and small tensors"] = max(0, content["bytes"]["encoder.tflite"] - sum(sums.values()))
    return sorted(sums.items(), key=lambda one: -one[1])


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("compress.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["megabytes"] = lambda size: f"{size / 1e6:.2f} MB" if size >= 5e4 else f"{size / 1e3:.1f} kB"
    return environment.get_template(_TEMPLATE)
