"""The benchmark of faults: every part runs with real processes, on a small scale, and its rows say what they must."""

import json

import pytest

from benchmarks.fleet.faults.__main__ import PARTS, main
from benchmarks.fleet.faults.table import MISSING, Row, fault_table

SMALL = {
    "dripping": ["--limit-seconds", "0.5"],
    "forged-counts": ["--windows", "2"],
    "packed-bodies": ["--quota-bytes", "1000000"],
    "killed-apps": ["--kills", "3"],
    "slow-readers": ["--connections", "2", "--proxied-connections", "2", "--seconds", "0.2"],
    "delta-memory": ["--file-bytes", "1000000"],
}
ROWS = {"killed-apps": 2, "slow-readers": 2, "delta-memory": 3}
TIMED = {"dripping", "slow-readers"}
"""What these measure depends on how busy the machine is."""


def test_every_part_is_tried():
    assert tuple(SMALL) == PARTS


@pytest.mark.parametrize("part", PARTS)
def test_part_runs_and_meets_what_is_required(part, tmp_path, capsys):
    out = tmp_path / "faults.json"
    assert main(["--only", part, "--out", str(out), *SMALL[part]]) == 0
    rows = json.loads(out.read_text())[part]["rows"]
    assert len(rows) == ROWS.get(part, 1) and (part in TIMED or all(row["met"] for row in rows)), rows
    table = capsys.readouterr().out
    assert table.count(MISSING) == len(PARTS) - 1 and all(row["measured"] in table for row in rows)


def test_row_that_is_not_met_says_so():
    row = Row("a fault", "0", "1", met=False)
    table = fault_table({"dripping": {"rows": [vars(row)]}}, ["dripping", "killed-apps"])
    assert "| a fault | 0 | 1 (**not met**) |" in table and f"| killed-apps |  | {MISSING} |" in table
