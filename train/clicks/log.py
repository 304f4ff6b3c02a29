"""Exported feedback as arrays: one row for each product that was shown for a query, and whether it was clicked.

Devices are not trusted: a bounded number of lists counts for each device, a product of a list counts once, and a query
counts only when enough devices sent it. The last rule also keeps rare texts out of training.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import IMPRESSION, WANTED_KINDS
from edge_runtime.contract.types import Float64, Int32
from train.errors import EmptyDatasetError

_FIELDS = (
    "kind", "device_id", "list_id", "query", "product_id", "position", "rank", "propensity", "page_propensity",
    "sequence", "bundle_id",
)  # fmt: skip


@dataclass(frozen=True)
class LogLimits:
    """How far the log is trusted.

    Attributes:
        min_devices: a query asked by fewer devices is left out.
        max_lists_per_device: further lists of one device for one query are left out.
    """

    min_devices: int = 3
    max_lists_per_device: int = 10


@dataclass(frozen=True)
class FeedbackLog:
    """Impressions of lists that were shown for a query; all arrays have one entry for each impression.

    Attributes:
        queries: the texts that `query` counts.
        products: the ids that `product` counts.
        devices: how many devices.
        query: int32.
        product: int32.
        device: int32.
        list_of: int32, which list; its impressions are neighbors.
        position: int32, place on the page from 1.
        rank: int32, place that the ranking gave it from 1.
        propensity: float64, probability of that product at that place.
        page_propensity: float64, probability of that product on the page.
        wanted: float64, 1 when it was clicked or purchased, else 0.
        left_out: reason -> how many events were not used.
    """

    queries: tuple[str, ...]
    products: tuple[str, ...]
    devices: int
    query: Int32
    product: Int32
    device: Int32
    list_of: Int32
    position: Int32
    rank: Int32
    propensity: Float64
    page_propensity: Float64
    wanted: Float64
    left_out: Mapping[str, int]

    @property
    def lists(self) -> int:
        """How many lists were shown."""
        return int(self.list_of.max()) + 1 if len(self.list_of) else 0

    def part(self, chosen: npt.NDArray[np.bool_]) -> "FeedbackLog":
        """Return the impressions that `chosen` bool [impressions] names; whole lists, or the numbers mean nothing."""
        arrays = ("query", "product", "device", "position", "rank", "propensity", "page_propensity", "wanted")
        kept = {name: getattr(self, name)[chosen] for name in arrays}
        _, list_of = np.unique(self.list_of[chosen], return_inverse=True)
        return FeedbackLog(
            self.queries, self.products, self.devices, list_of=list_of.astype(np.int32), left_out=self.left_out, **kept
        )


def read_feedback_log(path: Path, limits: LogLimits) -> tuple[FeedbackLog, tuple[str, ...]]:
    """Read what `pocketrec feedback export` wrote: a folder of Parquet, or a file of JSON lines.

    Returns the log and the names of its devices, in the order of `FeedbackLog.device`.

    Raises:
        ConfigError: `path` is neither, or damaged.
        EmptyDatasetError: nothing in it can be learned from; says why.
    """
    impressions: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    wanted: set[tuple[str, str, str]] = set()
    left_out: dict[str, int] = defaultdict(int)
    for event in _events(path):
        reason = _unusable(event)
        if reason:
            left_out[reason] += 1
            continue
        key = (str(event["device_id"]), str(event["list_id"]))
        if event["kind"] == IMPRESSION:
            impressions[key].setdefault(str(event["product_id"]), event)
        elif event["kind"] in WANTED_KINDS:
            wanted.add((*key, str(event["product_id"])))
    return _as_arrays(_trusted(impressions, limits, left_out), wanted, left_out)


def _events(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if path.is_dir():
            data = ds.dataset(path, format="parquet", partitioning="hive")
            for batch in data.to_batches(columns=list(_FIELDS)):
                yield from batch.to_pylist()
        else:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    yield json.loads(line)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(
            f"cannot read {path} ({str(error).splitlines()[0]}); expected what pocketrec feedback export writes"
        ) from error


def _unusable(event: Mapping[str, Any]) -> str:
    if not event.get("query"):
        return "no query: its device's privacy level keeps the text"
    if not event.get("list_id"):
        return "no list: not recorded by a search of the device"
    if event["kind"] == IMPRESSION and not all(
        event.get(name) for name in ("position", "rank", "propensity", "page_propensity")
    ):
        return "no place or propensity"
    return ""


def _trusted(
    impressions: Mapping[tuple[str, str], dict[str, dict[str, Any]]], limits: LogLimits, left_out: dict[str, int]
) -> list[tuple[str, str, str, list[dict[str, Any]]]]:
    """Return (query, device, list, impressions by position) of the lists that count."""
    by_query: dict[str, dict[str, list[tuple[str, list[dict[str, Any]]]]]] = defaultdict(lambda: defaultdict(list))
    for (device, name), products in impressions.items():
        shown = sorted(products.values(), key=lambda event: (event["position"], event["sequence"]))
        query = str(shown[0]["query"]).strip()
        if len({event["position"] for event in shown}) < len(shown):
            left_out["two products in one place"] += len(shown)
        elif len(by_query[query][device]) >= limits.max_lists_per_device:
            left_out["one device asked too often"] += len(shown)
        else:
            by_query[query][device].append((name, shown))
    kept = []
    for query, by_device in sorted(by_query.items()):
        if len(by_device) < limits.min_devices:
            left_out[f"asked by fewer than {limits.min_devices} devices"] += sum(
                len(shown) for lists in by_device.values() for _, shown in lists
            )
            continue
        kept += [(query, device, name, shown) for device, lists in sorted(by_device.items()) for name, shown in lists]
    return kept


def _as_arrays(
    lists: list[tuple[str, str, str, list[dict[str, Any]]]], wanted: set[tuple[str, str, str]], left_out: dict[str, int]
) -> tuple[FeedbackLog, tuple[str, ...]]:
    if not lists:
        reasons = "; ".join(f"{count} events: {reason}" for reason, count in left_out.items()) or "there are no events"
        raise EmptyDatasetError(
            f"nothing to learn from ({reasons}); search with privacy level full logs what is needed"
        )
    queries = _numbers(query for query, _, _, _ in lists)
    devices = _numbers(device for _, device, _, _ in lists)
    products = _numbers(event["product_id"] for *_, shown in lists for event in shown)
    rows = [
        (queries[query], products[event["product_id"]], devices[device], number, event["position"], event["rank"],
         event["propensity"], event["page_propensity"], float((device, name, event["product_id"]) in wanted))
        for number, (query, device, name, shown) in enumerate(lists) for event in shown
    ]  # fmt: skip
    columns = np.array(rows, dtype=np.float64).T
    whole = dict(
        zip(("query", "product", "device", "list_of", "position", "rank"), columns.astype(np.int32), strict=False)
    )
    log = FeedbackLog(
        tuple(queries), tuple(products), len(devices),
        propensity=columns[6], page_propensity=columns[7], wanted=columns[8], left_out=dict(left_out), **whole,
    )  # fmt: skip
    return log, tuple(devices)


def _numbers(names: Iterator[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted({str(name) for name in names}))}


def split_by_device(log: FeedbackLog, devices: tuple[str, ...], share: float) -> tuple[FeedbackLog, FeedbackLog]:
    """Return the log without a share of the devices, and theirs, so that training and evaluation have no device in common.

    A device is on the same side in every run, by the CRC-32 of its name.
    """
    judges = np.array([zlib.crc32(f"judge {name}".encode()) % 1000 < share * 1000 for name in devices], dtype=np.bool_)
    chosen = judges[log.device]
    return log.part(~chosen), log.part(chosen)
