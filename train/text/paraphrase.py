"""The user's own paraphraser, such as back-translation through another language: "module:function".

The function gets a list of texts and returns a list of the same length: a paraphrase of each, or the text itself (or an
empty one) where it has none. It is called once in a build, and must return the same when a build is resumed.
"""

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.contract.errors import ConfigError

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

_FAILURES = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What the user's code may end in; the build then says in one sentence whose failure it was."""


def check_reference(reference: str) -> None:
    """Refuse what does not read "module:function".

    Raises:
        ValueError: says what was expected.
    """
    if not _REFERENCE.fullmatch(reference):
        raise ValueError(f"back_translator is {reference!r}, expected module:function, such as paraphrases:say_again")


def call_paraphraser(reference: str, texts: Sequence[str]) -> list[str]:
    """Return what the function named by `reference` makes of `texts`, one for each.

    Modules are looked for where Python looks, and in the working folder.

    Raises:
        ConfigError: there is no such module or function, it failed, or it did not return as many texts.
    """
    name, function_name = reference.split(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"texts.back_translator: cannot find {reference} ({error}); expected a function of an importable module"
        ) from error
    try:
        answer = function(list(texts))
    except _FAILURES as error:
        raise ConfigError(f"texts.back_translator: {reference} failed with {type(error).__name__}: {error}") from error
    if not isinstance(answer, list | tuple) or not all(isinstance(text, str) for text in answer):
        raise ConfigError(
            f"texts.back_translator: {reference} returned {type(answer).__name__}, expected a list of texts"
        )
    if len(answer) != len(texts):
        raise ConfigError(
            f"texts.back_translator: {reference} returned {len(answer)} texts for {len(texts)}, expected one for each"
        )
    return list(answer)
