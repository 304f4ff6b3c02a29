"""`report.html`: the report for people, one file without script and without anything from elsewhere."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

_TEMPLATE = "report_page.html"


def report_page(content: Mapping[str, Any]) -> str:
    """Return the page for what `report_content` gave; every text of the shop is escaped."""
    best = {
        name: max(
            (row[f"{name}_ndcg10"] for row in content["quality"] if row["stage"].startswith("int8")), default=None
        )
        for name in ("rerank", "retrieval")
    }
    return _template().render(report=content, best=best, total_bytes=sum(content["bytes"].values()))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("compress", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["megabytes"] = lambda size: f"{size / 1e6:.2f} MB" if size >= 5e4 else f"{size / 1e3:.1f} kB"
    return environment.get_template(_TEMPLATE)
