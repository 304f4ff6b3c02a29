"""The figures of benchmarks/results/sync.json as a table, beside their required values and targets."""

from dataclasses import dataclass
from typing import Any

MISSING = "not measured"


@dataclass(frozen=True)
class Figure:
    """A line of the table."""

    name: str
    floor: str
    aim: str
    measured: str


def figure_table(result: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = ["| | floor | aim | measured |", "|---|--:|--:|--:|"]
    lines += [f"| {item.name} | {item.floor} | {item.aim} | {item.measured} |" for item in figures(result)]
    return "\n".join(lines)


def figures(result: dict[str, Any]) -> list[Figure]:
    """Return every figure; one whose part has not run says so."""
    return [*_load(result), *_fleet(result), *_deltas(result), *_rollouts(result), *_idle(result)]


def _part(result: dict[str, Any], name: str) -> Any:
    return result.get(name, {}).get("figures")


def _load(result: dict[str, Any]) -> list[Figure]:
    found = _part(result, "load")
    storing = {row["database"]: f"{row['events_per_second']:,.0f}" for row in found["storing"]} if found else {}
    fresh = found["freshness"] if found else None
    return [
        Figure("feedback events stored per second, PostgreSQL", "10,000", "30,000", storing.get("PostgreSQL", MISSING)),
        Figure("the same on SQLite", "10,000", "30,000", storing.get("SQLite", MISSING)),
        Figure(
            '"anything new?" answers per second',
            "1,500",
            "5,000",
            f"{fresh['answers_per_second']:,.0f}" if fresh else MISSING,
        ),
        Figure(
            "p99 of that under feedback load",
            "100 ms",
            "40 ms",
            f"{fresh['p99_ms_under_feedback']:.1f} ms at {fresh['answers_per_second_under_feedback']:,.0f}/s "
            f"and {fresh['feedback_events_per_second']:,.0f} events/s"
            if fresh
            else MISSING,
        ),
    ]


def _fleet(result: dict[str, Any]) -> list[Figure]:
    found = _part(result, "fleet")
    measured = (
        f"{found['lost']} lost, {found['doubled']} doubled of {found['events']:,} ({found['devices']:,} devices, "
        f"{found['server_crashes']} crashes)"
        if found
        else MISSING
    )
    return [Figure("events lost or doubled in chaos", "0", "0", measured)]


def _deltas(result: dict[str, Any]) -> list[Figure]:
    rows = _part(result, "deltas") or []
    whole = {row["change"]: f"{row['of_full']:.2%}" for row in rows if row["file"] == "all"}
    named = (
        ("model, retrained", "delta after a retrain with frozen embeddings, of the full model", "8%", "4%"),
        ("catalogue, 1% changed", "catalogue delta for 1% changed products, of the full catalogue", "3%", "1.5%"),
        ("catalogue, 1% prices", "the same for 1% new prices", "3%", "1.5%"),
        ("catalogue, 1% mixed", "the same for 1% changed, added and removed, a third each", "3%", "1.5%"),
    )
    return [Figure(name, floor, aim, whole.get(change, MISSING)) for change, name, floor, aim in named]


def _rollouts(result: dict[str, Any]) -> list[Figure]:
    rows = _part(result, "rollouts") or []
    harmful = [row for row in rows if row["model"].get("harmful")]
    harmless = [row for row in rows if not row["model"].get("harmful")]
    return [
        Figure(
            "share of the fleet that a bad model reaches",
            "10%",
            "5%",
            f"{max(row['exposed_mean'] for row in harmful):.1%} (worst kind)" if harmful else MISSING,
        ),
        Figure(
            "false halts of harmless rollouts",
            "5%",
            "5%",
            f"{max(row['halted'] for row in harmless):.1%} of {harmless[0]['rollouts']:,}" if harmless else MISSING,
        ),
    ]


def _idle(result: dict[str, Any]) -> list[Figure]:
    found = _part(result, "idle")
    measured = f"{found['sent_bytes'] + found['received_bytes']:,} bytes, {found['requests']}" if found else MISSING
    return [Figure("sync of an idle device, bytes and requests", "2,000 bytes, 1", "", measured)]
