"""Many batches in one transaction: nothing lost, nothing doubled, one bad batch alone."""

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError

from edge_runtime.contract.errors import StorageError
from sync_server.database.engine import migrate, open_database
from sync_server.database.tables.devices import Device
from sync_server.database.tables.events import Event
from sync_server.errors import RequestError
from sync_server.events import event_writer
from sync_server.events.daily_quota import DailyQuota
from sync_server.events.event_writer import EVENT_COLUMNS, DeviceEvents, DeviceNews, EventWriter, array_literal


@pytest.fixture
def engine(tmp_path, database_url):
    opened = open_database(database_url or tmp_path / "db.sqlite")
    migrate(opened)
    with opened.begin() as connection:
        for number in range(20):
            connection.execute(
                Device.__table__.insert().values(
                    device_id=f"d{number}", credential_sha256=str(number), enrolled_at_s=0.0, forgotten_sequence=0
                )
            )
    yield opened
    opened.dispose()


def batch(device, first, last, **texts):
    fixed = {"device_id": device, "kind": "click", "product_id": "p", "bundle_id": "b", **texts}
    times = {"timestamp_s": 1.0, "received_at_s": 2.0}
    values = [{**fixed, **times, "sequence": number} for number in range(first, last + 1)]
    rows = [tuple(row.get(name) for name in EVENT_COLUMNS) for row in values]
    return DeviceEvents(device, rows, DeviceNews(2.0, "b"))


def stored_numbers(engine, device):
    with engine.connect() as connection:
        query = select(Event.sequence).where(Event.device_id == device).order_by(Event.sequence)
        return list(connection.scalars(query))


def test_batches_of_many_threads_are_each_stored_once_and_counted_each_for_its_device(engine):
    writer = EventWriter(engine)
    # Every device sends its first batch three times and a second that overlaps it, all at once.
    batches = [batch(f"d{n}", *span) for n in range(20) for span in ((1, 10), (1, 10), (6, 15), (1, 10))]
    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(writer.store, batches))
    assert sum(counts) == 20 * 15
    assert all(stored_numbers(engine, f"d{n}") == list(range(1, 16)) for n in range(20))
    with engine.connect() as connection:
        assert set(connection.scalars(select(Device.last_feedback_at_s))) == {2.0}


def test_waiting_batches_share_a_transaction(engine):
    writer, transactions = EventWriter(engine), []
    event.listen(engine, "commit", lambda _: transactions.append(1))
    with ThreadPoolExecutor(16) as pool:
        with writer._writing:
            waiting = [pool.submit(writer.store, batch(f"d{n}", 1, 5)) for n in range(10)]
            while len(writer._waiting) < 10:
                pass
        assert [done.result() for done in waiting] == [5] * 10
    assert len(transactions) == 1


def test_batch_of_an_unknown_device_fails_alone(engine):
    writer = EventWriter(engine)
    with ThreadPoolExecutor(8) as pool:
        with writer._writing:
            good = [pool.submit(writer.store, batch(f"d{n}", 1, 3)) for n in range(3)]
            bad = pool.submit(writer.store, batch("stranger", 1, 3))
            while len(writer._waiting) < 4:
                pass
        with pytest.raises(RequestError, match="enroll the device again"):
            bad.result()
        assert [done.result() for done in good] == [3, 3, 3]
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Event)) == 9


def test_revoked_device_is_refused_while_others_of_its_group_are_stored(engine):
    with engine.begin() as connection:
        connection.execute(update(Device).where(Device.device_id == "d1").values(revoked_at_s=1.0))
    writer, sizes = EventWriter(engine), []
    event.listen(engine, "commit", lambda _: sizes.append(1))
    with ThreadPoolExecutor(4) as pool:
        with writer._writing:
            jobs = [pool.submit(writer.store, batch(f"d{n}", 1, 3)) for n in range(3)]
            while len(writer._waiting) < 3:
                pass
        with pytest.raises(RequestError, match="revoked"):
            jobs[1].result()
        assert [jobs[0].result(), jobs[2].result()] == [3, 3]
    assert not stored_numbers(engine, "d1") and len(sizes) == 1


def write_group(writer, count, patch):
    """Store a batch of each of `count` devices as one group, with `patch` made before; return the finished calls."""
    with ThreadPoolExecutor(count) as pool:
        with writer._writing:
            jobs = [pool.submit(writer.store, batch(f"d{n}", 1, 3)) for n in range(count)]
            while len(writer._waiting) < count:
                pass
            patch()
        # A thread that spins or hangs would not come back.
        return [job.exception(timeout=60) for job in jobs]


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "I/O error")])
def test_fault_of_the_machine_fails_the_whole_group_at_once_and_nothing_waits_for_ever(engine, monkeypatch, error):
    writer, tries = EventWriter(engine), []

    def fail(_):
        tries.append(1)
        raise error

    failed = write_group(writer, 4, lambda: monkeypatch.setattr(event_writer, "writers_turn", fail))
    assert all(isinstance(one, StorageError) for one in failed) and len(tries) == 1
    monkeypatch.undo()
    assert writer.store(batch("d1", 1, 3)) == 3


def test_database_that_is_gone_is_waited_for_once_and_not_by_every_batch(engine, monkeypatch):
    writer, tries = EventWriter(engine), []

    def gone(*_):
        tries.append(1)
        raise OperationalError("BEGIN", {}, OSError("connection refused"))

    failed = write_group(writer, 4, lambda: monkeypatch.setattr(event_writer, "_store_group", gone))
    assert all(isinstance(one, StorageError) for one in failed) and len(tries) == 1


@pytest.mark.parametrize("error", [KeyError("product_id"), ValueError("odd"), MemoryError()])
def test_batch_that_meets_an_unforeseen_error_fails_alone(engine, monkeypatch, error):
    writer, store = EventWriter(engine), event_writer._store_group

    def fail(connection, batches, quota):
        if any(one.device_id == "d2" for one in batches):
            raise error
        return store(connection, batches, quota)

    failed = write_group(writer, 4, lambda: monkeypatch.setattr(event_writer, "_store_group", fail))
    assert failed == [None, None, error, None]
    assert [len(stored_numbers(engine, f"d{n}")) for n in range(4)] == [3, 3, 0, 3]


def test_thread_that_is_ended_in_the_middle_leaves_no_batch_without_an_end(engine, monkeypatch):
    writer = EventWriter(engine)

    def end(*_):
        raise SystemExit

    failed = write_group(writer, 3, lambda: monkeypatch.setattr(event_writer, "_store_group", end))
    assert sorted(type(one).__name__ for one in failed) == ["StorageError", "StorageError", "SystemExit"]
    monkeypatch.undo()
    assert writer.store(batch("d1", 1, 3)) == 3


def test_what_a_batch_does_not_tell_of_its_device_stays(engine):
    writer = EventWriter(engine)
    first, second = batch("d1", 1, 1), batch("d1", 2, 2)
    writer.store(DeviceEvents("d1", first.rows, DeviceNews(1.0, "old", "events", 0.5)))
    writer.store(DeviceEvents("d1", second.rows, DeviceNews(2.0, "new")))
    with engine.connect() as connection:
        row = connection.execute(select(Device).where(Device.device_id == "d1")).one()
    assert (row.last_feedback_at_s, row.bundle_id, row.privacy_level, row.consented_at_s) == (2.0, "new", "events", 0.5)


def sent_at(device, first, last, *, at_s, size_bytes=100):
    whole = batch(device, first, last)
    return DeviceEvents(device, whole.rows, DeviceNews(at_s, "b"), size_bytes)


def test_device_over_its_quota_of_events_or_bytes_waits_for_the_next_day_and_others_do_not(engine):
    writer = EventWriter(engine, DailyQuota(max_bytes=1_000, max_events=10))
    day_s = 86_400.0
    assert writer.store(sent_at("d1", 1, 10, at_s=day_s)) == 10
    assert writer.store(sent_at("d2", 1, 1, at_s=day_s, size_bytes=1_000)) == 1
    for device, at_s, wait_s in (("d1", 2 * day_s - 600, 600), ("d2", day_s + 60, 3_600)):
        # A new writer: the usage is not one worker's own.
        with pytest.raises(RequestError, match="in a day") as refused:
            EventWriter(engine, writer.quota).store(sent_at(device, 11, 11, at_s=at_s, size_bytes=1))
        assert (refused.value.status_code, refused.value.retry_after_s) == (429, wait_s)
        assert 11 not in stored_numbers(engine, device)
    assert writer.store(sent_at("d3", 1, 3, at_s=day_s)) == 3
    assert writer.store(sent_at("d1", 11, 20, at_s=2 * day_s)) == 10


def test_batch_over_the_quota_fails_alone_in_its_group(engine):
    writer = EventWriter(engine, DailyQuota(max_bytes=1_000, max_events=2))
    with ThreadPoolExecutor(2) as pool:
        with writer._writing:
            jobs = [pool.submit(writer.store, batch(f"d{n}", 1, 2 + n)) for n in range(2)]
            while len(writer._waiting) < 2:
                pass
        assert jobs[0].result() == 2
        with pytest.raises(RequestError, match="in a day"):
            jobs[1].result()
    assert stored_numbers(engine, "d1") == []


def test_forgotten_events_do_not_come_back(engine):
    with engine.begin() as connection:
        connection.execute(update(Device).where(Device.device_id == "d1").values(forgotten_sequence=4))
    assert EventWriter(engine).store(batch("d1", 1, 6)) == 2
    assert stored_numbers(engine, "d1") == [5, 6]
    assert EventWriter(engine).store(batch("d1", 1, 4)) == 0


def test_two_writers_of_the_same_devices_do_not_block_each_other_for_ever(engine):
    writers = [EventWriter(engine), EventWriter(engine)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [(writers[n % 2], batch(f"d{n % 7}", 1 + n, 5 + n)) for n in range(80)]
        assert sum(pool.map(lambda job: job[0].store(job[1]), jobs)) == sum(
            len(stored_numbers(engine, f"d{n}")) for n in range(7)
        )


def test_columns_of_a_row_are_those_of_the_table():
    assert sorted(EVENT_COLUMNS) == sorted(column.name for column in Event.__table__.columns if column.name != "id")


@pytest.mark.parametrize(
    "text", ['say "hi"', "back\\slash", "{brace},comma", "NULL", "", "\u2028 \N{OWL}", "a\nb\x01", "'; --"]
)
def test_any_text_comes_back_as_it_was(engine, text):
    writer = EventWriter(engine)
    assert writer.store(batch("d1", 1, 2, query=text, product_id=text)) == 2
    assert writer.store(batch("d2", 1, 1)) == 1
    with engine.connect() as connection:
        found = connection.execute(select(Event.product_id, Event.query).order_by(Event.id)).all()
    assert found == [(text, text), (text, text), ("p", None)]


def test_columns_with_gaps_and_numbers_are_written_as_arrays():
    assert array_literal([None, None]) == "{}"
    assert array_literal([1, None, 0.1]) == "{1,NULL,0.1}"
    assert array_literal(["a", None]) == '{"a",NULL}'
    with pytest.raises(StorageError, match="NUL"):
        array_literal(["a\0b", "c"])
