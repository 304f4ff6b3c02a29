"""Required values and targets of the device's figures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A floor and an aim of one figure; `least`: whether more is better."""

    floor: float
    aim: float
    least: bool = False

    def met(self, value: float) -> str:
        """Return "aim", "floor" or "missed"."""
        sign = 1 if self.least else -1
        if sign * value >= sign * self.aim:
            return "aim"
        return "floor" if sign * value >= sign * self.floor else "missed"


DENSE, HYBRID = "search dense", "search hybrid"
AGAINST_PEER = "dense search against the peer"
RECALL = "recall@10 of the candidates"
OPEN = "open to first answer, digests compared"
PROCESS = "process start to first answer"
MEMORY = "memory above an idle interpreter"
SMALL, LARGE = 6_764, 50_000

P50 = {
    (DENSE, SMALL): Target(0.35, 0.2),
    (DENSE, LARGE): Target(0.7, 0.45),
    (HYBRID, LARGE): Target(3, 1),
    (OPEN, SMALL): Target(60, 20),
    (OPEN, LARGE): Target(60, 20),
    (PROCESS, SMALL): Target(600, 350),
    (PROCESS, LARGE): Target(600, 350),
}
"""Milliseconds of the median."""

P99 = {(HYBRID, LARGE): Target(8, 3)}
"""Milliseconds of the 99th percentile."""

VALUES = {
    (AGAINST_PEER, LARGE): Target(8, 20, least=True),
    (RECALL, SMALL): Target(0.99, 0.999, least=True),
    (RECALL, LARGE): Target(0.99, 0.999, least=True),
    (MEMORY, LARGE): Target(40, 20),
}
"""Times as fast, shares, MB."""


def verdict(name: str, products: int, *, p50_ms: float | None, p99_ms: float | None, value: float | None) -> str:
    """Return floors and aims of a figure with what was reached, empty where it has none."""
    held = (("p50", P50, p50_ms), ("p99", P99, p99_ms), ("", VALUES, value))
    parts = []
    for label, targets, found in held:
        target = targets.get((name, products))
        if target is not None and found is not None:
            sign = "≥" if target.least else "≤"
            parts.append(f"{label} {sign} {target.floor:g}, aim {target.aim:g}: {target.met(found)}".strip())
    return "; ".join(parts)
