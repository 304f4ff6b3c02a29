"""`report.json`, `report.html` and `model_card.md`: what a bundle was built from, its quality and its size."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from compress.measure.quality import StageQuality
from compress.report.page import report_page
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import MODEL_CARD_FILE, REPORT_FILE, REPORT_PAGE_FILE, FusionSpec
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import StageResult, digest_of
from train.data.tables import Shop
from train.models.student import architectures


@dataclass(frozen=True)
class ReportInputs:
    """What the report is made of: `diagnostics` are those of `bundle_diagnostics`, `budget` what a search for it found."""

    shop: Shop
    settings: BuildSettings
    stages: Sequence[StageResult]
    quality: Sequence[StageQuality]
    fusion: FusionSpec
    diagnostics: Mapping[str, Any]
    created_at: str
    budget: Mapping[str, Any] | None = None


def report_content(folder: Path, inputs: ReportInputs) -> dict[str, Any]:
    """Return the report of the bundle in `folder` as plain JSON; sizes are of the files that lie there now."""
    shop = inputs.shop
    return {
        "name": shop.name,
        "created_at": inputs.created_at,
        "config_digest": digest_of(inputs.settings),
        "shop_digest": shop.digest,
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
        "quality_of": "queries that no training saw; int8 hybrid under fusion weights learned on the other half of them",
        "tasks": {
            stage.folder.name: stage.report["metric"] for stage in inputs.stages if stage.folder.name.startswith("task")
        },
        **inputs.diagnostics,
        "budget": inputs.budget,
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
    write_bytes_atomically(folder / MODEL_CARD_FILE, model_card(content).encode())


def model_card(content: Mapping[str, Any]) -> str:
    """Return `model_card.md` for what `report_content` gave: data, training, use, limits, license and figures."""
    shop, settings, converted = content["shop"], content["settings"], content["stages"].get("convert", {})
    student = settings["student"]
    teacher = settings["teacher_source"]
    lines = [
        f"# {content['name']}",
        "",
        f"An int8 recommender for the {shop['products']:,} products of this shop, built {content['created_at']} from the",
        f"configuration `{content['config_digest'][:16]}` and the tables `{content['shop_digest'][:16]}` (SHA-256).",
        "",
        "## Intended use",
        "It ranks the products of this shop for a query or for a purchase history, on the device, without a network.",
        "It is not meant to rank people, to set prices, or to decide anything that a person cannot undo.",
        "",
        "## Data",
        *_data_lines(shop),
        "",
        "## Training",
        f"Teacher: {_TEACHERS.get(teacher, f'`{teacher}`')}, fine-tuned on the shop. Student: {_architecture(student)}, at",
        f"most {student['vocabulary']:,} word pieces, distilled from the teacher's vectors of {settings['dim']} dimensions;",
        f"pruning: {_pruning(settings['prune'])}; shipped as {converted.get('shipped', settings['variant'])}.",
        "",
        "## Ranking quality",
        *_quality_lines(content),
        *task_lines(content.get("tasks", {})),
        "## Limits",
        *_limits(content),
        "",
        "## License",
        "The weights derive from the teacher's and from the shop's data; the licenses of both apply to them. The software",
        f"that made and runs them is Apache-2.0. {_TEACHER_LICENSES.get(teacher, _UNKNOWN_LICENSE)}",
        "",
        "## Size",
        "| file | bytes |",
        "|---|--:|",
        *(f"| {name} | {size:,} |" for name, size in content["bytes"].items()),
        "",
    ]
    return "\n".join(lines)


_TEACHERS = {"minilm": "all-MiniLM-L6-v2"}
_TEACHER_LICENSES = {"minilm": "all-MiniLM-L6-v2 is Apache-2.0."}
_UNKNOWN_LICENSE = "Nothing is known here of the license of this teacher: see where it came from."


def _data_lines(shop: Mapping[str, Any]) -> list[str]:
    dropped = sum(one["count"] for one in shop["dropped"])
    return [
        f"{shop['products']:,} products, {shop['judgements']:,} judgements of query and product, {shop['queries']:,}",
        f"unlabelled queries, {shop['baskets']:,} baskets of {shop['users']:,} users, all from the shop itself; cleaning",
        f"left out or changed {dropped:,} rows (report.json says which). Purchases train the history head: the weights",
        "hold no user's history, but nothing here proves that none could be told from them.",
    ]


def _architecture(student: Mapping[str, Any]) -> str:
    depth = f" of {student['layers']} layers" if architectures()[student["architecture"]].has_depth else ""
    return f"a {student['architecture']}{depth}, {student['hidden']} wide"


def _pruning(prune: Mapping[str, Any]) -> str:
    return f"{prune['sparsity']:.0%} of the dense weights" if prune["sparsity"] else "none"


def _quality_lines(content: Mapping[str, Any]) -> list[str]:
    if not content["quality"]:
        return ["Unknown: no judged query was held out from training.", ""]
    lines = [
        f"NDCG@10 with 95% bootstrap intervals, on {content['quality_of']}.",
        "",
        "| stage | queries | re-rank | retrieval |",
        "|---|--:|--:|--:|",
        *(_quality_row(row) for row in content["quality"]),
        "",
        *(
            f"- One typing error in each query keeps {one['kept']:.0%} of the re-rank NDCG@10 in {one['mode']} search."
            for one in content["typo_suite"]
        ),
        *(f"- {sentence}" for sentence in content["stages"].get("convert", {}).get("verdict", ())),
    ]
    return [*lines, ""]


def task_lines(tasks: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a row for each figure of each further task's head, in float ("task@") and in 8 bits ("task-int8@")."""
    rows = [
        f"| {stage} | {figure} | {value:.3f} |" for stage, metric in tasks.items() for figure, value in metric.items()
    ]
    return ["## Further tasks", "| head | figure | value |", "|---|---|--:|", *rows, ""] if rows else []


def _limits(content: Mapping[str, Any]) -> list[str]:
    found = [
        "- It knows the language of this shop: words that no product has are spelled in pieces, and may mean nothing.",
        "- A product of which it knows no text and no purchase cannot be found.",
        "- The intervals are over the held-out queries; other people's queries may be harder.",
    ]
    ratios = [one["exposure_share"] / one["merit_share"] for one in content["exposure"] if one["merit_share"] >= 0.01]
    if ratios:
        found.append(
            f"- Exposure is not shared by merit alone: between {min(ratios):.2f} and {max(ratios):.2f} times a group's "
            "merit. `--max-exposure-ratio` bounds it; the report says what that costs."
        )
    budget = content["budget"]
    if budget:
        found.append(
            f"- Its shape was chosen among {len(budget['points'])} points on {budget['queries']} queries, which flatters "
            f"its retention by about {budget['optimism']:.3f}."
        )
    return found


def _quality_row(row: Mapping[str, Any]) -> str:
    def cell(name: str) -> str:
        low, high = row[f"{name}_ci95"]
        return f"{row[f'{name}_ndcg10']:.3f} ({low:.3f} … {high:.3f})"

    return f"| {row['stage']} | {row['queries']} | {cell('rerank')} | {cell('retrieval')} |"
