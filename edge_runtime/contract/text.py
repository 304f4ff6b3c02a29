"""Text -> model input; builder and every device must compute exactly the same."""

import re
import unicodedata
from collections.abc import Mapping

MAX_TEXT_CHARS = 2_000
"""Longer texts are cut here before they are tokenized; the token limits cut far earlier."""

_CONTROL_OR_SPACE = re.compile(
    r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200b\u2028-\u202f\u205f\u2060\u3000\ufeff\ud800-\udfff]+"
)


def normalize_text(text: str) -> str:
    """Return `text` in Unicode NFKC, control characters, lone surrogates and runs of white space as one space, ends stripped.

    Works on the first `MAX_TEXT_CHARS` characters only, so that its cost is bounded. Joiners, emoji and right-to-left
    marks inside words are kept.
    """
    return _CONTROL_OR_SPACE.sub(" ", unicodedata.normalize("NFKC", text[:MAX_TEXT_CHARS])).strip()


def item_text(
    *, title: str, brand: str | None = None, category: str | None = None, attributes: Mapping[str, str] | None = None
) -> str:
    """Return the text by which an item is encoded: title, brand, attribute values, last part of the category.

    Words that an earlier part already has are not repeated as a part (a brand that the title begins with). Keys of
    `attributes` are left out: "color: red" reads "red", which is what people type.
    """
    parts = [title, brand or "", *(attributes or {}).values(), (category or "").rsplit(">", 1)[-1]]
    joined = ""
    for part in map(normalize_text, parts):
        if part and f" {part} ".casefold() not in f" {joined} ".casefold():
            joined = f"{joined} {part}".strip()
    return joined


# Controls (a terminal obeys them), separators of lines, overrides of the direction of text, and lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return text of others for a terminal: what it would obey instead of show is written as Python's escapes."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def visible_lines(text: str) -> str:
    """Return text of several lines for a terminal, each line as `visible` makes it."""
    return "\n".join(map(visible, text.split("\n")))
