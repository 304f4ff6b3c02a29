"""Malformed requests get one sentence with a status 4xx, on both databases; none is a fault of the server."""

import io

import pytest
from gunicorn.http.errors import InvalidChunkSize, NoMoreData

from edge_runtime.contract.errors import PocketrecError
from sync_server.errors import RequestError
from tests.support.fleet_bundles import publish_one_and_stage_two
from tests.unit.sync_server.api.test_feedback_endpoint import CREDENTIAL, enroll

pytestmark = pytest.mark.usefixtures("database_url")

NUL = "a\0b"


@pytest.mark.parametrize("error", [InvalidChunkSize(b"zz"), NoMoreData()])
@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/counts", "/v1/rank", "/v1/devices/enroll"])
def test_malformed_chunk_is_refused_with_a_sentence(server, path, error):
    enroll(server)

    class Body(io.BytesIO):
        def read(self, *_):
            raise error

        readinto = readline = read

    answer = server.client.post(
        path,
        input_stream=Body(b"{}"),
        headers={"Authorization": f"Bearer {CREDENTIAL}"},
    )
    # A server that does not rank says so before it reads the body.
    assert answer.status_code == (404 if path == "/v1/rank" else 400) and answer.json["error"]


@pytest.mark.parametrize("path", ["/v1/rollouts/%00", "/v1/experiments/%00", "/v1/devices/%00/feedback"])
def test_nul_in_a_path_is_refused_with_a_sentence(server, path):
    server.services.operators.add("ann", role="admin", password="correct horse battery", actor="test")
    key = server.services.api_keys.create("ann", role="admin", label="test", actor="test")
    answer = server.client.get(path, headers={"Authorization": f"Bearer {key.secret}"})
    assert answer.status_code in {400, 404} and answer.json["error"]


def test_nul_in_a_report_is_refused_with_a_sentence(server):
    device_id = enroll(server).json["device_id"]
    one = {"number": 1, "kind": "crashed", "channel": "stable", "release": 1, "bundle_id": "b", "timestamp_s": 1.0}
    body = {"version": 1, "device_id": device_id, "reports": [one | {"reason": NUL}]}
    answer = server.client.post("/v1/reports", json=body, headers={"Authorization": f"Bearer {CREDENTIAL}"})
    assert answer.status_code == 400
    assert not server.config.database_url or "NUL" in answer.json["error"]


def test_nul_in_the_name_of_an_experiment_is_refused_with_a_sentence_or_stored(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    body = {"channel": "stable", "name": NUL}
    answer = server.client.post("/v1/experiments", json=body, headers=server.publisher_headers)
    assert answer.status_code == (400 if server.config.database_url else 201)


def test_number_that_no_database_holds_is_refused_with_a_sentence(server):
    with pytest.raises(RequestError, match="too large") as refused:
        server.services.audit.newest(10, before=2**63)
    assert refused.value.status_code == 400 and isinstance(refused.value, PocketrecError)
