"""The audit log cannot be changed, cut or rewritten without being seen."""

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from edge_runtime.contract.errors import ConfigError
from sync_server.errors import AuditError
from sync_server.operators import audit_log
from sync_server.operators.audit_log import AuditLog, Head, check_chain, read_export


@pytest.fixture
def log(engine):
    log = AuditLog(engine, lambda: 1_800_000_000.5)
    for number in range(6):
        log.record(actor="anna", action="device revoked", subject=f"device-{number}", details={"why": "<lost>"})
    return log


def change(engine, statement):
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_whole_log_verifies(log):
    assert log.verify() == log.head() and log.head().number == 6
    assert [entry.subject for entry in log.newest(2)] == ["device-5", "device-4"]
    assert [entry.number for entry in log.newest(2, before=5)] == [4, 3]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit_log SET subject = 'device-9' WHERE number = 3", "line 3 was changed"),
        ("UPDATE audit_log SET actor = 'bert' WHERE number = 6", "line 6 was changed"),
        ("DELETE FROM audit_log WHERE number = 3", "line 3 is missing"),
        ("DELETE FROM audit_log WHERE number = 1", "line 1 is missing"),
        ("DELETE FROM audit_log WHERE number > 4", "ends at line 4"),
    ],
)
def test_changed_or_removed_audit_line_is_seen(log, engine, statement, says):
    change(engine, statement)
    with pytest.raises(AuditError, match=says):
        log.verify()


def test_log_written_anew_is_seen_by_a_noted_head(log, engine):
    noted = log.head()
    change(engine, "DELETE FROM audit_log")
    change(engine, f"UPDATE audit_head SET number = 0, sha256 = '{'0' * 64}'")
    for number in range(6):
        log.record(actor="anna", action="device revoked", subject=f"device-{number + 1}")
    assert log.verify().number == 6, "the new chain is whole in itself"
    with pytest.raises(AuditError, match="was rewritten"):
        log.verify(known=noted)
    with pytest.raises(AuditError, match="lines are missing"):
        log.verify(known=Head(7, noted.sha256))


def test_new_head_goes_to_the_servers_log(log, caplog):
    caplog.set_level("INFO", logger="sync_server")
    log.record(actor="anna", action="logged in")
    assert caplog.records[-1].fields["audit"]["sha256"] == log.head().sha256


def test_line_and_deed_are_one_transaction(log, engine):
    with pytest.raises(RuntimeError), Session(engine) as session, session.begin():
        audit_log.append(session, at_s=0.0, actor="anna", action="half")
        raise RuntimeError
    assert log.head().number == 6 and log.verify()


def test_many_at_once_leave_no_gap(log):
    threads = [threading.Thread(target=lambda: [log.record(actor="t", action="x") for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.verify().number == 26


def test_export_is_checked_without_the_database(log, tmp_path):
    path = tmp_path / "audit.jsonl"
    head = log.export(path)
    assert check_chain(read_export(path)) == head
    path.write_bytes(path.read_bytes().replace(b"device-2", b"device-7"))
    with pytest.raises(AuditError, match="line 3 was changed"):
        check_chain(read_export(path))
    path.write_text("nonsense")
    with pytest.raises(AuditError, match="line 1 is not a line"):
        check_chain(read_export(path))
    with pytest.raises(ConfigError, match="cannot read"):
        check_chain(read_export(tmp_path / "none"))
    with pytest.raises(ConfigError, match="make it first"):
        log.export(tmp_path / "none" / "audit.jsonl")


def test_heads_are_read_as_they_are_shown(log):
    assert Head.parse(str(log.head())) == log.head()
    for wrong in ("", "3", "x:y", "3:abc"):
        with pytest.raises(ConfigError, match="expected a head"):
            Head.parse(wrong)
