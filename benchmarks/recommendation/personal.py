"""Search with the user's taste: `python -m benchmarks.recommendation.personal`; `POCKETREC_DATA` names the data.

Purchases of a gift shop (benchmarks/recommendation/online_retail_protocol.py): for each product of a customer's test
basket, the last word of its title is the query ("… T-LIGHT HOLDER" -> "holder"), which many products match; the taste
is the customer's earlier purchases. NDCG@10 of the product that was bought, with and without the taste, over customers;
the weight is chosen on the basket before, and the interval is a bootstrap over customers.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.command import build_bundle, exit_code_of
from benchmarks.recommendation.online_retail import data_folder
from benchmarks.recommendation.online_retail_protocol import Customer, RetailData, load_retail
from benchmarks.result_file import RESULTS, write_result
from benchmarks.table_cells import interval_cell
from edge_runtime.recommender import PERSONAL_WEIGHT, Recommender
from edge_runtime.search.spelling import words_of
from edge_runtime.search.user_profile import PersonalTaste
from train.evaluation.intervals import estimate_mean
from train.evaluation.metrics import retrieval_ndcg

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
CUSTOMERS, PER_CUSTOMER = 300, 5
RESULT = RESULTS / "personal.json"
TOP = 10
_MIN_LETTERS = 3


@dataclass(frozen=True)
class PersonalRow:
    """One weight: mean NDCG@10 over customers, with its 95% bootstrap interval; on which basket."""

    basket: str
    weight: float
    customers: int
    ndcg10: float
    ndcg10_ci95: tuple[float, float]


def query_of(title: str) -> str | None:
    """Return the last word of a title that is long enough to be asked for."""
    words = [word for word in words_of(title.lower()) if word.isalpha() and len(word) >= _MIN_LETTERS]
    return words[-1] if words else None


def gains(
    shop: Recommender,
    data: RetailData,
    customer: Customer,
    bought: Sequence[int],
    before: Sequence[int],
    weights: Sequence[float],
    taste: PersonalTaste,
) -> list[float]:
    """Return one customer's mean gain under each weight; a product at place p (from 1) has 1 / log2(p + 1)."""
    taste.forget()
    taste.add([data.training.products[row].product_id for row in before], "purchase")
    found = []
    for row in bought[:PER_CUSTOMER]:
        product = data.training.products[row]
        query = query_of(product.title)
        if query is not None:
            answers = [shop.search(query, k=TOP, taste=taste, personal_weight=one).product_ids for one in weights]
            found.append([retrieval_ndcg({product.product_id: 1.0}, one, TOP) for one in answers])
    return np.mean(found, axis=0).tolist() if found else []


def measure(bundle: Path, data: RetailData) -> list[PersonalRow]:
    """Return the weights on the validation basket, then no taste and the chosen weight on the test basket."""
    step = max(1, len(data.customers) // CUSTOMERS)
    customers = data.customers[::step]
    rows = []
    with tempfile.TemporaryDirectory() as name, Recommender.open(bundle) as shop:
        taste = PersonalTaste(Path(name) / "taste.json")

        def judge(basket: str, weights: Sequence[float]) -> list[PersonalRow]:
            each = []
            for customer in customers:
                baskets = customer.history if basket == "test" else customer.history[:-1]
                bought = customer.basket if basket == "test" else customer.history[-1]
                before = [int(row) for one in baskets for row in one]
                found = gains(shop, data, customer, [int(row) for row in bought], before, weights, taste)
                if found:
                    each.append(found)
            table = np.array(each)
            return [
                PersonalRow(basket, weight, len(table), *estimate_mean(table[:, place]))
                for place, weight in enumerate(weights)
            ]

        rows += judge("validation", WEIGHTS)
        best = max(rows, key=lambda row: row.ndcg10).weight
        rows += judge("test", tuple(dict.fromkeys((0.0, PERSONAL_WEIGHT, best))))
    return rows


def main() -> int:
    """Run, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--bundle", type=Path, help="a bundle of the shop without test baskets (default: built for this)"
    )
    parser.add_argument("--config", type=Path, help="settings of the build")
    parser.add_argument("--work", type=Path, default=Path("work/online_retail"), help="shop and bundle are kept here")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()

    def run() -> None:
        options.work.mkdir(parents=True, exist_ok=True)
        data = load_retail(data_folder(), options.work)
        bundle = options.bundle or options.work / "bundle"
        if options.bundle is None:
            build_bundle(options.work / "shop", bundle, config=options.config)
        rows = measure(bundle, data)
        write_result(options.out, ("numpy", "ai-edge-litert"), {"rows": [asdict(row) for row in rows]})
        table = Table("basket", "weight", "customers", "nDCG@10")
        for row in rows:
            cell = interval_cell(row.ndcg10, row.ndcg10_ci95)
            table.add_row(row.basket, f"{row.weight:.2f}", str(row.customers), cell)
        Console(width=100).print(table)

    return exit_code_of("benchmarks.recommendation.personal", run)


if __name__ == "__main__":
    sys.exit(main())
