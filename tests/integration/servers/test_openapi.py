"""The served description is whole, and the server keeps to it whatever it is sent (schemathesis)."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest

from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_load import publish_to

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"


@pytest.fixture(scope="module")
def server():
    running = ServerProcess(settings=["enrollments_per_minute = 100000"])
    publish_to(running, write_plain_bundle(running.folder / "bundle"))
    yield running
    running.stop()


def test_every_route_is_described(server):
    with urllib.request.urlopen(f"{server.url}/v1/openapi.json") as answer:
        document = json.load(answer)
    assert document["openapi"].startswith("3.1")
    assert {"/v1/feedback", "/v1/devices/enroll", "/v1/rank", "/v1/tuf/{name}", "/healthz"} <= set(document["paths"])
    assert [path for path in document["paths"] if not re.fullmatch(r"(/[\w.-]+|/\{\w+\})+", path)] == []
    (action,) = [one for one in document["paths"] if one.endswith("/{action}")]
    *_, last = document["paths"][action]["post"]["parameters"]
    assert last["schema"]["enum"] == ["pause", "resume", "advance", "halt"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    events = document["components"]["schemas"]["FeedbackEvent"]["properties"]
    assert {"kind", "product_id", "propensity"} <= set(events)


@pytest.mark.parametrize("who", ["device", "publisher"])
def test_server_keeps_to_its_description_under_generated_requests(server, who):
    credential = {
        "device": lambda: server.enroll(1)[0].credential,
        "publisher": lambda: (server.config.home / "publisher.token").read_text().strip(),
    }[who]()
    only = {
        "device": "^/v1/(feedback|rank|tuf|counts|channels|reports)|^/(healthz|readyz)",
        "publisher": "^/v1/(publish|devices|rollouts|experiments|fleet)",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/v1/openapi.json"),
            *("--checks", CHECKS, "--max-examples", "4", "--phases", "examples,coverage,fuzzing"),
            *("--include-path-regex", only[who], "--header", f"Authorization: Bearer {credential}"),
            *("--seed", "1", "--no-color", "--warnings", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=server.folder,
        timeout=200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6_000:]
    assert "Traceback" not in server.log
