"""Train, compress, publish, sync, search, recommend, feedback, update: with real processes over a real socket."""

import json
import shutil

import pytest

from pocketrec.cli_subprocess import serving
from tests.e2e.conftest import NEW_PRICE
from tests.support.child import pocketrec

pytestmark = pytest.mark.timeout(7200)


def result_of(*arguments):
    done = pocketrec(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def fleet(built, tmp_path):
    """A server with the tiny bundle published, and one enrolled device; yields the folder and the address."""
    folder = tmp_path
    result_of("keys", "init", "--dir", folder / "keys")
    serve = ["serve", "--home", str(folder / "server"), "--keys", str(folder / "keys"), "--port", "0", "--workers", "1"]
    with serving(serve, log=folder / "server.log") as url:
        publish(built, folder, url)
        code = result_of("serve", "--home", folder / "server", "--new-enrollment-code")["code"]
        (folder / "code.txt").write_text(code)
        result_of(
            "node", "enroll", "--home", folder / "device", "--server", url, "--root", folder / "keys" / "root.json",
            "--code-file", folder / "code.txt",
        )  # fmt: skip
        yield folder, url


def publish(bundle, folder, url):
    return result_of(
        "publish", bundle, "--channel", "stable", "--keys", folder / "keys", "--server", url,
        "--token-file", folder / "server" / "publisher.token",
    )  # fmt: skip


def sync(folder):
    return result_of("node", "sync", "--home", folder / "device")


def test_a_bundle_reaches_a_device_and_feedback_comes_back_once(fleet, query):
    folder, _ = fleet
    first = sync(folder)["update"]
    assert first["release"] == 1
    assert first["bytes_downloaded"] > 0
    device = folder / "device"

    found = result_of("search", device / "current", query, "-k", "3")["products"]
    assert found[0]["title"] == query
    bought = found[0]["product_id"]
    recommended = result_of("recommend", device / "current", bought, "-k", "3", "--new")["products"]
    assert len(recommended) == 3
    assert bought not in [row["product_id"] for row in recommended]

    for kind in ("impression", "click"):
        result_of("node", "record", "--home", device, "--kind", kind, "--product", bought, "--position", "1")
    second = sync(folder)
    assert second["feedback"]["sent"] == 2
    assert second["update"]["bytes_downloaded"] == 0
    assert sync(folder)["feedback"]["sent"] == 0

    exported = result_of("serve", "--home", folder / "server", "--export-feedback", folder / "events.jsonl")
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert exported["events"] == len(lines) == 2
    assert all(bought in json.dumps(line) for line in lines)


def test_new_prices_reach_the_device_without_the_model(fleet, repriced, query):
    folder, url = fleet
    first = sync(folder)["update"]
    publish(repriced / "bundle", folder, url)

    update = sync(folder)["update"]
    assert update["release"] == 2
    assert update["files_reused"] >= 2
    assert 0 < update["bytes_downloaded"] < first["bytes_downloaded"]
    found = result_of("search", folder / "device" / "current", query, "-k", "1")["products"]
    assert found[0]["price"] == NEW_PRICE


def test_a_device_answers_when_the_server_is_gone(fleet, query):
    folder, _ = fleet
    sync(folder)
    shutil.rmtree(folder / "server" / "repository")
    refused = pocketrec("node", "sync", "--home", folder / "device")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert result_of("search", folder / "device" / "current", query, "-k", "1")["products"][0]["title"] == query
