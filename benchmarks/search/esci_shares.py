"""The share of the teacher's quality that the bundle keeps, the share kept under typing errors, and the build times.

Both shares are over the test queries of all folds, each ranked by the bundle, and by the teacher, of the fold that has
never seen it. A share is a ratio of means; its interval is a bootstrap over queries that resamples both alike.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.search.esci_bundle import MODES, FoldResult
from benchmarks.search.esci_protocol import EsciData, QueryFigures, queries_of, score_figures
from compress.report.diagnostics import typo_ndcg
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.recommender import Recommender
from pocketrec.pipeline.stages import DONE_FILE
from pocketrec.pipeline.teacher_stages import TEACHER_FOLDER
from train.evaluation.intervals import percentile_interval, resampled_shares, share_of
from train.models.teacher import Teacher

TYPO_SEED = 0
_KEPT_FILE = "shares.json"

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldShares:
    """What `Share` is made of, of one fold.

    Attributes:
        bundle_id: which bundle it was.
        teacher: query -> figures of the teacher's bi-encoder at its own width; empty when its build is not at hand.
        typos: mode -> query -> (re-rank nDCG@10 as typed, under one typing error).
        seconds: stage -> seconds, of the fold's own build.
    """

    bundle_id: str
    teacher: dict[str, QueryFigures]
    typos: dict[str, dict[str, tuple[float, float]]]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Share:
    """A ratio of two means over the same queries with its 95% bootstrap interval."""

    name: str
    queries: int
    share: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class BuildTime:
    """Seconds of the shared teacher, counted once, and of each fold's own stages; None where no build is at hand."""

    shared_s: float | None
    folds: dict[int, dict[str, float]]

    @property
    def longest_s(self) -> float | None:
        """The longest way to one bundle: the shared teacher and the slowest fold."""
        if self.shared_s is None or not self.folds:
            return None
        return self.shared_s + max(sum(stages.values()) for stages in self.folds.values())


def fold_shares(folder: Path, bundle: Path, data: EsciData, fold: int) -> FoldShares:
    """Return the shares' parts of the fold in `folder`; read from there when this very bundle was asked before.

    Args:
        folder: of the fold: kept figures, and the build of its bundle.
        bundle: that is asked.
        data: the data of the protocol.
        fold: the test fold.
    """
    queries = queries_of(data, fold)
    bundle_id = open_bundle(bundle).bundle_id
    kept = _read_kept(folder / _KEPT_FILE, bundle_id, queries)
    if kept is not None:
        return kept
    judged = {
        query: {data.products[row].product_id: gain for row, gain in data.judged[query].items()} for query in queries
    }
    with Recommender.open(bundle) as recommender:
        typos = {
            str(mode): dict(
                zip(
                    queries,
                    map(tuple, typo_ndcg(recommender, judged, mode=mode, seed=TYPO_SEED).tolist()),
                    strict=True,
                )
            )
            for mode in MODES
        }
    build = bundle.parent / f"{bundle.name}.build"
    result = FoldShares(bundle_id, _teacher_figures(build, data, queries), typos, _seconds_of(build))
    write_bytes_atomically(folder / _KEPT_FILE, json.dumps(asdict(result), indent=1).encode())
    return result


def _teacher_figures(build: Path, data: EsciData, queries: Sequence[str]) -> dict[str, QueryFigures]:
    folder, vectors = build / "teacher" / TEACHER_FOLDER, build / "vectors" / "wide_items.npy"
    if not folder.is_dir() or not vectors.exists():
        return {}
    # The products of the protocol come first in the shop of a fold.
    items = np.load(vectors)[: len(data.products)]
    asked = Teacher.load(folder).encode(list(queries))
    return {
        query: score_figures(data.judged[query], items @ vector) for query, vector in zip(queries, asked, strict=True)
    }


def _seconds_of(build: Path) -> dict[str, float]:
    return {done.parent.name: _seconds(done) for done in sorted(build.glob(f"*/{DONE_FILE}"))}


def _seconds(done: Path) -> float:
    return float(json.loads(done.read_bytes())["seconds"])


def build_time(shared: Path, folds: Mapping[int, FoldShares]) -> BuildTime:
    """Return how long the stages took, by what they wrote themselves; `shared` is the folder of the shared teacher."""
    done = shared / "stages" / "teacher" / DONE_FILE
    return BuildTime(
        _seconds(done) if done.exists() else None,
        {fold: one.seconds for fold, one in folds.items() if one.seconds},
    )


def pooled_shares(
    ours: Sequence[FoldResult], folds: Mapping[int, FoldShares], random: Mapping[str, QueryFigures]
) -> list[Share]:
    """Return the shares over all queries of `ours`.

    Args:
        ours: what the bundles did.
        folds: of the same folds.
        random: query -> figures of random rankings.
    """
    student = {query: one for fold in ours for query, one in fold.figures["dense"].items()}
    teacher = {query: one for fold in ours for query, one in folds[fold.fold].teacher.items()}
    found = []
    if len(teacher) == len(student):
        for figure in ("rerank_ndcg10", "retrieval_ndcg10"):
            rows = np.array(
                [
                    [getattr(of[query], figure) - getattr(random[query], figure) for of in (student, teacher)]
                    for query in student
                ]
            )
            found.append(_share(f"int8 above random, of the teacher's: {figure.partition('_')[0]}", rows))
    for mode in MODES:
        rows = np.array([pair[::-1] for fold in ours for pair in folds[fold.fold].typos[mode].values()])
        found.append(_share(f"{mode} under one typing error, of as typed: rerank", rows))
    return found


def _share(name: str, rows: Float64) -> Share:
    """Return mean / mean of the two columns of float64 [queries, 2]."""
    first, second = rows.T
    return Share(name, len(rows), share_of(first, second), percentile_interval(resampled_shares(first, second)))


def print_shares(shares: Sequence[Share], time: BuildTime, console: Console) -> None:
    """Print the shares, and how long each build took."""
    table = Table("share", "queries", "nDCG@10 kept")
    for one in shares:
        table.add_row(one.name, str(one.queries), f"{one.share:.1%} [{one.ci95[0]:.1%}, {one.ci95[1]:.1%}]")
    console.print(table)
    if not time.folds:
        return
    stages = list(dict.fromkeys(stage for of in time.folds.values() for stage in of))
    table = Table("seconds of a build", *stages, "sum")
    if time.shared_s is not None:
        table.add_row("the folds' teacher, once", *("" for _ in stages), f"{time.shared_s:.0f}")
    for fold, of in time.folds.items():
        table.add_row(f"fold {fold}", *(f"{of.get(stage, 0):.0f}" for stage in stages), f"{sum(of.values()):.0f}")
    console.print(table)
    if time.longest_s is not None:
        console.print(f"One bundle, all stages, the folds' teacher included: {time.longest_s / 60:.1f} min at most")


def shares_as_json(shares: Sequence[Share], time: BuildTime) -> dict[str, Any]:
    """Return what the result file says of shares and times."""
    return {
        "shares": [asdict(one) for one in shares],
        "build_seconds": {
            "shared_teacher": time.shared_s,
            "folds": {str(fold): stages for fold, stages in time.folds.items()},
            "longest": time.longest_s,
        },
    }


def _read_kept(kept: Path, bundle_id: str, queries: Sequence[str]) -> FoldShares | None:
    try:
        content = json.loads(kept.read_bytes())
        teacher = {query: QueryFigures(**one) for query, one in content.pop("teacher").items()}
        typos = {
            mode: {q: (float(a), float(b)) for q, (a, b) in of.items()} for mode, of in content.pop("typos").items()
        }
        result = FoldShares(**content, teacher=teacher, typos=typos)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Missing, or written by another version: asking again is always right.
        return None
    same = result.bundle_id == bundle_id and all(list(result.typos.get(mode, ())) == list(queries) for mode in MODES)
    return result if same else None
