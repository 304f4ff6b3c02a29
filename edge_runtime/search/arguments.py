"""Checks the arguments of a Recommender's methods."""

from collections.abc import Sequence

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.text import normalize_text


def checked_text(text: str) -> str:
    """Return `text` as `normalize_text` leaves it.

    Raises:
        ConfigError: not a text, or nothing is left of it.
    """
    if not isinstance(text, str):
        raise ConfigError(f"expected a text, found {type(text).__name__}")
    normalized = normalize_text(text)
    if not normalized:
        raise ConfigError("the text is empty; give at least one word, or use `recommend` for an answer without a query")
    return normalized


def check_count(k: int, *, name: str = "k", least: int = 1) -> None:
    """Check that `k` is a whole number of at least `least`.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, found {k!r}")


def check_ids(product_ids: Sequence[str], name: str) -> None:
    """Check that `product_ids` is a list of texts; `name` names it in the error.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(product_ids, str) or not all(isinstance(one, str) for one in product_ids):
        raise ConfigError(f"{name} takes a list of product ids (texts), found {product_ids!r}")


def check_choice(value: str, choices: Sequence[str], name: str) -> None:
    """Check that `value` is one of `choices`; `name` names it in the error.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        raise ConfigError(f"unknown {name} {value!r}, expected one of {', '.join(choices)}")
