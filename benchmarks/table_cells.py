"""Cells of the printed tables: a figure with its interval, a difference with its interval, bytes, milliseconds."""


def interval_cell(mean: float, interval: tuple[float, float]) -> str:
    """Return like "0.651 [0.612, 0.690]"."""
    return f"{mean:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def difference_cell(mean: float, difference: tuple[float, float, float], *, reference: bool) -> str:
    """Return like "0.651: -0.020 (-0.030 … -0.010)"; of the row that the others are held against, the mean alone."""
    by, low, high = difference
    return f"{mean:.3f}" if reference else f"{mean:.3f}: {by:+.3f} ({low:+.3f} … {high:+.3f})"


def megabytes_cell(size: int | None) -> str:
    """Return millions of bytes like "1.32", "-" for None."""
    return "-" if size is None else f"{size / 1e6:.2f}"


def latency_cell(p50_ms: float | None, p99_ms: float | None) -> str:
    """Return milliseconds like "0.083 / 0.120", "-" for None."""
    return "-" if p50_ms is None else f"{p50_ms:.3f} / {p99_ms:.3f}"
