"""A small fleet through loss, doubling, reordering, wrong clocks and crashes: what is acknowledged is stored, once."""

from benchmarks.fleet.local_servers import LocalPostgres, LocalRedis
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.virtual_fleet import FATES, Fleet


def crash_of_the_server(server):
    def crash():
        server.kill()
        server.start()

    return crash


def crash_of(program):
    def crash():
        program.kill()
        program.start()

    return crash


def check(report, crashes):
    assert (report.lost, report.doubled, report.changed, report.misdated) == (0, 0, 0, 0), report
    assert report.stored == report.events > report.devices
    assert set(report.fates) == set(FATES) and report.server_crashes == crashes
    assert report.broken_connections > 0


def test_server_on_sqlite_killed_in_the_middle_of_load_loses_nothing():
    server = ServerProcess()
    try:
        fleet = Fleet(server, devices=100, rounds=2, crashes=[crash_of_the_server(server)])
        check(fleet.run(), crashes=1)
    finally:
        server.stop()


def test_postgresql_redis_and_server_killed_in_the_middle_of_load_lose_nothing():
    postgres, redis = LocalPostgres(), LocalRedis()
    server = ServerProcess(database_url=postgres.url(), redis_url=redis.url)
    try:
        crashes = [crash_of(postgres), crash_of_the_server(server), crash_of(redis)]
        check(Fleet(server, devices=100, rounds=2, crashes=crashes).run(), crashes=3)
        assert "Traceback" not in server.log
    finally:
        server.stop()
        postgres.stop()
        redis.stop()
