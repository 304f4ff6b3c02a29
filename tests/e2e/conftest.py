"""A tiny shop, built once by the real command, for every end-to-end test."""

import fcntl
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.child import pocketrec
from train.data.sample.shop import sample_tables
from train.data.writing import write_shop

PRODUCTS, JUDGED_PAIRS, PURCHASES, QUERIES = 80, 600, 600, 60

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


@pytest.fixture(scope="session")
def built(tiny_shop, tiny_settings, tmp_path_factory) -> Path:
    """The folder of the tiny bundle; its stages lie beside it in `bundle.build`. Tests do not change it.

    Test processes that run at the same time share it: the first builds, the others wait.
    POCKETREC_KEEP_BUNDLE names a folder that gets a copy, for the environments that cannot build.
    """
    session = tmp_path_factory.getbasetemp()
    # A process of pytest-xdist has a folder of its own in the session's.
    folder = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / "shared-build"
    folder.mkdir(exist_ok=True)
    bundle = folder / "bundle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not bundle.exists():
            done = pocketrec("build", tiny_shop, "--out", bundle, "--config", tiny_settings, "--json", timeout_s=800)
            assert done.returncode == 0, done.stderr
            keep = os.environ.get("POCKETREC_KEEP_BUNDLE")
            if keep:
                shutil.rmtree(keep, ignore_errors=True)
                shutil.copytree(bundle, keep)
    return bundle


@pytest.fixture
def copied_build(built, tiny_shop, tmp_path) -> Path:
    """A folder of the test's own with `shop`, `bundle` and `bundle.build`."""
    shutil.copytree(built, tmp_path / "bundle")
    shutil.copytree(built.with_name("bundle.build"), tmp_path / "bundle.build")
    shutil.copytree(tiny_shop, tmp_path / "shop")
    return tmp_path


@pytest.fixture(scope="session")
def query(tiny_shop) -> str:
    """A product's title: something that the tiny shop surely has."""
    return pq.read_table(tiny_shop / "products.parquet")["title"][0].as_py()
