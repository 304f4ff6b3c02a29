"""Shared types of all packages: arrays and progress callbacks."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

Progress = Callable[[int, int], None]
"""Called with (done, total) while something longer runs."""

NamedProgress = Callable[[str, int, int], None]
"""Called with (what is running, done, total) where one call runs several things."""
