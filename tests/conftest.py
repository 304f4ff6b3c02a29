"""What all tests share: the environment of TensorFlow, the marker by folder, the real data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_TESTS = Path(__file__).parent
_BUILDER_FOLDERS = tuple(
    _TESTS / folder
    for folder in (
        "unit/pocketrec",
        "unit/train",
        "unit/compress",
        "unit/benchmarks",
        "unit/house/builder",
        "integration/builder",
        "e2e",
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(folder in item.path.parents for folder in _BUILDER_FOLDERS):
            item.add_marker(pytest.mark.tensorflow)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; a test that needs them fails where they are missing."""
    folder = os.environ.get("POCKETREC_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.fail("POCKETREC_DATA must name the folder of the real data sets (esci_us, online_retail, ...)")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[Any]:
    """A real PostgreSQL of this session (tests.support.databases.PostgresDatabases)."""
    # Not at the top: the environment of the older interpreter has no server's packages.
    from tests.support.databases import PostgresDatabases

    databases = PostgresDatabases()
    yield databases
    databases.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The setting `database_url` for a test that runs on both databases: empty is the SQLite file of the home."""
    if request.param == "sqlite":
        return ""
    return str(request.getfixturevalue("postgres_databases").emptied())
