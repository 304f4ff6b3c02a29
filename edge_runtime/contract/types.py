"""Shared types of all packages: arrays and progress callbacks."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

Rows = npt.NDArray[np.int32]
"""Row numbers of a catalogue."""

Mask = npt.NDArray[np.bool_]
"""bool [products]: a choice among the rows of a catalogue."""

Progress = Callable[[int, int], None]
"""Called with (done, total) while something longer runs."""

NamedProgress = Callable[[str, int, int], None]
"""Called with (what is running, done, total) where one call runs several things."""
