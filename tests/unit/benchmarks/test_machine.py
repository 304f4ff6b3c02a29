import dataclasses
import json
import platform

from benchmarks import machine
from benchmarks.machine import describe_machine


def test_description_names_versions_and_no_host():
    described = describe_machine(("numpy", "no-such-package"))
    assert set(described.packages) == {"numpy"}
    assert described.cores >= 1
    assert described.memory_gb > 0
    assert platform.node() not in json.dumps(dataclasses.asdict(described)) or not platform.node()


def test_cpu_is_read_from_the_first_block(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("model name\t: First\nflags\t\t: sse avx512_vnni\n\nmodel name\t: Second\n")
    assert machine._cpu_details(path) == {"model name": "First", "flags": "sse avx512_vnni"}


def test_machine_without_cpuinfo_is_still_described(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_cpu_details", dict)
    described = describe_machine(())
    assert described.cpu
    assert described.vnni is False
