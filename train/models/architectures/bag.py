"""A weighted mean of word pieces: word order does not count, and there is no depth."""

from typing import Any

from train.models.student import StudentSettings, student_architecture


@student_architecture("bag")
def bag(x: Any, bias: Any, settings: StudentSettings) -> Any:
    """Return `x`: the learned weights of the pooling (as in Yang et al., "Hierarchical Attention Networks", 2016) are all."""
    return x
