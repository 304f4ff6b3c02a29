"""What all tests share: the environment of TensorFlow, the markers, the real data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_data import RealData, find_real_data

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_TESTS = Path(__file__).parent
BUILDER_FOLDERS = tuple(
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


# Before pytest's own hook deselects by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(folder in item.path.parents for folder in BUILDER_FOLDERS):
            item.add_marker(pytest.mark.tensorflow)
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.full_data)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Escape lone surrogates in what a test logged: parallel workers send their reports as UTF-8."""
    outcome: Any = yield
    report = outcome.get_result()
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]


@pytest.fixture(scope="session")
def real_data() -> RealData:
    """The full data sets when POCKETREC_DATA names them, otherwise the excerpts in tests/data."""
    return find_real_data()


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


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The server's code without a network (tests.support.server_simulator), nothing published.

    On both databases in turn where the test, or its module, uses the fixture `database_url`.
    """
    # Not at the top, as above.
    from tests.support.server_simulator import ServerSimulator

    on_both = "database_url" in request.fixturenames
    settings = {"database_url": request.getfixturevalue("database_url")} if on_both else {}
    simulator = ServerSimulator(tmp_path / "sim", **settings)
    yield simulator
    simulator.close()


@pytest.fixture
def address(server: Any) -> Iterator[str]:
    """Where `server` answers over a real socket."""
    from werkzeug.serving import make_server

    from tests.support.loopback import listening

    with listening(make_server("127.0.0.1", 0, server.app, threaded=True)) as url:
        yield url


@pytest.fixture
def first(tmp_path: Path) -> Any:
    """A bundle without a model."""
    from tests.support.fleet_bundles import write_bundle

    return write_bundle(tmp_path / "first", words="first")


@pytest.fixture
def second(tmp_path: Path) -> Any:
    """Another one, which differs in every file."""
    from tests.support.fleet_bundles import write_bundle

    return write_bundle(tmp_path / "second", words="second")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a device of the test lives; not made yet."""
    return tmp_path / "device"


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Any]:
    """An empty database with the server's tables, SQLite and PostgreSQL in turn."""
    from sync_server.database.engine import migrate, open_database

    opened = open_database(database_url or tmp_path / "server.sqlite")
    migrate(opened)
    yield opened
    opened.dispose()
