"""The demo's folder, and the processes that it starts."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from compress.errors import DemoError
from pocketrec import cli_subprocess
from pocketrec.cli_subprocess import run_command, serving
from pocketrec.pipeline.demo import MARK_FILE, Answer, DemoReport, Update, run_demo, serving_storefront, show_demo


@pytest.fixture
def child(monkeypatch):
    """Let the commands be a Python program of the test's own."""

    def use(program: str) -> None:
        monkeypatch.setattr(cli_subprocess, "_command", lambda arguments: [sys.executable, "-c", program, *arguments])

    return use


def test_a_command_s_json_is_returned(child):
    child("import sys, json; print(json.dumps({'arguments': sys.argv[1:]}))")
    assert run_command(["search", "--json"]) == {"arguments": ["search", "--json"]}


def test_json_over_several_lines_is_returned(child):
    child("print('{\\n  \"a\": 1\\n}')")
    assert run_command(["search"]) == {"a": 1}


def test_a_failed_command_is_named_with_its_exit_code(child):
    child("import sys; sys.exit(3)")
    with pytest.raises(DemoError, match="`pocketrec build` ended with exit code 3"):
        run_command(["build"])


@pytest.mark.parametrize("output", ["not json", "[1]", ""])
def test_other_output_than_one_json_object_is_refused(child, output):
    child(f"print({output!r})")
    with pytest.raises(DemoError, match="pocketrec bench"):
        run_command(["bench"])


SERVER = """
import json, sys, time
print(json.dumps({"url": "http://127.0.0.1:1"}), flush=True)
print("a line for the log", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_server_is_stopped_when_its_work_fails(child, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(cli_subprocess.subprocess, "Popen", _remembering(started))
    child(SERVER)
    with pytest.raises(ZeroDivisionError), serving(["serve"], log=tmp_path / "log") as url:
        assert url == "http://127.0.0.1:1"
        raise ZeroDivisionError
    assert started[0].poll() is not None


def test_a_server_that_ends_at_once_is_an_error_that_names_its_log(child, tmp_path):
    child("import sys; sys.exit('no keys')")
    with pytest.raises(DemoError, match=r"server\.log"), serving(["serve"], log=tmp_path / "server.log"):
        pytest.fail("there is no server")
    assert "no keys" in (tmp_path / "server.log").read_text()


def test_a_server_that_stays_silent_is_stopped(child, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(cli_subprocess.subprocess, "Popen", _remembering(started))
    child("import time; time.sleep(60)")
    with pytest.raises(DemoError, match="no address"), serving(["serve"], log=tmp_path / "log", ready_timeout_s=0.2):
        pytest.fail("there is no server")
    assert started[0].poll() is not None


def _remembering(started):
    class Remembered(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    return Remembered


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DemoError, match="not empty"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_folder_of_an_earlier_demo_is_replaced(child, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / MARK_FILE).touch()
    (folder / "old").touch()
    child("import sys; sys.exit(1)")
    commands = []
    with pytest.raises(DemoError, match="pocketrec shop"):
        run_demo(folder, on_step=commands.append)
    assert [path.name for path in folder.iterdir()] == [MARK_FILE]
    assert commands == [f"pocketrec shop sample {folder / 'shop'} --products 2000"]


def test_the_tables_show_every_figure():
    stage = {"stage": "int8", "queries": 90, "rerank_ndcg10": 0.8, "rerank_ci95": (0.7, 0.9)}
    timing = {"name": "search hybrid", "p50_ms": 0.5, "p99_ms": 0.75, "runs": 500}
    report = DemoReport(
        folder=Path("demo"),
        seconds={"build": 200.0, "sync": 1.5},
        quality=[{**stage, "retrieval_ndcg10": 0.6, "retrieval_ci95": (0.5, 0.65)}],
        bench={
            "num_threads": 1,
            "timings": [timing, {**timing, "name": "tokenize"}],
            "model_bytes": 1_500_000,
            "total_bytes": 2_500_000,
            "products": 2000,
            "cold_start": {"open_ms": 20.0, "first_answer_ms": 5.0},
        },
        answers=[Answer(asked='search "[red] lamp"', shows="brackets stay", titles=("Red lamp",), latency_ms=0.6)],
        updates=[Update("first installation", 1, 2_500_000, 8, 0), Update("new prices", 2, 300_000, 3, 5)],
        events_stored=4,
    )
    output = io.StringIO()
    show_demo(report, Console(file=output, width=80))
    text = output.getvalue()
    shown = (
        "0.800",
        "0.70–0.90",
        "0.50 ms",
        "0.75 ms",
        "1.50 MB",
        "25 ms",
        "[red] lamp",
        "300,000",
        "201.5",
        "4 feed",
    )
    assert [figure for figure in shown if figure not in text] == []


def test_the_storefront_s_address_ends_in_a_code_that_enrolls_the_browser(child, tmp_path):
    child(
        "import json, sys, time\n"
        "if '--new-enrollment-code' in sys.argv:\n"
        "    print(json.dumps({'code': 'once'}))\n"
        "else:\n"
        "    print(json.dumps({'url': 'http://127.0.0.1:1'}), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with serving_storefront(tmp_path, port=0) as address:
        assert address == "http://127.0.0.1:1/shop/#enroll=once"
