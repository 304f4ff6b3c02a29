"""`report.json`, `report.html` and `model_card.md`: what was built from what, how good it is, what it weighs."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from compress.quality import StageQuality
from compress.report_page import report_page
from compress.settings import BuildSettings
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import MODEL_CARD_FILE, REPORT_FILE, REPORT_PAGE_FILE, FusionSpec
from train.shop.tables import Shop
from train.stages import StageResult


@dataclass(frozen=True)
class ReportInputs:
    """What the report is made of; `findings` are those of `bundle_findings`."""

    shop: Shop
    settings: BuildSettings
    stages: Sequence[StageResult]
    quality: Sequence[StageQuality]
    fusion: FusionSpec
    findings: Mapping[str, Any]
    created_at: str


def report_content(folder: Path, inputs: ReportInputs) -> dict[str, Any]:
    """Return the report of the bundle in `folder` as plain JSON; sizes are of the files that lie there now."""
    shop = inputs.shop
    return {
        "name": shop.name,
        "created_at": inputs.created_at,
        "machine": {"system": platform.system(), "processor": platform.machine(), "python": platform.python_version()},
        "shop": {
            "products": len(shop.products),
            "judgements": len(shop.judgements),
            "queries": len(shop.queries),
            "users": len(shop.baskets),
            "baskets": sum(map(len, shop.baskets.values())),
            "dropped": [asdict(dropped) for dropped in shop.dropped],
        },
        "quality": [asdict(stage) for stage in inputs.quality],
        "quality_of": "queries that no training saw; `int8 hybrid` under fusion weights learned on the other half of them",
        **inputs.findings,
        "fusion": msgspec.to_builtins(inputs.fusion),
        "stages": {stage.folder.name: {"seconds": round(stage.seconds, 1), **stage.report} for stage in inputs.stages},
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        "settings": asdict(inputs.settings),
    }


def write_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `report.json`, `report.html` and `model_card.md` into `folder`.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    write_bytes_atomically(folder / REPORT_FILE, json.dumps(content, indent=1, ensure_ascii=False).encode())
    write_bytes_atomically(folder / REPORT_PAGE_FILE, report_page(content).encode())
    write_bytes_atomically(folder / MODEL_CARD_FILE, _model_card(content).encode())


def _model_card(content: Mapping[str, Any]) -> str:
    shop, settings = content["shop"], content["settings"]
    lines = [
        f"# {content['name']}",
        "",
        f"An int8 recommender for the {shop['products']:,} products of this shop, built {content['created_at']}.",
        "It ranks products for a query or a purchase history, on the device. It is not meant for anything else, and it",
        "knows the shop's language only.",
        "",
        f"Teacher: `{settings['teacher_source']}`. Learned from {shop['judgements']:,} judgements, {shop['queries']:,}",
        f"unlabelled queries and {shop['baskets']:,} baskets of {shop['users']:,} users.",
        "",
        "## Ranking quality",
        f"NDCG@10 with 95% bootstrap intervals, on {content['quality_of']}.",
        "",
        "| stage | queries | re-rank | retrieval |",
        "|---|--:|--:|--:|",
        *(_quality_row(row) for row in content["quality"]),
        "",
        "## Size",
        "| file | bytes |",
        "|---|--:|",
        *(f"| {name} | {size:,} |" for name, size in content["bytes"].items()),
        "",
    ]
    return "\n".join(lines)


def _quality_row(row: Mapping[str, Any]) -> str:
    def cell(name: str) -> str:
        low, high = row[f"{name}_ci95"]
        return f"{row[f'{name}_ndcg10']:.3f} ({low:.3f} … {high:.3f})"

    return f"| {row['stage']} | {row['queries']} | {cell('rerank')} | {cell('retrieval')} |"
