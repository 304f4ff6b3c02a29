"""Real processes: gunicorn, publishing over a socket, devices that are killed in the middle of an update."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.contract.bundle import open_bundle
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.config import ServerConfig
from sync_server.hosting.home import open_repository
from tests.support.device_process import POINTS, sync_in_child
from tests.support.fleet_bundles import write_bundle

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def pocketrec(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pocketrec", *map(str, arguments)],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sync_device(server, home, point="none"):
    return sync_in_child(home, root=server.keys / "root.json", url=server.url, point=point)


class RunningServer:
    """`pocketrec serve` on a free port."""

    def __init__(self, folder):
        self.keys, self.home, self.log = folder / "keys", folder / "server", folder / "server.log"
        assert pocketrec("keys", "init", "--dir", self.keys).returncode == 0
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pocketrec",
                    *("serve", "--home", str(self.home), "--keys", str(self.keys), "--port", "0", "--json"),
                ],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.url = json.loads(line)["url"]

    def publish(self, bundle):
        """Publish into the running server's home, as another process on its machine would."""
        config = ServerConfig(home=self.home)
        target = LocalTarget(open_repository(config), max_file_bytes=config.max_file_bytes)
        return publish(bundle.folder, channel="stable", keys=self.keys, target=target)

    def publish_over_the_network(self, bundle):
        done = pocketrec(
            *("publish", bundle.folder, "--keys", self.keys, "--server", self.url, "--json"),
            POCKETREC_PUBLISH_TOKEN_FILE=str(self.home / "publisher.token"),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = RunningServer(tmp_path_factory.mktemp("fleet"))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="module")
def bundles(server, tmp_path_factory):
    """Two bundles; the model of the second is large enough to be cut in the middle."""
    folder = tmp_path_factory.mktemp("bundles")
    # Noise, so that no delta makes it small.
    large = random.Random(0).randbytes(409_600)
    return write_bundle(folder / "old", words="old"), write_bundle(folder / "new", words="new", encoder=large)


def test_publish_and_sync_over_a_real_socket(server, bundles, tmp_path):
    old, new = bundles
    assert server.publish_over_the_network(old)["files_uploaded"] == 7
    assert sync_device(server, tmp_path / "device").said == old.bundle_id
    assert server.publish(new).release == 2
    assert sync_device(server, tmp_path / "device").said == new.bundle_id
    assert open_bundle(tmp_path / "device" / "current").bundle_id == new.bundle_id


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_any_point_leaves_a_whole_bundle_and_the_next_sync_finishes(server, bundles, tmp_path, point):
    old, new = bundles
    home = tmp_path / "device"
    server.publish(old)
    assert sync_device(server, home).returncode == 0
    server.publish(new)
    killed = sync_device(server, home, point)
    assert killed.returncode == -signal.SIGKILL, killed.said
    answering = open_bundle(home / "current").bundle_id
    assert answering == (new.bundle_id if point == "switched" else old.bundle_id)
    finished = sync_device(server, home)
    assert finished.said == new.bundle_id
    assert not (home / "slots" / ".staging").exists()


def test_full_disk_is_one_sentence_and_the_old_bundle_answers(server, bundles, tmp_path):
    old, new = bundles
    home = tmp_path / "device"
    server.publish(old)
    sync_device(server, home)
    server.publish(new)
    failed = sync_device(server, home, "full-disk")
    assert failed.returncode == 1
    assert failed.said.startswith("StorageError: cannot write")
    assert open_bundle(home / "current").bundle_id == old.bundle_id
    assert sync_device(server, home).said == new.bundle_id


def test_device_enrolls_and_its_feedback_arrives_once(server, bundles, tmp_path):
    server.publish(bundles[0])
    code = pocketrec("serve", "--home", server.home, "--new-enrollment-code")
    (tmp_path / "code").write_text(code.stdout)
    home = tmp_path / "device"
    enrolled = pocketrec(
        *("node", "enroll", "--server", server.url, "--home", home, "--root", server.keys / "root.json"),
        *("--code-file", tmp_path / "code", "--json"),
    )
    assert enrolled.returncode == 0, enrolled.stderr
    recorded = pocketrec("node", "record", "--home", home, "--kind", "purchase", "--product", "p7", "--position", "2")
    assert recorded.returncode == 0, recorded.stderr
    # The bundle holds no model, so its proof fails here; feedback travels all the same.
    synced = pocketrec("node", "sync", "--home", home)
    assert synced.returncode == 1 and "Traceback" not in synced.stderr
    exported = tmp_path / "events.jsonl"
    pocketrec("serve", "--home", server.home, "--export-feedback", exported)
    events = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [(event["kind"], event["product_id"], event["position"]) for event in events] == [("purchase", "p7", 2)]


def test_server_stops_cleanly_and_the_publisher_is_told(server, bundles):
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
    done = pocketrec(
        *("publish", bundles[0].folder, "--keys", server.keys, "--server", server.url),
        *("--token-file", server.home / "publisher.token"),
    )
    assert done.returncode == 1 and "cannot reach" in done.stderr and "Traceback" not in done.stderr
