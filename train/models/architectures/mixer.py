"""Dense blocks that read each token together with its neighbors; no attention."""

from typing import Any

from train.models.layers import mixer_block
from train.models.student import StudentSettings, placed, student_architecture


@student_architecture("mixer", counts=("layers", "feed_forward"))
def mixer(x: Any, bias: Any, settings: StudentSettings) -> Any:
    """Return the tokens after `layers` mixer blocks over learned positions."""
    x = placed(x, settings)
    for number in range(settings.layers):
        x = mixer_block(x, hidden=settings.hidden, feed_forward=settings.feed_forward, name=f"block{number}")
    return x
