"""A tiny shop, built once by the real command, for every end-to-end test."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.fleet.learning_loop import asked_queries
from benchmarks.fleet.simulated_users import people_of
from edge_runtime.contract.bundle import open_bundle
from pocketrec.pipeline.settings import build_settings_of
from tests.support.child import pocketrec
from train.data.reading import read_shop
from train.data.sample.shop import sample_tables
from train.data.splits import split_holdout
from train.data.writing import write_shop

PRODUCTS, JUDGED_PAIRS, PURCHASES, QUERIES = 80, 600, 600, 60
NEW_PRICE = 7.25
ASKED_QUERIES, PLACES = 20, 5
"""Of simulated people: the queries that they ask, and how many products they see for one."""

TINY_SETTINGS = """
seed = 3
dim = 32
[teacher]
steps = 2
items_per_step = 16
[texts]
count = 150
[student]
vocabulary = 500
hidden = 32
layers = 1
heads = 2
feed_forward = 64
item_tokens = 24
[distill]
steps = 40
batch = 32
[history]
steps = 10
batch = 16
[prune]
steps = 20
[quantize]
steps = 20
"""

SMALL_SEARCH = """
[budget]
vocabularies = [300]
widths = [16]
depths = [1]
trials = 2
finalists = 1
"""
"""Added to the tiny settings: a search for a budget that trains one shape."""


@pytest.fixture(scope="session")
def tiny_shop(tmp_path_factory) -> Path:
    """A shop of 80 products, with little enough evidence to learn from in seconds."""
    folder = tmp_path_factory.mktemp("shops") / "tiny"
    tables = sample_tables(products=PRODUCTS, seed=0)
    first = {"judgements": JUDGED_PAIRS, "purchases": PURCHASES, "queries": QUERIES}
    write_shop(folder, {name: table.slice(0, first.get(name)) for name, table in tables.items()})
    return folder


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(TINY_SETTINGS)
    return path


def shared(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the session, filled by `make`: the first test process makes it, the others wait."""
    session = tmp_path_factory.getbasetemp()
    # A process of pytest-xdist has a folder of its own in the session's.
    folder = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / name
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "made"
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def built(tiny_shop, tiny_settings, tmp_path_factory) -> Path:
    """The folder of the tiny bundle; its stages lie beside it in `bundle.build`. Tests do not change it.

    POCKETREC_KEEP_BUNDLE names a folder that gets a copy, for the environments that cannot build.
    """

    def build(folder: Path) -> None:
        bundle = folder / "bundle"
        done = pocketrec("build", tiny_shop, "--out", bundle, "--config", tiny_settings, "--json")
        assert done.returncode == 0, done.stderr
        keep = os.environ.get("POCKETREC_KEEP_BUNDLE")
        if keep:
            shutil.rmtree(keep, ignore_errors=True)
            shutil.copytree(bundle, keep)

    return shared(tmp_path_factory, "built", build) / "bundle"


@pytest.fixture(scope="session")
def repriced(built, tiny_shop, tiny_settings, tmp_path_factory) -> Path:
    """A folder with `bundle`, built again at `NEW_PRICE` from the stages of `built`, and what was said in `stderr.txt`."""

    def build(folder: Path) -> None:
        copy_build(built, tiny_shop, folder)
        products = folder / "shop" / "products.parquet"
        table = pq.read_table(products)
        prices = pa.array([NEW_PRICE] * table.num_rows, pa.float64())
        pq.write_table(table.set_column(table.schema.get_field_index("price"), "price", prices), products)
        done = pocketrec(
            "build", folder / "shop", "--out", folder / "bundle", "--config", tiny_settings, "--resume", "--json"
        )
        assert done.returncode == 0, done.stderr
        (folder / "stderr.txt").write_text(done.stderr)

    return shared(tmp_path_factory, "repriced", build)


def copy_build(built: Path, shop: Path, folder: Path) -> None:
    """Put `shop`, `bundle` and `bundle.build` into `folder`; the teacher's files, which nothing changes, as links."""
    shutil.copytree(built, folder / "bundle")
    stages, copied = built.with_name("bundle.build"), folder / "bundle.build"
    shutil.copytree(stages, copied, ignore=shutil.ignore_patterns("teacher"))
    shutil.copytree(stages / "teacher", copied / "teacher", copy_function=os.link)
    shutil.copytree(shop, folder / "shop")


@pytest.fixture
def copied_build(built, tiny_shop, tmp_path) -> Path:
    """A folder of the test's own with `shop`, `bundle` and `bundle.build`."""
    copy_build(built, tiny_shop, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def query(tiny_shop) -> str:
    """A product's title: something that the tiny shop surely has."""
    return pq.read_table(tiny_shop / "products.parquet")["title"][0].as_py()


@pytest.fixture
def people(built, tiny_shop):
    """People with preferences of their own, who ask queries that the build has learned from."""
    shop = read_shop(tiny_shop)
    _, held_out = split_holdout(shop, build_settings_of(open_bundle(built)).holdout)
    return people_of(shop, asked_queries(shop, held_out, ASKED_QUERIES), places=PLACES)
