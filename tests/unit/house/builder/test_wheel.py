"""The wheel holds the five names and nothing else."""

import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.support.source_tree import REPOSITORY, ROOMS

STOREFRONT = REPOSITORY / "sync_server" / "storefront_files"
TOP_LEVEL = set(ROOMS)


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    """Build the wheel from a copy of what git tracks, so that files lying about cannot slip in or help."""
    folder = tmp_path_factory.mktemp("wheel")
    archive = folder / "source.tar"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    with tarfile.open(archive, "w") as tar:
        for name in filter(None, tracked.decode().split("\0")):
            if (REPOSITORY / name).is_file():
                tar.add(REPOSITORY / name, arcname=name)
        # Not tracked, but part of the wheel: what `make web` builds.
        if STOREFRONT.is_dir():
            tar.add(STOREFRONT, arcname=STOREFRONT.relative_to(REPOSITORY).as_posix())
    source = folder / "source"
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_has_exactly_the_five_top_level_names(wheel_names):
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == TOP_LEVEL


def test_the_wheel_says_that_it_is_typed(wheel_names):
    assert {name for name in wheel_names if name.endswith("py.typed")} == {f"{room}/py.typed" for room in ROOMS}


def test_the_wheel_has_every_module_of_the_source(wheel_names):
    tracked = subprocess.run(
        ["git", "ls-files", *TOP_LEVEL], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    missing = [name for name in tracked.stdout.splitlines() if (REPOSITORY / name).exists() and name not in wheel_names]
    assert missing == []


def test_the_wheel_carries_the_license(wheel_names):
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)


def test_the_wheel_carries_the_built_storefront(wheel_names):
    built = [path.relative_to(REPOSITORY).as_posix() for path in STOREFRONT.rglob("*.gz")]
    assert any(name.endswith("/index.html.gz") for name in built), (
        "the storefront is not built; build it with: make web"
    )
    assert sorted(set(built) - set(wheel_names)) == []
