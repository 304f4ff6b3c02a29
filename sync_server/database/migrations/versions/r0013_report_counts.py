"""Counts of what devices report, so that judging reads no report; those under way begin with the reports stored so far."""

from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0013"
down_revision = "0012"

# One measurement of each device and release; longer times count as a second (rollouts/report_counts.py).
_LATENCIES = """
INSERT INTO release_latencies (channel, release, devices, total_ms, squares_ms)
SELECT channel, release, count(*), sum(ms), sum(ms * ms) FROM (
    SELECT channel, release, avg(CASE WHEN latency_ms > 1000 THEN 1000 ELSE latency_ms END) AS ms
    FROM device_reports WHERE latency_ms IS NOT NULL GROUP BY channel, release, device_id
) AS by_device GROUP BY channel, release
"""
_REPORTS = """
FROM device_reports JOIN rollouts ON device_reports.reason = rollouts.rollout_id
AND device_reports.channel = rollouts.channel AND device_reports.release = rollouts.release
WHERE rollouts.state IN ('running', 'paused')
AND kind IN ('installed', 'install_failed', 'proof_failed', 'crashed')
"""
_REACHED = f"""
INSERT INTO rollout_report_counts (rollout_id, side, kind, devices)
SELECT rollout_id, 'offered', 'reached', count(DISTINCT device_id) {_REPORTS} GROUP BY rollout_id
"""
_FAILED = f"""
INSERT INTO rollout_report_counts (rollout_id, side, kind, devices)
SELECT rollout_id, 'offered', kind, count(DISTINCT device_id) {_REPORTS}
AND kind <> 'installed' AND coalesce(error, '') <> 'StorageError' GROUP BY rollout_id, kind
"""


def upgrade() -> None:
    """Make the table and count what is stored."""
    op.create_table(
        "release_latencies",
        *kinds.columns(
            channel=kinds.KEY,
            release=kinds.GIVEN_BIG_NUMBER,
            devices=kinds.INTEGER,
            total_ms=kinds.DOUBLE,
            squares_ms=kinds.DOUBLE,
        ),
    )
    for statement in (_LATENCIES, _REACHED, _FAILED):
        op.execute(statement)
