"""Transformer blocks."""

from typing import Any

from train.models.layers import NewAxis, attention_block
from train.models.student import StudentSettings, placed, student_architecture


@student_architecture("bert", counts=("layers", "heads", "feed_forward"))
def bert(x: Any, bias: Any, settings: StudentSettings) -> Any:
    """Return the tokens after `layers` transformer blocks over learned positions."""
    x = placed(x, settings)
    bias = NewAxis(name="mask_heads")(bias)
    shape = {"hidden": settings.hidden, "heads": settings.heads, "feed_forward": settings.feed_forward}
    for number in range(settings.layers):
        x = attention_block(x, bias, **shape, name=f"block{number}")
    return x
