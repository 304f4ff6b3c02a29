"""Real data sets for tests: the full ones that POCKETREC_DATA names, or the excerpts in tests/data."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXCERPTS = Path(__file__).parents[1] / "data" / "excerpts"


@dataclass(frozen=True)
class RealData:
    """The folder of the data sets (`esci_us`, `online_retail`, ...), and whether they are whole."""

    folder: Path
    full: bool

    def figure(self, *, full: Any, excerpt: Any) -> Any:
        """Return a figure of these data: the published one of the whole, or that of the excerpt."""
        return full if self.full else excerpt


def find_real_data() -> RealData:
    """Return the full data when POCKETREC_DATA is set, the excerpts otherwise.

    Raises:
        FileNotFoundError: POCKETREC_DATA names no folder.
    """
    named = os.environ.get("POCKETREC_DATA")
    if not named:
        return RealData(EXCERPTS, full=False)
    if not Path(named).is_dir():
        raise FileNotFoundError(
            f"POCKETREC_DATA is {named!r}: expected the folder of the real data sets, or no setting"
        )
    return RealData(Path(named), full=True)
