"""The web runtime answers in a browser what the Python reference answers."""

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.loopback import listening
from tests.support.source_tree import REPOSITORY

DIST = REPOSITORY / "web" / "packages" / "runtime" / "dist"
DATA = REPOSITORY / "tests" / "data"


class _Handler(SimpleHTTPRequestHandler):
    """The built web runtime under /web, tests/data under /data."""

    def translate_path(self, path: str) -> str:
        plain = path.split("?", 1)[0].lstrip("/")
        for prefix, folder in (("web/", DIST), ("data/", DATA), ("tested/", REPOSITORY / "build" / "tested-bundle")):
            if plain.startswith(prefix):
                return str(folder / plain.removeprefix(prefix))
        return str(DIST / "nothing")

    def do_GET(self) -> None:
        if self.path != "/":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>empty</title><body></body>")
        return None

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(DIST)))) as url:
        yield url


def test_the_browser_answers_as_the_reference_does(page, files):
    page.goto(files)
    outcome = page.evaluate(
        """async () => {
            const { runConformance } = await import("/web/conformance.js");
            const { HttpSource } = await import("/web/pocketrec.js");
            const read = async (name) => (await fetch(`/data/conformance/${name}`)).json();
            return runConformance(read, new HttpSource("/data/golden_bundle"));
        }"""
    )
    assert outcome["failures"] == []
    assert outcome["checks"] > 1_000


def test_the_browser_refuses_every_attack_on_the_manifest(page, files):
    expected = json.loads((DATA / "attacks" / "expected.json").read_text())
    page.goto(files)
    outcome = page.evaluate(
        """async (expected) => {
            const { runAttacks } = await import("/web/conformance.js");
            const read = async (name) => new Uint8Array(await (await fetch(`/data/attacks/${name}`)).arrayBuffer());
            return runAttacks(expected, read);
        }""",
        expected,
    )
    assert outcome == {"checks": len(expected), "failures": []}


def test_a_changed_byte_and_a_cut_file_are_refused(page, files):
    page.goto(files)
    errors = page.evaluate(
        """async () => {
            const { Recommender, HttpSource } = await import("/web/pocketrec.js");
            class Changed extends HttpSource {
                constructor(change) { super("/data/golden_bundle"); this.change = change; }
                async file(artifact) {
                    const data = await super.file(artifact);
                    return artifact.path === "item_vectors.npy" ? this.change(data) : data;
                }
            }
            const changes = [
                (data) => { data[500] ^= 1; return data; },
                (data) => data.slice(0, -1),
            ];
            const names = [];
            for (const change of changes) {
                names.push(await Recommender.open(new Changed(change)).then(() => "", (error) => error.name));
            }
            return names;
        }"""
    )
    assert errors == ["DigestMismatchError", "DigestMismatchError"]


def test_a_real_int8_student_proves_itself_in_the_browser(page, files):
    tested = REPOSITORY / "build" / "tested-bundle" / "manifest.json"
    assert tested.is_file(), "no bundle with a real student: make build/tested-bundle/manifest.json builds it"
    page.goto(files)
    proof = page.evaluate(
        """async () => {
            const { Recommender, HttpSource } = await import("/web/pocketrec.js");
            return (await Recommender.open(new HttpSource("/tested"))).prove();
        }"""
    )
    assert proof["overlap"] >= 0.99
    assert proof["worstCosine"] >= 0.999
